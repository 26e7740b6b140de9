"""Scoring a split with a model: greedy decoding of unpadded frames, every process a part of the batches."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.utils import parametrize

from unispeech_ft.data.batch_plan import evaluation_batches
from unispeech_ft.data.collate import pad_features
from unispeech_ft.data.labels import LabelledSplit
from unispeech_ft.models.families import frame_grid
from unispeech_ft.models.forward import encode, head
from unispeech_ft.phonemes.tokenizer import PhoneTokenizer
from unispeech_ft.scoring import Segment, UtteranceScore, blank_share, score, segments
from unispeech_ft.scoring.beam import Search
from unispeech_ft.scoring.forced import forced_segments
from unispeech_ft.scoring.timing import FrameGrid, PhoneTime, phone_times

if TYPE_CHECKING:
    from accelerate import Accelerator
    from transformers import PreTrainedModel

LONGEST_BATCH_S = 60.0
WIDEST_OF_LONGEST = 256
# A phone that the references hold this often and the model never emits is worth a word.
COMMON_PHONE = 20


@dataclass(frozen=True)
class Evaluation:
    """A scored split.

    Attributes:
        scores: one for each utterance, in the order of the split.
        blank_share: part of all frames whose best row is the blank.
        seconds: wall time.
        times: of the phones of each hypothesis, by utterance id; empty where nobody asked for them.
    """

    scores: list[UtteranceScore]
    blank_share: float | None
    seconds: float
    times: dict[str, list[PhoneTime]] = field(default_factory=dict)

    @property
    def per(self) -> float:
        """Σ errors ÷ Σ reference phones."""
        errors = sum(item.substitutions + item.deletions + item.insertions for item in self.scores)
        return errors / max(1, sum(len(item.reference) for item in self.scores))


class FrameOutputs(NamedTuple):
    """What the head says of the frames of one clip: its best rows `[T]`, and log posteriors `[T, V]`."""

    best_rows: npt.NDArray[np.int64]
    log_posteriors: npt.NDArray[np.float32]


@torch.no_grad()
def frame_outputs(model: PreTrainedModel, clips: Sequence[npt.NDArray[Any]], autocast: Any) -> list[FrameOutputs]:
    """Features of some clips → what the head says of their own frames."""
    features, num_frames = pad_features(clips)
    with autocast:
        hidden = encode(model, features.to(model.device), num_frames.to(model.device))
        logits = head(model, hidden)
    return own_frames(logits, num_frames.tolist())


def own_frames(logits: torch.Tensor, num_frames: Sequence[int]) -> list[FrameOutputs]:
    """Logits `[B, T, V]` → what they say of each clip's own frames."""
    rows = logits.argmax(dim=-1).cpu().numpy()
    posteriors = torch.log_softmax(logits.float(), dim=-1).cpu().numpy()
    return [FrameOutputs(rows[place, :count], posteriors[place, :count]) for place, count in enumerate(num_frames)]


# (model, the arrays of some clips, autocast) → what the head says of each clip.
OutputsOf = Callable[[Any, Sequence[npt.NDArray[Any]], Any], list[FrameOutputs]]


class Decoded(NamedTuple):
    """What was recognised in one clip, and when where that was asked for."""

    phones: list[str]
    times: list[PhoneTime] | None
    blank_share: float


def marks_of(outputs: FrameOutputs, tokenizer: PhoneTokenizer, search: Search | None) -> list[Segment]:
    """The frames that mark each phone, of the greedy path; with a search, of the best path that says what it found."""
    if search is None:
        return segments(outputs.best_rows, tokenizer.blank_id, tokenizer.special_ids)
    labels = search(outputs.log_posteriors)
    return forced_segments(outputs.log_posteriors, labels, tokenizer.blank_id) if labels else []


def decode_clip(
    outputs: FrameOutputs,
    tokenizer: PhoneTokenizer,
    grid: FrameGrid | None,
    duration_s: float,
    search: Search | None = None,
) -> Decoded:
    """The phones of one clip, with a grid also when they were said, and the share of frames whose best row is the
    blank."""
    marks = marks_of(outputs, tokenizer, search)
    times = None if grid is None else phone_times(marks, outputs.log_posteriors, grid, duration_s)
    blanks = blank_share([outputs.best_rows], tokenizer.blank_id) or 0.0
    return Decoded([tokenizer.tokens[mark.label] for mark in marks], times, blanks)


def seconds_per_batch(model: PreTrainedModel, num_samples: Sequence[int]) -> float:
    """Padded seconds of a batch, at least those of the longest clip; no hypothesis depends on them.

    On a CPU the wider a model, the fewer: arrays of tens of MiB come fresh from the system each time.
    """
    width = WIDEST_OF_LONGEST if model.device.type != "cpu" else max(WIDEST_OF_LONGEST, model.config.hidden_size)
    return max(LONGEST_BATCH_S * WIDEST_OF_LONGEST / width, max(num_samples) / 16_000)


def decode_split(
    model: PreTrainedModel,
    tokenizer: PhoneTokenizer,
    clip_features: Callable[[int], npt.NDArray[Any]],
    num_samples: Sequence[int],
    accelerator: Accelerator,
    search: Search | None = None,
    outputs_of: OutputsOf | None = None,
    timed: bool = True,
) -> dict[int, Decoded]:
    """What was recognised in every clip, by its place, gathered from all processes."""
    was_training = model.training
    model.eval()
    batches = evaluation_batches(num_samples, seconds_per_batch(model, num_samples))
    grid = frame_grid(model.config) if timed else None
    mine: list[tuple[int, Decoded]] = []
    with parametrize.cached():  # the norm of the positional convolution's weights
        for places in batches[accelerator.process_index :: accelerator.num_processes]:
            # Longest first, so that the memory is there from the first batch on.
            clips = [clip_features(place) for place in places]
            outputs = (outputs_of or frame_outputs)(model, clips, accelerator.autocast())
            for place, frames in zip(places, outputs, strict=True):
                mine.append((place, decode_clip(frames, tokenizer, grid, num_samples[place] / 16_000, search)))
    model.train(was_training)
    gathered = mine
    if accelerator.num_processes > 1:
        from accelerate.utils import gather_object

        gathered = gather_object(mine)
    return dict(gathered)


def evaluate_split(
    model: PreTrainedModel,
    tokenizer: PhoneTokenizer,
    labelled: LabelledSplit,
    clip_features: Callable[[int], npt.NDArray[Any]],
    num_frames: npt.NDArray[np.int64],
    accelerator: Accelerator,
    search: Search | None = None,
    outputs_of: OutputsOf | None = None,
    timed: bool = True,
) -> Evaluation:
    """Scores a labelled split.

    Args:
        clip_features: place in the split → `[T, F]`.
        num_frames: of each clip, to weigh the share of blank frames.
        search: see `scoring.beam`; None decodes greedily.
        outputs_of: what the head says of a batch, `frame_outputs` where none is named.
        timed: whether anybody reads when the phones were said; finding it takes a tenth of the time.
    """
    started = time.perf_counter()
    num_samples = labelled.num_samples.tolist()
    decoded = decode_split(
        model, tokenizer, clip_features, num_samples, accelerator, search=search, outputs_of=outputs_of, timed=timed
    )
    hypotheses = {name: decoded[place].phones for place, name in enumerate(labelled.ids)}
    speakers = {name: speaker for name, speaker in zip(labelled.ids, labelled.speakers, strict=True) if speaker}
    scores = score(labelled.references, hypotheses, durations_s=labelled.durations_s, speakers=speakers)
    blanks = sum(decoded[place].blank_share * int(num_frames[place]) for place in range(len(labelled)))
    times = {name: found for place, name in enumerate(labelled.ids) if (found := decoded[place].times) is not None}
    return Evaluation(scores, blanks / max(1, int(num_frames.sum())), time.perf_counter() - started, times)


def warnings_about(evaluation: Evaluation, inventory: Sequence[str]) -> list[str]:
    """Plain words on a model that has collapsed, or that never says some phone."""
    emitted = Counter(phone for item in evaluation.scores for phone in item.hypothesis)
    expected = Counter(phone for item in evaluation.scores for phone in item.reference)
    if not emitted:
        return [
            "the model emits only blanks. Early in training that is usual; if it lasts, raise optimizer.lr or"
            " schedule.updates, lower the masks, and check that the labels fit the audio"
        ]
    silent = [phone for phone in inventory if expected[phone] >= COMMON_PHONE and not emitted[phone]]
    if silent:
        shown = ", ".join(f"{phone} ({expected[phone]} in the references)" for phone in silent[:8])
        return [f"the model never emits {shown}{' …' if len(silent) > 8 else ''}"]
    return []
