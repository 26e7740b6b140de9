"""Whether one run of a task is better than another, by drawing the same units of both.

`U` units, `D` draws.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from unispeech_ft.errors import UserError
from unispeech_ft.scoring.compare import verdict
from unispeech_ft.scoring.task_scores import TaskScores

DRAWS = 2_000


@dataclass(frozen=True)
class TaskComparison:
    """Two figures of what was to be found alike; those in per cent are fractions here.

    Attributes:
        difference: `b - a`.
        difference_ci95: [low, high] of the paired bootstrap.
        p_value: of no difference, two-sided: how often a draw's difference lies on the other side of 0.
        drawn: what a unit is.
    """

    figure: str
    unit: str
    a: float
    b: float
    difference: float
    difference_ci95: tuple[float, float]
    p_value: float
    drawn: str
    units: int
    rising: bool


def compare_task_scores(first: TaskScores, second: TaskScores, draws: int = DRAWS, seed: int = 0) -> TaskComparison:
    """Compares two results of one task.

    Raises:
        UserError: they are of different tasks or of other references, or a figure is unknown.
    """
    remedy = "score both on the same split of the same data, with the same seed and simulation"
    if (first.key, first.known) != (second.key, second.known):
        what = f"{first.name} and {second.name}" if first.key != second.key else f"{first.name} of other references"
        raise UserError(f"the two results cannot be compared: {what}", remedy=remedy)
    a, b = first.figure, second.figure
    if a is None or b is None:
        raise UserError(f"one of the two results has no {first.name}", remedy=remedy)
    units = first.scores.num_units
    random, differences = np.random.default_rng(seed), []
    for _ in range(draws):
        times = np.bincount(random.integers(units, size=units), minlength=units).astype(float)
        drawn = [result.scores.figure(times) for result in (first, second)]
        if drawn[0] is not None and drawn[1] is not None:
            differences.append(drawn[1] - drawn[0])
    found = np.array(differences)
    low, high = np.percentile(found, [2.5, 97.5]) if len(found) else (np.nan, np.nan)
    # The data as they are count as one of the draws, so that p is never 0.
    rarer = min((found <= 0).sum(), (found >= 0).sum())
    p_value = min(1.0, 2 * (int(rarer) + 1) / (len(found) + 1))
    ends = (float(low), float(high))
    return TaskComparison(first.name, first.unit, a, b, b - a, ends, p_value, first.drawn, units, first.rising)


def format_task_comparison(found: TaskComparison, names: tuple[str, str]) -> str:
    """A readable block: both figures, their difference with its interval and p, and the verdict."""
    scale, points = (100, "points") if found.unit == "%" else (1, found.unit)
    low, high = (scale * end for end in found.difference_ci95)
    gain = found.difference if found.rising else -found.difference
    return "\n".join(
        [
            f"A  {found.figure} {scale * found.a:.2f} {found.unit}  {names[0]}",
            f"B  {found.figure} {scale * found.b:.2f} {found.unit}  {names[1]}",
            f"difference B - A: {scale * found.difference:+.2f} {points} (95 % interval {low:+.2f} to {high:+.2f},"
            f" paired bootstrap by {found.drawn}, {found.units} units), p = {found.p_value:.4f}",
            verdict(gain, found.p_value),
        ]
    )
