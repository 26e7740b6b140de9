"""What more speech would bring: a power law through the PERs of runs on parts of the speech, with its interval.

    PER(h) = PER(H) · (φ + (1 − φ) · (h / H)^−b)

of hours `h`, all of the speech being `H`; `b` is how fast errors fall, `φ` the share of today's errors that no amount
of speech would take away. Four points cannot say all of that, so nothing is fitted once: every pair (φ, b) counts by
how well its curve passes the points, and so does every amount by which runs scatter around it. The interval is of the
PER that a run on so much speech would have on the same test split.

Sources: Hestness et al. 2017, "Deep Learning Scaling is Predictable, Empirically" (power laws, speech recognition among
them); Rosenfeld et al. 2020, "A Constructive Prediction of the Generalization Error Across Scales" (the floor).

Shapes: `P` points, `G` curves of the grid, `S` amounts of scatter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from unispeech_ft.errors import UserError

FloatArray = npt.NDArray[np.float64]

# Every curve of the grid is as likely as another before a point is seen, but for the floors, of which none is likelier.
EXPONENTS = np.linspace(0.0, 1.2, 61)
FLOORS = np.linspace(0.0, 0.9, 31)
# Standard deviations of a run's log PER around its curve: what another seed and other clips of the same hours make,
# some per cent; a run that ended half-trained is further off.
SCATTERS = np.array([0.01, 0.02, 0.04, 0.08, 0.16])
SCATTER_WEIGHTS = np.array([0.2, 0.3, 0.3, 0.15, 0.05])
# Above that a model says little else than guessing would, and no power law holds yet (the "small data region").
LARGEST_PER, LEAST_POINTS = 0.8, 3
DRAWS = 40_000


class Point(NamedTuple):
    """One run: the hours that it trained on, and its errors on the test split."""

    hours: float
    errors: int
    phones: int

    @property
    def per(self) -> float:
        return self.errors / self.phones


class Prediction(NamedTuple):
    """PER at some hours: the median and the ends of its 95 % interval, fractions."""

    hours: float
    per: float
    low: float
    high: float


@dataclass(frozen=True)
class LearningCurve:
    """What `fit` found.

    Attributes:
        points: that the curve passes.
        left_out: points of the small data region.
        logs: `[D]`, draws of the logarithm of PER(H).
        floors, exponents, scatters: `[D]`, of each draw.
        hours: `H`.
    """

    points: tuple[Point, ...]
    left_out: tuple[Point, ...]
    hours: float
    logs: FloatArray
    floors: FloatArray
    exponents: FloatArray
    scatters: FloatArray

    @property
    def exponent(self) -> tuple[float, float, float]:
        """Median and 95 % interval of the slope of log PER over log hours at `H`, its sign turned."""
        low, middle, high = np.percentile((1 - self.floors) * self.exponents, [2.5, 50, 97.5])
        return float(middle), float(low), float(high)

    def at(self, hours: float) -> Prediction:
        """The PER of a run on so many hours."""
        curve = self.logs + _shape(self.floors, self.exponents, hours / self.hours)
        phones = self.points[-1].phones
        counted = 1 / np.sqrt(np.maximum(np.exp(curve) * phones, 1))
        noise = np.random.default_rng(1).standard_normal(len(curve)) * np.hypot(self.scatters, counted)
        low, middle, high = np.percentile(np.exp(curve + noise), [2.5, 50, 97.5])
        return Prediction(hours, float(middle), float(low), float(high))


def _shape(floors: FloatArray, exponents: FloatArray, share: FloatArray | float) -> FloatArray:
    """log PER(h) − log PER(H), `share` being h / H."""
    shape: FloatArray = np.log(floors + (1 - floors) * np.asarray(share) ** -exponents)
    return shape


def fit(points: Sequence[Point]) -> LearningCurve:
    """The curve through some runs' PERs.

    Args:
        points: at least three whose model says something.

    Raises:
        UserError: there are fewer, or no errors to learn from.
    """
    ordered = sorted(points)
    usable = [point for point in ordered if point.errors > 0 and point.per <= LARGEST_PER]
    left_out = [point for point in ordered if point not in usable]
    amounts = len({point.hours for point in usable})
    if amounts < LEAST_POINTS:
        raise UserError(
            f"a curve needs runs on {LEAST_POINTS} amounts of speech with a PER from above 0 to"
            f" {100 * LARGEST_PER:.0f} %; there are {amounts}",
            remedy="train longer, or on more speech: what so little speech brings says nothing of more",
        )
    full = ordered[-1].hours
    grid_floors, grid_exponents = (axis.ravel() for axis in np.meshgrid(FLOORS, EXPONENTS, indexing="ij"))
    observed = np.log([point.per for point in usable])
    counted = np.array([1 / point.errors for point in usable])
    shares = np.array([point.hours / full for point in usable])
    residual = observed - _shape(grid_floors[:, None], grid_exponents[:, None], shares)  # [G, P]
    precision = 1 / (SCATTERS[:, None] ** 2 + counted)  # [S, P]
    total = precision.sum(axis=1)  # [S]
    middle = residual @ precision.T / total  # [G, S], the best log PER(H) of each curve
    misfit = (residual[:, None] - middle[..., None]) ** 2  # [G, S, P]
    log_weight = -0.5 * (misfit * precision).sum(axis=2) + 0.5 * np.log(precision).sum(axis=1) - 0.5 * np.log(total)
    log_weight += np.log(SCATTER_WEIGHTS) + np.where(grid_floors == 0, np.log(len(FLOORS) - 1), 0.0)[:, None]
    weight = np.exp(log_weight - log_weight.max()).ravel()
    random = np.random.default_rng(0)
    drawn = random.choice(weight.size, DRAWS, p=weight / weight.sum())
    curve, scatter = np.divmod(drawn, len(SCATTERS))
    logs = middle.ravel()[drawn] + random.standard_normal(DRAWS) / np.sqrt(total[scatter])
    return LearningCurve(
        tuple(usable),
        tuple(left_out),
        full,
        logs,
        grid_floors[curve],
        grid_exponents[curve],
        SCATTERS[scatter],
    )


def curve_lines(curve: LearningCurve, more_minutes: Sequence[float]) -> list[str]:
    """The points, the curve and what more speech would bring, for people."""
    lines = [f"{'minutes':>9}  {'PER':>8}  {'curve':>8}  95 % interval of a run"]
    for point in sorted((*curve.left_out, *curve.points)):
        found = curve.at(point.hours)
        said = _interval(found)
        if point in curve.left_out:
            said = "left out: no power law holds yet" if point.errors else "left out: no errors to reckon with"
        shown = "" if point in curve.left_out else f"{100 * found.per:.2f} %"
        lines.append(f"{60 * point.hours:>9.1f}  {100 * point.per:>6.2f} %  {shown:>8}  {said}")
    for minutes in more_minutes:
        found = curve.at(curve.hours + minutes / 60)
        lines.append(f"{f'+ {minutes:g}':>9}  {'?':>8}  {100 * found.per:>6.2f} %  {_interval(found)}")
    for point in curve.points:
        found = curve.at(point.hours)
        if not found.low <= point.per <= found.high:
            lines.append(
                f"the run on {60 * point.hours:.1f} minutes lies outside: these PERs are no power law, and what is said"
                " of more speech is in doubt"
            )
    middle, low, high = curve.exponent
    twice = 1 - 2.0**-middle
    lines.append(
        f"errors fall with the power {middle:.2f} of the speech ({low:.2f} to {high:.2f}): twice as much takes"
        f" {100 * twice:.0f} % of them away"
    )
    return lines


def _interval(found: Prediction) -> str:
    return f"{100 * found.low:.2f}–{100 * found.high:.2f} %"
