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

from unispeech_ft.data.ahead import one_ahead
from unispeech_ft.data.audio import SAMPLE_RATE_HZ
from unispeech_ft.data.batch_plan import evaluation_batches
from unispeech_ft.data.row import row_of
from unispeech_ft.models.families import num_frames
from unispeech_ft.models.forward import ctc_logits
from unispeech_ft.models.graph_rooms import rooms_of
from unispeech_ft.models.layer_graphs import give_rooms
from unispeech_ft.phonemes.tokenizer import PhoneTokenizer
from unispeech_ft.scoring import Segment, segments
from unispeech_ft.scoring.beam import Search
from unispeech_ft.scoring.forced import forced_segments

if TYPE_CHECKING:
    from transformers import PreTrainedModel

LONGEST_BATCH_S, LONGEST_ON_GPU_S = 60.0, 250.0
WIDEST_OF_LONGEST = 256
FEWEST_BATCHES_OF_GRAPHS = 3

Clip = npt.NDArray[Any] | torch.Tensor
Autocast = Callable[[], AbstractContextManager[Any]]


class FrameOutputs(NamedTuple):
    """What the head says of the frames of one clip.

    Attributes:
        best_rows: `[T]`.
        log_posteriors: `[T, V]` where anybody asked for them, else `[0, V]`.
    """

    best_rows: npt.NDArray[np.int64]
    log_posteriors: npt.NDArray[np.float32]


class Logits(NamedTuple):
    """What the head says of a row, `[N, V]` on its device, and the frames of each clip."""

    values: torch.Tensor
    num_frames: tuple[int, ...]


@torch.no_grad()
def logits_of(model: PreTrainedModel, clips: Sequence[Clip], autocast: Autocast = nullcontext) -> Logits:
    """Features `[T_i, F]` of some clips → what the head says of all their frames."""
    row = row_of(clips)
    with autocast():
        return Logits(ctc_logits(model, row.to(model.device)), row.num_frames)


class Started:
    """What the head says of some clips, on its way to the host while the device works on.

    Args:
        posteriors: whether anybody will read them.
    """

    def __init__(self, logits: Logits, *, posteriors: bool = True) -> None:
        values = logits.values
        best = values.argmax(dim=-1)
        wanted = values if posteriors else values[:0]
        self._num_frames, self._there = logits.num_frames, None
        self._tensors = [best, torch.log_softmax(wanted.float(), dim=-1)]
        if values.device.type == "cuda":
            self._tensors = [
                torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True).copy_(tensor, non_blocking=True)
                for tensor in self._tensors
            ]
            self._there = torch.cuda.Event()
            self._there.record()

    def outputs(self) -> list[FrameOutputs]:
        """Of each clip, once it is there."""
        if self._there is not None:
            self._there.synchronize()
        best, posteriors = (tensor.cpu() for tensor in self._tensors)
        lengths = list(self._num_frames)
        of_clips = posteriors.split(lengths) if len(posteriors) else [posteriors] * len(lengths)
        return [
            FrameOutputs(*(part.numpy() for part in parts)) for parts in zip(best.split(lengths), of_clips, strict=True)
        ]


def frame_outputs(
    model: PreTrainedModel, clips: Sequence[Clip], autocast: Autocast = nullcontext
) -> list[FrameOutputs]:
    """Features `[T_i, F]` of some clips → what the head says of each."""
    return Started(logits_of(model, clips, autocast)).outputs()


# (model, the arrays of some clips, autocast) → what the head says of them.
LogitsOf = Callable[[Any, Sequence[Any], Autocast], Logits]


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


def started_batches(
    model: PreTrainedModel,
    clip: Callable[[int], Clip],
    num_samples: Sequence[int],
    *,
    rank: int = 0,
    num_processes: int = 1,
    autocast: Autocast = nullcontext,
    logits_of: LogitsOf = logits_of,
    posteriors: bool = True,
) -> Iterator[tuple[list[int], Started]]:
    """Indices of some clips and what the head says of them: this process's share of all, the longest first, so that the
    memory is there from the first batch on.

    Args:
        clip: index → what `logits_of` takes of a clip, features `[T, F]` unless it says otherwise.
        num_samples: at 16 kHz, of each clip.
        posteriors: whether anybody will read them.
    """
    was_training = model.training
    model.eval()
    batches = evaluation_batches(num_samples, seconds_per_batch(model, num_samples))[rank::num_processes]
    _give_rooms(model, [[num_frames(model.config, num_samples[index]) for index in batch] for batch in batches])
    with parametrize.cached():  # the norm of the positional convolution's weights
        for indices in batches:
            logits = logits_of(model, [clip(index) for index in indices], autocast)
            yield indices, Started(logits, posteriors=posteriors)
    model.train(was_training)


def clip_outputs(
    model: PreTrainedModel, clip: Callable[[int], Clip], num_samples: Sequence[int], **settings: Any
) -> Iterator[tuple[int, FrameOutputs]]:
    """(index, what the head says) of each clip; arguments as of `started_batches`. A GPU is one batch ahead."""
    for indices, started in one_ahead(started_batches(model, clip, num_samples, **settings)):
        yield from zip(indices, started.outputs(), strict=True)


def _give_rooms(model: PreTrainedModel, rows: Sequence[Sequence[int]]) -> None:
    """On a CUDA device layers run as graphs where there are batches enough to pay for making them."""
    if model.device.type == "cuda" and getattr(model, "cuda_graphs", False) and len(rows) >= FEWEST_BATCHES_OF_GRAPHS:
        give_rooms(model, (rooms_of(rows)[-1],), training=False)
