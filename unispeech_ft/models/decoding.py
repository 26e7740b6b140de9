"""From clips to recognised phones: what the head says of each frame, decoded greedily or by a search.

`N` frames of a row, `T` frames of a clip, `F` feature channels, `V` rows of the head. Used alike by validation, scoring
and transcription.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.utils import parametrize

from unispeech_ft.data.audio import SAMPLE_RATE_HZ
from unispeech_ft.data.batch_plan import evaluation_batches
from unispeech_ft.data.row import row_of
from unispeech_ft.models.forward import ctc_logits
from unispeech_ft.phonemes.tokenizer import PhoneTokenizer
from unispeech_ft.scoring import Segment, segments
from unispeech_ft.scoring.beam import Search
from unispeech_ft.scoring.forced import forced_segments

if TYPE_CHECKING:
    from transformers import PreTrainedModel

LONGEST_BATCH_S, LONGEST_ON_GPU_S = 60.0, 250.0
WIDEST_OF_LONGEST = 256

Clip = npt.NDArray[Any]
Autocast = Callable[[], AbstractContextManager[Any]]


class FrameOutputs(NamedTuple):
    """What the head says of the frames of one clip: its best rows `[T]`, and log posteriors `[T, V]`."""

    best_rows: npt.NDArray[np.int64]
    log_posteriors: npt.NDArray[np.float32]


@torch.no_grad()
def frame_outputs(
    model: PreTrainedModel, clips: Sequence[Clip], autocast: Autocast = nullcontext
) -> list[FrameOutputs]:
    """Features `[T_i, F]` of some clips → what the head says of their own frames."""
    row = row_of(clips)
    with autocast():
        logits = ctc_logits(model, row.to(model.device))
    return own_frames(logits, row.num_frames)


def own_frames(logits: torch.Tensor, num_frames: Sequence[int]) -> list[FrameOutputs]:
    """Logits of a row `[N, V]` → what they say of each clip's frames."""
    best = logits.argmax(dim=-1).cpu().split(list(num_frames))
    posteriors = torch.log_softmax(logits.float(), dim=-1).cpu().split(list(num_frames))
    return [FrameOutputs(*(part.numpy() for part in parts)) for parts in zip(best, posteriors, strict=True)]


# (model, the arrays of some clips, autocast) → what the head says of each clip.
OutputsOf = Callable[[Any, Sequence[Clip], Autocast], list[FrameOutputs]]


def marks_of(outputs: FrameOutputs, tokenizer: PhoneTokenizer, search: Search | None) -> list[Segment]:
    """The frames that mark each phone, of the greedy path; with a search, of the best path that says what it found."""
    if search is None:
        return segments(outputs.best_rows, tokenizer.blank_id, tokenizer.special_ids)
    labels = search(outputs.log_posteriors)
    return forced_segments(outputs.log_posteriors, labels, tokenizer.blank_id) if labels else []


def seconds_per_batch(model: PreTrainedModel, num_samples: Sequence[int]) -> float:
    """Padded seconds of a batch, at least those of the longest clip; no hypothesis depends on them.

    On a CPU the wider a model, the fewer: arrays of tens of MiB come fresh from the system each time.
    """
    if model.device.type != "cpu":
        return max(LONGEST_ON_GPU_S, max(num_samples) / SAMPLE_RATE_HZ)
    width = max(WIDEST_OF_LONGEST, int(model.config.hidden_size))
    return max(LONGEST_BATCH_S * WIDEST_OF_LONGEST / width, max(num_samples) / SAMPLE_RATE_HZ)


def clip_outputs(
    model: PreTrainedModel,
    clip: Callable[[int], Clip],
    num_samples: Sequence[int],
    *,
    rank: int = 0,
    num_processes: int = 1,
    autocast: Autocast = nullcontext,
    outputs_of: OutputsOf = frame_outputs,
) -> Iterator[tuple[int, FrameOutputs]]:
    """(index, what the head says) of this process's share of the clips, the longest first, so that the memory is there
    from the first batch on.

    Args:
        clip: index → what `outputs_of` takes of a clip, features `[T, F]` unless it says otherwise.
        num_samples: at 16 kHz, of each clip.
    """
    was_training = model.training
    model.eval()
    batches = evaluation_batches(num_samples, seconds_per_batch(model, num_samples))
    with parametrize.cached():  # the norm of the positional convolution's weights
        for indices in batches[rank::num_processes]:
            outputs = outputs_of(model, [clip(index) for index in indices], autocast)
            yield from zip(indices, outputs, strict=True)
    model.train(was_training)
