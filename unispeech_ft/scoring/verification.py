"""Figures of a verification: EER, minDCF and Cllr of scored trials, their intervals, and the DET curve.

`N` trials, `D` bootstrap draws, `P` speakers, `E` values of a vector.
Sources: NIST SRE plans (minDCF); Brümmer and du Preez 2006 (Cllr); Matejka et al. 2017 (adaptive s-norm).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
DRAWS, TRIALS_PER_CHUNK = 1_000, 1 << 24


@dataclass(frozen=True)
class Errors:
    """Error rates at every threshold.

    Attributes:
        miss: share of targets below the threshold, rising from 0 to 1.
        false_alarm: share of the others at or above it, falling from 1 to 0.
    """

    miss: Floats
    false_alarm: Floats


def error_rates(scores: Floats, targets: npt.NDArray[np.bool_], weights: Floats | None = None) -> Errors:
    """The rates at thresholds below, between and above all scores; equal scores fall together.

    Args:
        scores: `[N]`, higher for the same speaker.
        targets: `[N]`, whether a trial is of one speaker.
        weights: `[N]` of each trial; None for 1.
    """
    order = np.argsort(scores, kind="stable")
    ordered, same = scores[order], targets[order]
    weight = np.ones(len(scores)) if weights is None else weights[order]
    last = np.append(ordered[1:] != ordered[:-1], True)
    missed = np.append(0.0, np.cumsum(weight * same)[last])
    passed = np.append(0.0, np.cumsum(weight * ~same)[last])
    return Errors(missed / missed[-1], 1 - passed / passed[-1])


def equal_error_rate(errors: Errors) -> float:
    """Where the two rates meet, on the line between the thresholds around it."""
    gap = errors.miss - errors.false_alarm
    after = int(np.argmax(gap >= 0))
    if after == 0 or gap[after] == gap[after - 1]:
        return float(errors.miss[after])
    share = -gap[after - 1] / (gap[after] - gap[after - 1])
    return float(errors.miss[after - 1] + share * (errors.miss[after] - errors.miss[after - 1]))


def min_dcf(errors: Errors, prior: float) -> float:
    """The lowest detection cost of any threshold ÷ that of a system that hears nothing; both mistakes cost 1."""
    costs = prior * errors.miss + (1 - prior) * errors.false_alarm
    return float(costs.min() / min(prior, 1 - prior))


def cllr(ratios: Floats, targets: npt.NDArray[np.bool_]) -> float:
    """Bits lost by taking scores as log likelihood ratios (natural logarithm); 1 for a system that hears nothing."""
    of_same, of_others = np.logaddexp(0, -ratios[targets]), np.logaddexp(0, ratios[~targets])
    return float((of_same.mean() + of_others.mean()) / (2 * np.log(2)))


def speaker_interval(
    scores: Floats, targets: npt.NDArray[np.bool_], sides: npt.NDArray[np.int64], draws: int = DRAWS, seed: int = 0
) -> tuple[float, float] | None:
    """95 % percentile interval of the EER; speakers are drawn with replacement, on both sides of the trials at once.

    A speaker drawn k times has k times its target trials; a trial of two speakers counts as often as the product says.

    Args:
        sides: `[N, 2]`, the speakers of each trial as numbers from 0.

    Returns:
        The ends; None where too few draws have trials of both kinds.
    """
    order = np.argsort(scores, kind="stable")
    ordered, same, who = scores[order], targets[order], sides[order]
    speakers = int(sides.max()) + 1
    random = np.random.default_rng(seed)
    found = []
    for _ in range(draws):
        times = np.bincount(random.integers(speakers, size=speakers), minlength=speakers).astype(float)
        drawn = drawn_eer(ordered, same, who, times)
        found += [] if drawn is None else [drawn]
    if len(found) < draws // 2:
        return None
    low, high = np.percentile(found, [2.5, 97.5])
    return float(low), float(high)


def drawn_eer(
    scores: Floats, targets: npt.NDArray[np.bool_], sides: npt.NDArray[np.int64], times: Floats
) -> float | None:
    """The EER where each speaker counts so often; None where trials of one kind are left.

    Args:
        times: `[P]`, of each speaker.
    """
    weights = np.where(targets, times[sides[:, 0]], times[sides[:, 0]] * times[sides[:, 1]])
    if not (weights * targets).any() or not (weights * ~targets).any():
        return None
    return equal_error_rate(error_rates(scores, targets, weights))


def adaptive_s_norm(
    scores: Floats, enrol: Floats, test: Floats, cohort: Floats, pairs: npt.NDArray[np.int64], top: int
) -> Floats:
    """Scores seen from what each side says of its nearest strangers: the mean of both z-norms.

    Args:
        enrol, test: vectors of unit length `[·, E]` that `pairs` `[N, 2]` counts.
        cohort: `[P, E]`, unit length, of other speakers.
        top: so many of the highest cohort scores of each side count.
    """
    count = min(top, len(cohort))

    def statistics(vectors: Floats) -> tuple[Floats, Floats]:
        nearest = np.sort(vectors @ cohort.T, axis=1)[:, -count:]
        return nearest.mean(axis=1), np.maximum(nearest.std(axis=1), 1e-6)

    (mean_e, std_e), (mean_t, std_t) = statistics(enrol), statistics(test)
    left, right = pairs[:, 0], pairs[:, 1]
    return np.asarray(0.5 * ((scores - mean_e[left]) / std_e[left] + (scores - mean_t[right]) / std_t[right]))


@dataclass(frozen=True)
class Calibration:
    """Score and quality measures of both sides → log likelihood ratio, by a linear model.

    Attributes:
        weights: of score and measures, standardised; the last is the offset.
        centre, spread: that standardise.
    """

    weights: Floats
    centre: Floats
    spread: Floats

    def __call__(self, features: Floats) -> Floats:
        """`[N, K]` → `[N]`."""
        return np.asarray((features - self.centre) / self.spread @ self.weights[:-1] + self.weights[-1])


def calibrate(features: Floats, targets: npt.NDArray[np.bool_]) -> Calibration:
    """The linear model of the lowest Cllr on trials of training speakers, found by L-BFGS from plain scores on.

    Args:
        features: `[N, K]`, the score first.
    """
    from scipy.optimize import minimize

    centre, spread = features.mean(axis=0), np.maximum(features.std(axis=0), 1e-9)
    scaled = np.column_stack([(features - centre) / spread, np.ones(len(features))])
    sign = np.where(targets, 1.0, -1.0)
    share = np.where(targets, 0.5 / targets.sum(), 0.5 / (~targets).sum())

    def cost(weights: Floats) -> tuple[float, Floats]:
        margin = sign * (scaled @ weights)
        slope = -sign * share / (1 + np.exp(np.clip(margin, -60, 60)))
        penalty = 1e-4 * weights[:-1]
        value = float(np.sum(share * np.logaddexp(0, -margin)) + 0.5 * weights[:-1] @ penalty)
        return value, scaled.T @ slope + np.append(penalty, 0)

    start = np.zeros(scaled.shape[1])
    start[0] = 1.0
    found = minimize(cost, start, jac=True, method="L-BFGS-B")
    return Calibration(found.x, centre, spread)


def quality(scores: Floats, pairs: npt.NDArray[np.int64], measures: Sequence[tuple[Floats, Floats]]) -> Floats:
    """The score, and of each measure the lower and the higher value of the two sides: `[N, 1 + 2 · measures]`.

    Args:
        measures: of the enrolled and of the tested clips, which `pairs` `[N, 2]` counts.
    """
    columns = [scores]
    for enrol, test in measures:
        left, right = enrol[pairs[:, 0]], test[pairs[:, 1]]
        columns += [np.minimum(left, right), np.maximum(left, right)]
    return np.column_stack(columns)


def det_points(errors: Errors, count: int = 200) -> list[tuple[float, float]]:
    """(false alarms, misses) of so many thresholds, evenly spread over the curve."""
    places = np.unique(np.linspace(0, len(errors.miss) - 1, count).astype(int))
    return [(float(errors.false_alarm[place]), float(errors.miss[place])) for place in places]
