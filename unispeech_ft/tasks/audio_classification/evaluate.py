"""Scoring a split with a classifier: accuracy and average recall with their intervals, and what was said of every clip.

`N` frames of a row, `B` clips, `C` hidden channels, `K` classes.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from unispeech_ft.data.audio import SAMPLE_RATE_HZ
from unispeech_ft.data.batch_plan import evaluation_batches
from unispeech_ft.data.labelled import LabelledClips
from unispeech_ft.data.row import Row, row_of
from unispeech_ft.data.sources.labelled import labels_of
from unispeech_ft.models.decoding import seconds_per_batch
from unispeech_ft.models.feature_cache import ComputedFeatures, FeatureStore
from unispeech_ft.models.forward import encode, encode_layers
from unispeech_ft.models.layer_sum import weighted_sum
from unispeech_ft.scoring import UtteranceScore
from unispeech_ft.scoring.bootstrap import bootstrap_units, interval_text, percentile_interval

if TYPE_CHECKING:
    from accelerate import Accelerator


def classify(network: Any, row: Row, layers: Sequence[int] | None = None, *, encoder_trains: bool = False) -> Tensor:
    """A row of features → logits `[B, K]`, as the stock `…ForSequenceClassification` has them of each clip alone.

    Args:
        layers: indices of the encoder layers that run; None for all.
        encoder_trains: keep what a backward pass through the encoder needs.
    """
    with torch.set_grad_enabled(encoder_trains and torch.is_grad_enabled()):
        sums_layers = network.config.use_weighted_layer_sum
        states = encode_layers(network, row) if sums_layers else [encode(network, row, layers=layers)]
    hidden = weighted_sum(states, network.layer_weights) if sums_layers else states[0]
    projected = network.projector(hidden)
    means = torch.stack([clip.mean(dim=0) for clip in projected.split(list(row.num_frames))])
    logits: Tensor = network.classifier(means)
    return logits.float()


def classify_means(network: Any, row: Row) -> Tensor:
    """What `classify` says of clips whose layer means (`models.layer_means`) stand in the row: the same, since the head
    is linear up to its mean over time."""
    means = row.features.view(len(row.num_frames), -1, network.config.hidden_size)
    logits: Tensor = network.classifier(network.projector(weighted_sum(means.unbind(1), network.layer_weights)))
    return logits.float()


LogitsOf = Callable[[Any, Row], Tensor]


@dataclass(frozen=True)
class Evaluation:
    """A scored split: a score a clip, whose reference and hypothesis are its labels, and the wall time."""

    scores: list[UtteranceScore]
    seconds: float

    @property
    def accuracy(self) -> float:
        """Share of the clips whose labels are all right."""
        return sum(not item.errors for item in self.scores) / max(1, len(self.scores))


@dataclass(frozen=True)
class Summary:
    """What `summary.json` holds: fractions, counts, and how the interval was drawn (10,000 draws, seed 0).

    `accuracy` is the share of clips whose labels are all right; `uar` the mean over classes of the share of their clips
    that were recognised; `f1` counts labels, and is null where a clip has one.
    """

    accuracy: float
    accuracy_ci95: tuple[float, float] | None
    bootstrap_unit: str
    uar: float
    uar_ci95: tuple[float, float] | None
    f1: float | None
    recalls: dict[str, float]
    clips: int
    correct: int
    classes: list[str]
    model: str
    split: str
    seconds: float


def score_clip(name: str, said: list[str], found: list[str], duration_s: float, speaker: str | None) -> UtteranceScore:
    """Labels that lack are deletions, labels too many insertions, one for another a substitution."""
    missing, extra = len(set(said) - set(found)), len(set(found) - set(said))
    swapped = min(missing, extra)
    return UtteranceScore(name, said, found, swapped, missing - swapped, extra - swapped, duration_s, speaker)


@torch.no_grad()
def evaluate_clips(
    network: Any,
    clips: LabelledClips,
    store: FeatureStore | ComputedFeatures,
    classes: Sequence[str],
    accelerator: Accelerator,
    separator: str | None = None,
    logits_of: LogitsOf = classify,
) -> Evaluation:
    """Classifies the clips of a split, every process a part of them.

    Args:
        logits_of: takes what the store holds of clips, `classify_means` their layer means.
        separator: between several labels; each label above an even chance is then recognised.
    """
    started = time.perf_counter()
    was_training = network.training
    network.eval()
    num_samples = clips.num_samples.tolist()
    batches = evaluation_batches(num_samples, seconds_per_batch(network, num_samples))
    mine: list[tuple[int, list[str]]] = []
    for indices in batches[accelerator.process_index :: accelerator.num_processes]:
        with accelerator.autocast():
            logits = logits_of(network, row_of([store.clip(index) for index in indices]).to(network.device))
        if separator is None:
            found = [[classes[best]] for best in logits.argmax(dim=-1).tolist()]
        else:
            found = [[classes[k] for k, value in enumerate(row) if value > 0] for row in logits.tolist()]
        mine += zip(indices, found, strict=True)
    network.train(was_training)
    if accelerator.num_processes > 1:
        from accelerate.utils import gather_object

        mine = gather_object(mine)
    recognised = dict(mine)
    scores = [
        score_clip(
            name,
            labels_of(label, separator),
            recognised[index],
            num_samples[index] / SAMPLE_RATE_HZ,
            clips.speakers[index],
        )
        for index, (name, label) in enumerate(zip(clips.ids, clips.labels, strict=True))
    ]
    return Evaluation(scores, time.perf_counter() - started)


def recalls(scores: Sequence[UtteranceScore]) -> dict[str, float]:
    """Of each class that was said, the share of its clips that were recognised."""
    said = Counter(label for item in scores for label in item.reference)
    right = Counter(label for item in scores for label in item.reference if label in item.hypothesis)
    return {label: right[label] / count for label, count in sorted(said.items())}


def uar(scores: Sequence[UtteranceScore]) -> float:
    """Unweighted average recall: the mean over classes."""
    of_each = recalls(scores)
    return sum(of_each.values()) / max(1, len(of_each))


def _intervals(scores: Sequence[UtteranceScore]) -> tuple[str, tuple[float, float] | None, tuple[float, float] | None]:
    """What was drawn, and the 95 % intervals of accuracy and unweighted average recall."""
    unit, groups = bootstrap_units(scores)
    classes = sorted({label for item in scores for label in item.reference})
    clips = [len(group) for group in groups]
    correct = [sum(not item.errors for item in group) for group in groups]
    said = [[sum(name in item.reference for item in group) for group in groups] for name in classes]
    right = [
        [sum(name in item.reference and name in item.hypothesis for item in group) for group in groups]
        for name in classes
    ]

    def average(*sums: Any) -> Any:
        half = len(sums) // 2
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.nanmean([r / s for r, s in zip(sums[half:], sums[:half], strict=True)], axis=0)

    accuracy = percentile_interval(lambda right, count: right / count, (correct, clips), 10_000, 0)
    return unit, accuracy, percentile_interval(average, (*said, *right), 10_000, 0)


def summarize(
    evaluation: Evaluation, classes: Sequence[str], *, model: str, split: str, separator: str | None = None
) -> Summary:
    """The figures of a split with their 95 % intervals, by speaker where ten or more are known."""
    scores = evaluation.scores
    if not scores:
        raise ValueError("a split without clips has no accuracy")
    unit, accuracy_ci95, uar_ci95 = _intervals(scores)
    of_each = recalls(scores)
    right = sum(len(set(item.reference) & set(item.hypothesis)) for item in scores)
    labels = sum(len(item.reference) + len(item.hypothesis) for item in scores)
    return Summary(
        evaluation.accuracy,
        accuracy_ci95,
        unit,
        uar(scores),
        uar_ci95,
        None if separator is None else 2 * right / labels,
        of_each,
        len(scores),
        sum(not item.errors for item in scores),
        list(classes),
        model,
        split,
        round(evaluation.seconds, 3),
    )


def result_line(summary: Summary) -> str:
    """The outcome for people."""
    ends = summary.accuracy_ci95
    interval = interval_text(*ends, summary.bootstrap_unit) if ends else "too few clips for one"
    f1 = "" if summary.f1 is None else f" F1 {100 * summary.f1:.2f} %;"
    return (
        f"{summary.split} accuracy {100 * summary.accuracy:.2f} %  (95 % interval {interval};{f1} average recall"
        f" {100 * summary.uar:.2f} %; {summary.correct} of {summary.clips} clips, {len(summary.classes)} classes)"
    )
