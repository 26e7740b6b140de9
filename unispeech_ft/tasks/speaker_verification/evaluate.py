"""Scoring a split: one vector a clip, trials, and their figures.

`N` trials, `E` values of a vector.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from unispeech_ft.data.audio import SAMPLE_RATE_HZ
from unispeech_ft.data.batch_plan import evaluation_batches
from unispeech_ft.data.labelled import LabelledClips
from unispeech_ft.data.row import row_of
from unispeech_ft.models.decoding import seconds_per_batch
from unispeech_ft.models.feature_cache import ComputedFeatures, FeatureStore
from unispeech_ft.scoring.verification import (
    Calibration,
    Errors,
    Floats,
    adaptive_s_norm,
    calibrate,
    cllr,
    equal_error_rate,
    error_rates,
    min_dcf,
    quality,
    speaker_interval,
)
from unispeech_ft.tasks.speaker_verification.model import speaker_vectors
from unispeech_ft.tasks.speaker_verification.trials import Trials

if TYPE_CHECKING:
    from accelerate import Accelerator

MOST_QUALITY_S = 20.0
CLIPS_A_SPEAKER = 20


@dataclass(frozen=True)
class Vectors:
    """The clips of a split as vectors.

    Attributes:
        vectors: `[clips, E]`, not of unit length.
        duration_s: of each clip.
    """

    ids: list[str]
    speakers: list[str]
    vectors: Floats
    duration_s: Floats

    @property
    def unit(self) -> Floats:
        """`[clips, E]`, of unit length."""
        return np.asarray(self.vectors / np.maximum(np.linalg.norm(self.vectors, axis=1, keepdims=True), 1e-12))


@torch.no_grad()
def embed(
    network: Any,
    clips: LabelledClips,
    store: FeatureStore | ComputedFeatures,
    accelerator: Accelerator,
    indices: Sequence[int] | None = None,
) -> Vectors:
    """The vectors of a split, every process a part of them.

    Args:
        indices: of the clips; None for all.
    """
    chosen = list(range(len(clips))) if indices is None else list(indices)
    was_training = network.training
    network.eval()
    num_samples = clips.num_samples[chosen].tolist()
    batches = evaluation_batches(num_samples, seconds_per_batch(network, num_samples))
    mine: list[tuple[int, Any]] = []
    for places in batches[accelerator.process_index :: accelerator.num_processes]:
        row = row_of([store.clip(chosen[place]) for place in places]).to(network.device)
        with accelerator.autocast():
            vectors = speaker_vectors(network, row)
        mine += zip(places, vectors.double().cpu().numpy(), strict=True)
    network.train(was_training)
    if accelerator.num_processes > 1:
        from accelerate.utils import gather_object

        mine = gather_object(mine)
    found = dict(mine)
    return Vectors(
        [clips.ids[index] for index in chosen],
        [clips.labels[index] for index in chosen],
        np.stack([found[place] for place in range(len(chosen))]),
        np.asarray(num_samples) / SAMPLE_RATE_HZ,
    )


def cosines(vectors: Vectors, trials: Trials) -> Floats:
    """`[N]`."""
    unit = vectors.unit
    return np.asarray(np.einsum("ne,ne->n", unit[trials.pairs[:, 0]], unit[trials.pairs[:, 1]]))


def plain_eer(vectors: Vectors, trials: Trials) -> float:
    """The EER of cosines; of trials that are all of one kind, not a number."""
    if trials.targets.all() or not trials.targets.any():
        return float("nan")
    return equal_error_rate(error_rates(cosines(vectors, trials), trials.targets))


def of_each_speaker(labels: Sequence[str], num_originals: int, most: int = CLIPS_A_SPEAKER) -> list[int]:
    """Indices of up to `most` clips of each speaker, evenly spread; copies are none."""
    places: dict[str, list[int]] = {}
    for index, label in enumerate(labels[:num_originals]):
        places.setdefault(label, []).append(index)
    return [
        indices[place]
        for indices in places.values()
        for place in np.unique(np.linspace(0, len(indices) - 1, most).astype(int))
    ]


@dataclass(frozen=True)
class Scorer:
    """What training speakers say about scores.

    Attributes:
        cohort: `[P, E]`, unit length: the mean vector of each training speaker; None for plain cosines.
        calibration: of scores with their quality.
    """

    cohort: Floats | None
    top: int
    calibration: Calibration

    def scores(self, vectors: Vectors, trials: Trials) -> Floats:
        """`[N]`, higher for one speaker."""
        return _scores(vectors, trials, self.cohort, self.top)

    def ratios(self, vectors: Vectors, trials: Trials) -> Floats:
        """Log likelihood ratios `[N]`."""
        return self.calibration(_quality(vectors, trials, self.scores(vectors, trials)))


def _scores(vectors: Vectors, trials: Trials, cohort: Floats | None, top: int) -> Floats:
    plain = cosines(vectors, trials)
    if cohort is None:
        return plain
    return adaptive_s_norm(plain, vectors.unit, vectors.unit, cohort, trials.pairs, top)


def _quality(vectors: Vectors, trials: Trials, scores: Floats) -> Floats:
    durations = np.log(np.clip(vectors.duration_s, 0.1, MOST_QUALITY_S))
    norms = np.log(np.maximum(np.linalg.norm(vectors.vectors, axis=1), 1e-12))
    return quality(scores, trials.pairs, [(durations, durations), (norms, norms)])


def fit_scorer(training: Vectors, trials: Trials, top: int) -> Scorer:
    """Cohort and calibration of training speakers alone.

    Args:
        trials: of `training`.
        top: of the cohort; 0 for plain cosines.
    """
    names = sorted(set(training.speakers))
    rows = {name: row for row, name in enumerate(names)}
    means = np.zeros((len(names), training.vectors.shape[1]))
    np.add.at(means, [rows[name] for name in training.speakers], training.unit)
    cohort = means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12) if top else None
    scores = _scores(training, trials, cohort, top)
    return Scorer(cohort, top, calibrate(_quality(training, trials, scores), trials.targets))


@dataclass(frozen=True)
class Summary:
    """What `summary.json` holds: fractions and counts. The interval is drawn by speaker, on both sides of the trials at
    once (1,000 draws, seed 0)."""

    eer: float
    eer_ci95: tuple[float, float] | None
    eer_cosine: float
    min_dcf_001: float
    min_dcf_005: float
    cllr: float
    threshold: float
    trials: int
    targets: int
    speakers: int
    clips: int
    scoring: str
    model: str
    split: str
    seconds: float


@dataclass(frozen=True)
class Scored:
    """A scored split."""

    vectors: Vectors
    trials: Trials
    scores: Floats
    ratios: Floats

    @property
    def errors(self) -> Errors:
        return error_rates(self.scores, self.trials.targets)


def threshold_of(scores: Floats, targets: npt.NDArray[np.bool_]) -> float:
    """The score at which misses and false alarms are equally frequent."""
    errors, ordered = error_rates(scores, targets), np.unique(scores)
    place = int(np.argmax(errors.miss - errors.false_alarm >= 0))
    return float(ordered[min(place, len(ordered) - 1)])


def summarize(scored: Scored, top: int, *, model: str, split: str, started: float) -> Summary:
    """The figures of a scored split."""
    targets, errors = scored.trials.targets, scored.errors
    sides = np.unique(np.asarray(scored.vectors.speakers), return_inverse=True)[1][scored.trials.pairs]
    return Summary(
        equal_error_rate(errors),
        speaker_interval(scored.scores, targets, sides),
        plain_eer(scored.vectors, scored.trials),
        min_dcf(errors, 0.01),
        min_dcf(errors, 0.05),
        cllr(scored.ratios, targets),
        threshold_of(cosines(scored.vectors, scored.trials), targets),
        len(targets),
        int(targets.sum()),
        len(set(scored.vectors.speakers)),
        len(scored.vectors.ids),
        f"AS-norm, {top} nearest training speakers" if top else "cosine",
        model,
        split,
        round(time.perf_counter() - started, 3),
    )


def result_line(summary: Summary) -> str:
    """The outcome for people."""
    ends = summary.eer_ci95
    interval = f"{100 * ends[0]:.2f}–{100 * ends[1]:.2f} %, by speaker" if ends else "too few speakers for one"
    return (
        f"{summary.split} EER {100 * summary.eer:.2f} %  (95 % interval {interval}; plain cosine"
        f" {100 * summary.eer_cosine:.2f} %; minDCF {summary.min_dcf_001:.3f} at 0.01, {summary.min_dcf_005:.3f} at"
        f" 0.05; Cllr {summary.cllr:.3f}; {summary.trials} trials of {summary.speakers} speakers)"
    )
