"""How far to trust the transcript of an utterance: the share of its phones that is probably right.

What is read is the mean posterior of its phones; what it means is learnt on the validation split, by least
cross-entropy of a logistic curve. An utterance whose mean posterior is below nearly all of that split's is of another
kind than the speech that the model was made for: another language, music, a noise.

Shapes: `U` utterances.
Sources: Platt 1999 (the curve); Naeini et al. 2015 (expected calibration error).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict, with_config

from unispeech_ft.scoring.per import UtteranceScore
from unispeech_ft.scoring.timing import PhoneTime

LEAST_UTTERANCES, BINS, UNLIKE_SHARE, EDGE = 20, 10, 0.01, 1e-4

Floats = npt.NDArray[np.float64]


@with_config(ConfigDict(extra="forbid", strict=True, allow_inf_nan=False))
@dataclass(frozen=True)
class Confidence:
    """What the posteriors of a model mean.

    Attributes:
        slope, offset: confidence = sigmoid(slope · logit(mean posterior) + offset).
        unlike_below: a mean posterior below it is unlike the speech of the validation split.
        utterances: that it was learnt on.
    """

    slope: float
    offset: float
    unlike_below: float
    utterances: int

    def of(self, mean_posterior: float) -> float:
        """The share of phones that is probably right."""
        return float(_sigmoid(self.slope * _logit(np.asarray(mean_posterior)) + self.offset))


def _logit(share: Floats) -> Floats:
    clipped = np.clip(share, EDGE, 1 - EDGE)
    return np.asarray(np.log(clipped / (1 - clipped)))


def _sigmoid(value: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-np.clip(value, -60, 60))))


def mean_posterior(posteriors: Sequence[float]) -> float | None:
    """Of the phones of an utterance; None where there is none."""
    return float(np.mean(posteriors)) if posteriors else None


def _heard(scores: Sequence[UtteranceScore], times: Mapping[str, Sequence[PhoneTime]]) -> tuple[Floats, Floats, Floats]:
    """Mean posterior, share of phones that are right, and reference phones of each utterance with both, `[U]`."""
    rows = []
    for item in scores:
        found = mean_posterior([time.posterior for time in times.get(item.id, ())])
        if found is not None and item.reference:
            rows.append((found, max(0.0, 1 - item.errors / len(item.reference)), len(item.reference)))
    columns = np.array(rows, dtype=np.float64).reshape(-1, 3)
    return columns[:, 0], columns[:, 1], columns[:, 2]


def learn_confidence(scores: Sequence[UtteranceScore], times: Mapping[str, Sequence[PhoneTime]]) -> Confidence | None:
    """The curve of a scored validation split; None where it is too small.

    Args:
        times: of the phones of each hypothesis, by utterance id.
    """
    from scipy.optimize import minimize

    posteriors, right, phones = _heard(scores, times)
    if len(posteriors) < LEAST_UTTERANCES:
        return None
    logits, weights = _logit(posteriors), phones / phones.sum()

    def cost(curve: Floats) -> float:
        margin = curve[0] * logits + curve[1]
        losses = right * np.logaddexp(0, -margin) + (1 - right) * np.logaddexp(0, margin)
        # A slope that little speech does not show stays near that of posteriors that are right.
        return float(weights @ losses + 1e-4 * (curve[0] - 1) ** 2)

    slope, offset = minimize(cost, np.array([1.0, 0.0]), method="BFGS").x
    unlike_below = float(np.quantile(posteriors, UNLIKE_SHARE))
    return Confidence(float(slope), float(offset), unlike_below, len(posteriors))


def calibration_error(
    confidence: Confidence, scores: Sequence[UtteranceScore], times: Mapping[str, Sequence[PhoneTime]]
) -> float | None:
    """Expected calibration error on a scored split, 0 to 1; None of too few utterances.

    Of ten groups of like confidence, how far its mean lies from the share of phones that are right, weighted by phones.
    """
    posteriors, right, phones = _heard(scores, times)
    if len(posteriors) < LEAST_UTTERANCES:
        return None
    said = _sigmoid(confidence.slope * _logit(posteriors) + confidence.offset)
    groups = np.array_split(np.argsort(said, kind="stable"), BINS)
    gaps = [abs(float(phones[group] @ (said[group] - right[group]))) for group in groups]
    return sum(gaps) / float(phones.sum())
