"""Scoring a split with a phone recogniser: every process decodes a part of its clips, unpadded frames alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from unispeech_ft.data.audio import SAMPLE_RATE_HZ
from unispeech_ft.data.labels import LabelledSplit
from unispeech_ft.models.decoding import Clip, FrameOutputs, LogitsOf, clip_outputs, logits_of, marks_of
from unispeech_ft.models.families import frame_grid
from unispeech_ft.phonemes.tokenizer import PhoneTokenizer
from unispeech_ft.scoring import UtteranceScore, blank_share, score
from unispeech_ft.scoring.beam import Search
from unispeech_ft.scoring.per import never_emitted
from unispeech_ft.scoring.timing import FrameGrid, PhoneTime, phone_times

if TYPE_CHECKING:
    from accelerate import Accelerator
    from transformers import PreTrainedModel


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
        errors = sum(item.errors for item in self.scores)
        return errors / max(1, sum(len(item.reference) for item in self.scores))


class Clips(Protocol):
    """The clips of a split by index, and the frames of each."""

    @property
    def num_frames(self) -> npt.NDArray[np.int64]: ...

    @property
    def clip(self) -> Callable[[int], Clip]: ...


class Decoded(NamedTuple):
    """What was recognised in one clip, and when where that was asked for."""

    phones: list[str]
    times: list[PhoneTime] | None
    blank_share: float


def decode_clip(
    outputs: FrameOutputs, tokenizer: PhoneTokenizer, grid: FrameGrid | None, duration_s: float, search: Search | None
) -> Decoded:
    """The phones of one clip, with a grid also when they were said, and the share of frames whose best row is the
    blank."""
    marks = marks_of(outputs, tokenizer, search)
    times = None if grid is None else phone_times(marks, outputs.log_posteriors, grid, duration_s)
    blanks = blank_share([outputs.best_rows], tokenizer.blank_id) or 0.0
    return Decoded([tokenizer.tokens[mark.label] for mark in marks], times, blanks)


def evaluate_split(
    model: PreTrainedModel,
    tokenizer: PhoneTokenizer,
    labelled: LabelledSplit,
    clips: Clips,
    accelerator: Accelerator,
    *,
    search: Search | None = None,
    logits_of: LogitsOf = logits_of,
    timed: bool = True,
) -> Evaluation:
    """Scores a labelled split.

    Args:
        clips: what `logits_of` takes of each clip, features `[T, F]` unless it says otherwise.
        search: see `scoring.beam`; None decodes greedily.
        logits_of: what the head says of a batch.
        timed: whether anybody reads when the phones were said; finding it takes a tenth of the time.
    """
    started = time.perf_counter()
    grid = frame_grid(model.config) if timed else None
    num_samples = labelled.num_samples.tolist()
    mine = [
        (index, decode_clip(outputs, tokenizer, grid, num_samples[index] / SAMPLE_RATE_HZ, search))
        for index, outputs in clip_outputs(
            model,
            clips.clip,
            num_samples,
            rank=accelerator.process_index,
            num_processes=accelerator.num_processes,
            autocast=accelerator.autocast,
            logits_of=logits_of,
            posteriors=timed or search is not None,
        )
    ]
    if accelerator.num_processes > 1:
        from accelerate.utils import gather_object

        mine = gather_object(mine)
    decoded = dict(mine)
    hypotheses = {name: decoded[index].phones for index, name in enumerate(labelled.ids)}
    speakers = {name: speaker for name, speaker in zip(labelled.ids, labelled.speakers, strict=True) if speaker}
    scores = score(labelled.references, hypotheses, durations_s=labelled.durations_s, speakers=speakers)
    num_frames = clips.num_frames
    blanks = sum(decoded[index].blank_share * int(num_frames[index]) for index in range(len(labelled)))
    times = {name: found for index, name in enumerate(labelled.ids) if (found := decoded[index].times) is not None}
    return Evaluation(scores, blanks / max(1, int(num_frames.sum())), time.perf_counter() - started, times)


def warnings_about(evaluation: Evaluation, inventory: Sequence[str]) -> list[str]:
    """Plain words on a model that has collapsed, or that never says some phone of its inventory."""
    if not any(item.hypothesis for item in evaluation.scores):
        return [
            "the model emits only blanks. Early in training that is usual; if it lasts, raise optimizer.lr or"
            " schedule.updates, lower the masks, and check that the labels fit the audio"
        ]
    silent = [(phone, count) for phone, count in never_emitted(evaluation.scores) if phone in inventory]
    if silent:
        shown = ", ".join(f"{phone} ({count} in the references)" for phone, count in silent[:8])
        return [f"the model never emits {shown}{' …' if len(silent) > 8 else ''}"]
    return []
