"""EER, minDCF, Cllr, their interval, AS-norm and calibration against other ways of finding them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.interpolate import interp1d
from scipy.optimize import brentq
from sklearn.metrics import roc_curve

from unispeech_ft.scoring.verification import (
    adaptive_s_norm,
    calibrate,
    cllr,
    equal_error_rate,
    error_rates,
    min_dcf,
    speaker_interval,
)


def trials(seed: int, ties: bool) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    targets = random.random(400) < 0.3
    scores = random.normal(size=400) + 1.3 * targets
    return (scores.round(1) if ties else scores), targets


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_eer_is_where_the_receivers_curve_crosses(seed: int, ties: bool) -> None:
    scores, targets = trials(seed, ties)
    false_alarm, hit, _ = roc_curve(targets, scores, drop_intermediate=False)
    expected = brentq(lambda x: 1 - x - interp1d(false_alarm, hit)(x), 0, 1)
    assert equal_error_rate(error_rates(scores, targets)) == pytest.approx(expected, abs=1e-9)


def test_eer_of_known_scores() -> None:
    targets = np.array([True, True, False, False])
    assert equal_error_rate(error_rates(np.array([4.0, 3.0, 2.0, 1.0]), targets)) == 0
    assert equal_error_rate(error_rates(np.array([1.0, 2.0, 3.0, 4.0]), targets)) == 1
    assert equal_error_rate(error_rates(np.zeros(4), targets)) == pytest.approx(0.5)


@pytest.mark.parametrize("prior", [0.01, 0.05, 0.5])
def test_min_dcf_is_that_of_the_best_threshold(prior: float) -> None:
    scores, targets = trials(7, ties=True)
    costs = [
        prior * np.mean(scores[targets] < threshold) + (1 - prior) * np.mean(scores[~targets] >= threshold)
        for threshold in [*np.unique(scores), np.inf]
    ]
    assert min_dcf(error_rates(scores, targets), prior) == pytest.approx(min(costs) / min(prior, 1 - prior), abs=1e-12)


def test_cllr_of_what_hears_nothing_is_one_bit() -> None:
    targets = np.array([True, False, False])
    assert cllr(np.zeros(3), targets) == pytest.approx(1.0)
    assert cllr(np.array([50.0, -50.0, -50.0]), targets) == pytest.approx(0.0, abs=1e-12)


def test_weights_count_trials_as_if_they_stood_so_often() -> None:
    scores, targets = trials(3, ties=True)
    times = np.random.default_rng(0).integers(0, 3, len(scores))
    repeated = error_rates(np.repeat(scores, times), np.repeat(targets, times))
    assert equal_error_rate(error_rates(scores, targets, times.astype(float))) == pytest.approx(
        equal_error_rate(repeated), abs=1e-12
    )


def test_the_interval_by_speaker_is_wider_than_one_by_trial() -> None:
    random = np.random.default_rng(1)
    speakers = np.repeat(np.arange(12), 8)
    left, right = np.triu_indices(len(speakers), 1)
    sides = np.column_stack([speakers[left], speakers[right]])
    targets = sides[:, 0] == sides[:, 1]
    habit = random.normal(size=12)
    scores = random.normal(size=len(targets)) + 2 * targets + habit[sides].sum(axis=1)
    low, high = speaker_interval(scores, targets, sides) or (1.0, 0.0)
    alone = speaker_interval(scores, targets, np.column_stack([np.arange(len(targets))] * 2)) or (0.0, 1.0)
    eer = equal_error_rate(error_rates(scores, targets))
    assert low < eer < high
    assert high - low > 2 * (alone[1] - alone[0])


def test_adaptive_s_norm_is_its_formula() -> None:
    random = np.random.default_rng(2)

    def unit(count: int) -> np.ndarray:
        vectors = random.normal(size=(count, 6))
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    vectors, cohort = unit(5), unit(9)
    pairs = np.array([[0, 1], [3, 2]])
    scores = np.array([vectors[a] @ vectors[b] for a, b in pairs])
    found = adaptive_s_norm(scores, vectors, vectors, cohort, pairs, top=4)
    for score, value, (a, b) in zip(scores, found, pairs, strict=True):
        sides = [np.sort(cohort @ vectors[side])[-4:] for side in (a, b)]
        assert value == pytest.approx(np.mean([(score - side.mean()) / side.std() for side in sides]))


def test_calibration_turns_scores_into_ratios_and_uses_quality() -> None:
    random = np.random.default_rng(5)
    targets = random.random(4_000) < 0.5
    quality = random.uniform(size=4_000)
    scores = 0.3 + 0.1 * (2.0 * targets - 1) + 0.1 * random.normal(size=4_000) + 0.5 * quality
    alone, both = (
        calibrate(columns, targets)(columns) for columns in (scores[:, None], np.column_stack([scores, quality]))
    )
    assert cllr(both, targets) < cllr(alone, targets) - 0.05 < cllr(scores, targets)
    # Where the ratio is right, targets are e^ratio times as many as others.
    near = np.abs(both - 1) < 0.3
    assert np.log(targets[near].sum() / (~targets[near]).sum()) == pytest.approx(1.0, abs=0.35)
