"""The curve on speech whose larger sets are known: power laws, with and without a floor, whose runs scatter."""

from __future__ import annotations

import numpy as np
import pytest

from unispeech_ft.errors import UserError
from unispeech_ft.scoring.learning_curve import Point, curve_lines, fit

SHARES, PHONES, CASES = (1 / 8, 1 / 4, 1 / 2, 1), 4_000, 20


def law(random: np.random.Generator, case: int) -> tuple[float, float, float]:
    """PER at an hour, floor and exponent of a case; every other one has a floor."""
    per, exponent = random.uniform(0.08, 0.4), random.uniform(0.15, 0.7)
    return per, (random.uniform(0.2, 0.7) if case % 2 else 0.0) * per, exponent


def measured(random: np.random.Generator, per: float, floor: float, exponent: float, hours: float) -> Point:
    """A run: its true PER scatters by 3 %, its errors are counted on a test set of utterances of 40 phones, the hard
    among them hard for every run."""
    true = (floor + (per - floor) * hours**-exponent) * np.exp(0.03 * random.standard_normal())
    hard = np.random.default_rng(7).gamma(4, 1 / 4, PHONES // 40)
    errors = random.binomial(40, np.minimum(true * hard / hard.mean(), 1)).sum()
    return Point(hours, int(errors), PHONES)


def cases(seed: int) -> list[tuple[list[Point], list[Point]]]:
    """For each case the runs on parts of an hour, and those on larger sets."""
    random = np.random.default_rng(seed)
    found = []
    for case in range(CASES):
        known = law(random, case)
        found.append(
            (
                [measured(random, *known, share) for share in SHARES],
                [measured(random, *known, hours) for hours in (1.5, 2.0)],
            )
        )
    return found


def right(seed: int) -> tuple[int, float]:
    """Cases whose larger sets both lie in their intervals, and the mean width of an interval, as a share of its
    PER."""
    inside, widths = 0, []
    for points, larger in cases(seed):
        curve = fit(points)
        predictions = [curve.at(point.hours) for point in larger]
        inside += all(p.low <= point.per <= p.high for p, point in zip(predictions, larger, strict=True))
        widths += [(p.high - p.low) / p.per for p in predictions]
    return inside, float(np.mean(widths))


def test_right_in_18_of_20() -> None:
    found = [right(seed) for seed in range(5)]
    assert sum(inside for inside, _ in found) >= 5 * 18
    assert max(width for _, width in found) < 0.45, "an interval that holds everything says nothing"


def test_it_is_no_surer_than_it_may_be() -> None:
    """Where runs are exact and the law is known, the middle is close to it."""
    points = [Point(share, round(0.2 * share**-0.3 * 1_000_000), 1_000_000) for share in SHARES]
    curve = fit(points)
    assert curve.at(2.0).per == pytest.approx(0.2 * 2**-0.3, rel=0.04)
    assert curve.exponent[1] < 0.3 < curve.exponent[2]
    near, far = curve.at(1.1), curve.at(4.0)
    assert (far.high - far.low) / far.per > (near.high - near.low) / near.per


def test_fewer_phones_are_less_sure() -> None:
    many = fit([Point(share, round(2_000 * share**-0.3), 10_000) for share in SHARES]).at(2.0)
    few = fit([Point(share, round(20 * share**-0.3), 100) for share in SHARES]).at(2.0)
    assert few.high - few.low > 2 * (many.high - many.low)


def test_the_same_points_say_the_same() -> None:
    points = cases(1)[0][0]
    assert fit(points).at(1.5) == fit(points[::-1]).at(1.5)


def test_a_model_that_says_nothing_is_no_point() -> None:
    points = [Point(0.125, 950, 1_000), Point(0.25, 400, 1_000), Point(0.5, 330, 1_000), Point(1, 270, 1_000)]
    curve = fit(points)
    assert [point.hours for point in curve.left_out] == [0.125]
    lines = curve_lines(curve, (30, 60))
    assert "left out: no power law holds yet" in lines[1]
    assert [line.split()[:2] for line in lines[5:7]] == [["+", "30"], ["+", "60"]]
    assert "twice as much takes" in lines[-1]


@pytest.mark.parametrize(("errors", "said"), [(900, "no power law holds yet"), (0, "no errors to reckon with")])
def test_more_is_more_than_all(errors: int, said: str) -> None:
    """The run on all of the speech may be the one that is left out."""
    points = [Point(0.125, 300, 1_000), Point(0.25, 250, 1_000), Point(0.5, 220, 1_000), Point(1, errors, 1_000)]
    curve = fit(points)
    assert curve.hours == 1
    assert curve.at(1.5) == fit([*points[:3], Point(1, 1_000, 1_000)]).at(1.5)
    lines = curve_lines(curve, (30,))
    assert said in lines[4]
    assert f"{100 * curve.at(1.5).per:.2f} %" in lines[5]


def test_errors_that_rise_are_no_power_law() -> None:
    rising = [Point(share, errors, 1_000) for share, errors in zip(SHARES, (100, 150, 200, 300), strict=True)]
    said = "the run on 60.0 minutes lies outside"
    assert any(line.startswith(said) for line in curve_lines(fit(rising), ()))
    assert not any("lies outside" in line for line in curve_lines(fit(cases(1)[0][0]), ()))


@pytest.mark.parametrize(
    "points",
    [
        [],
        [Point(0.5, 300, 1_000), Point(1, 250, 1_000)],
        [Point(share, 990, 1_000) for share in SHARES],
        [Point(share, 0, 1_000) for share in SHARES],
    ],
)
def test_too_little_for_a_curve(points: list[Point]) -> None:
    with pytest.raises(UserError, match="a curve needs runs on 3 amounts"):
        fit(points)
