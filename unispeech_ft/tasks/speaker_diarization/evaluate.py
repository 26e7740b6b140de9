"""What is said of conversations → segments → DER; threshold and smoothing are validation's choice alone.

`T` frames, `P` local speakers, `E` values of a vector.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.ndimage import median_filter

from unispeech_ft.data.batch_plan import evaluation_batches
from unispeech_ft.data.row import row_of
from unispeech_ft.data.simulate import Conversations
from unispeech_ft.models.decoding import seconds_per_batch
from unispeech_ft.models.families import frame_grid
from unispeech_ft.models.feature_cache import ComputedFeatures, FeatureStore
from unispeech_ft.scoring.bootstrap import percentile_interval
from unispeech_ft.scoring.diarization import DiarizationErrors, Segment, add_up, diarization_errors, segments_of
from unispeech_ft.scoring.timing import FrameGrid
from unispeech_ft.tasks.speaker_diarization.config import SpeakerDiarizationConfig
from unispeech_ft.tasks.speaker_diarization.model import hear

if TYPE_CHECKING:
    from accelerate import Accelerator

TENTHS_OF_MS = 10_000


@dataclass(frozen=True)
class Heard:
    """One conversation as the network hears it.

    Attributes:
        probabilities: `[T, P]`, of speaking.
        known: who speaks when.
    """

    name: str
    probabilities: npt.NDArray[np.float32]
    known: list[Segment]
    grid: FrameGrid


@torch.no_grad()
def hear_all(
    network: Any, conversations: Conversations, store: FeatureStore | ComputedFeatures, accelerator: Accelerator
) -> list[Heard]:
    """The conversations of a split, every process a part of them."""
    was_training = network.training
    network.eval()
    num_samples = conversations.num_samples.tolist()
    batches = evaluation_batches(num_samples, seconds_per_batch(network, num_samples))
    mine: list[tuple[int, Any]] = []
    for places in batches[accelerator.process_index :: accelerator.num_processes]:
        row = row_of([store.clip(place) for place in places]).to(network.device)
        with accelerator.autocast():
            logits = hear(network, row).logits
        found = network.head.probabilities(logits).cpu().split(list(row.num_frames))
        mine += [(place, clip.numpy()) for place, clip in zip(places, found, strict=True)]
    network.train(was_training)
    if accelerator.num_processes > 1:
        from accelerate.utils import gather_object

        mine = gather_object(mine)
    by_place = dict(mine)
    grid = frame_grid(network.config)
    return [
        Heard(conversations.name(place), by_place[place], conversations.segments(place), grid)
        for place in range(len(conversations))
    ]


def smoothed(probabilities: npt.NDArray[np.float32], threshold: float, median: int) -> npt.NDArray[np.bool_]:
    """`[T, P]` → whether each speaker speaks, the median of so many frames."""
    active = probabilities > threshold
    return active if median == 1 else np.asarray(median_filter(active.astype(np.uint8), size=(median, 1)) > 0)


def found_segments(heard: Heard, threshold: float, median: int) -> list[Segment]:
    """The segments of a conversation; its speakers are called 1, 2 …"""
    active = smoothed(heard.probabilities, threshold, median)
    names = [str(number + 1) for number in range(active.shape[1])]
    return segments_of(active, names, heard.grid.step_s, heard.grid.offset_s)


@dataclass(frozen=True)
class Choice:
    """Threshold and frames of smoothing, and what they score."""

    threshold: float
    median: int
    errors: DiarizationErrors


def scored(heard: Sequence[Heard], threshold: float, median: int, collar_s: float) -> list[DiarizationErrors]:
    """The errors of each conversation."""
    return [
        diarization_errors(item.known, found_segments(item, threshold, median), collar_s=collar_s) for item in heard
    ]


def best_settings(heard: Sequence[Heard], own: SpeakerDiarizationConfig) -> Choice:
    """The settings of the lowest DER, to be asked of validation alone."""
    thresholds = own.thresholds[:1] if own.powerset else own.thresholds  # sets say 0 or 1: all thresholds are one
    choices = [
        Choice(threshold, median, add_up(scored(heard, threshold, median, own.collar_s)))
        for threshold in thresholds
        for median in own.medians
    ]
    return min(choices, key=lambda choice: choice.errors.rate if choice.errors.rate is not None else np.inf)


@dataclass(frozen=True)
class Summary:
    """What `summary.json` holds: fractions, seconds and counts; the interval is drawn by recording (10,000 draws,
    seed 0)."""

    der: float | None
    der_ci95: tuple[float, float] | None
    missed: float | None
    false_alarm: float | None
    confusion: float | None
    speech_s: float
    recordings: int
    collar_s: float
    overlap: str
    threshold: float
    median_frames: int
    der_one_speaker: float | None
    model: str
    split: str
    seconds: float


def one_speaker(known: Sequence[Segment]) -> list[Segment]:
    """What a system says that hears speech as it is and one person alone."""
    edges = sorted({edge for item in known for edge in (item.start_s, item.end_s)})
    return [
        Segment("1", start_s, end_s)
        for start_s, end_s in zip(edges, edges[1:], strict=False)
        if any(item.start_s <= start_s and end_s <= item.end_s for item in known)
    ]


def summarize(
    errors: Mapping[str, DiarizationErrors],
    known: Mapping[str, Sequence[Segment]],
    choice: Choice,
    collar_s: float,
    *,
    model: str,
    split: str,
    started: float,
) -> Summary:
    """The figures of scored recordings, by name."""
    total = add_up(errors.values())
    wrong = [round(TENTHS_OF_MS * (e.missed_s + e.false_alarm_s + e.confused_s)) for e in errors.values()]
    speech = [round(TENTHS_OF_MS * e.total_s) for e in errors.values()]
    alone = add_up(diarization_errors(item, one_speaker(item), collar_s=collar_s) for item in known.values())

    def share(seconds: float) -> float | None:
        return seconds / total.total_s if total.total_s else None

    return Summary(
        total.rate,
        percentile_interval(lambda w, s: w / s, (wrong, speech), 10_000, 0),
        share(total.missed_s),
        share(total.false_alarm_s),
        share(total.confused_s),
        round(total.total_s, 3),
        len(errors),
        collar_s,
        "scored",
        choice.threshold,
        choice.median,
        alone.rate,
        model,
        split,
        round(time.perf_counter() - started, 3),
    )


def result_line(summary: Summary) -> str:
    """The outcome for people."""
    if summary.der is None:
        return f"{summary.split}: no speech in the reference, so no DER"
    ends = summary.der_ci95
    interval = f"{100 * ends[0]:.2f}–{100 * ends[1]:.2f} %, by recording" if ends else "none"
    parts = " + ".join(
        f"{name} {100 * (value or 0):.2f}"
        for name, value in (
            ("missed", summary.missed),
            ("false alarm", summary.false_alarm),
            ("confusion", summary.confusion),
        )
    )
    alone = 100 * (summary.der_one_speaker or 0)
    return (
        f"{summary.split} DER {100 * summary.der:.2f} %  (95 % interval {interval}; {parts};"
        f" collar {summary.collar_s:g} s, overlap scored; one speaker for all: {alone:.2f} %;"
        f" {summary.recordings} recordings, {summary.speech_s / 60:.1f} min of speech)"
    )
