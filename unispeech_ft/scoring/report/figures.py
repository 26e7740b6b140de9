"""What the drawings show and where each mark stands: learning curves, and the PER on a scale with its interval."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from unispeech_ft.scoring.summary import Summary

Point = tuple[float, float]

MAX_POINTS = 160


class Frame(NamedTuple):
    """Size of a drawing, and the edges of what is drawn between its axes."""

    width: int = 340
    height: int = 200
    left: int = 46
    right: int = 328
    top: int = 12
    bottom: int = 160


@dataclass(frozen=True)
class Curves:
    """What training looked like: (update, training loss) and (update, validation PER as a fraction)."""

    loss: list[Point]
    per: list[Point]


@dataclass(frozen=True)
class Curve:
    """One curve over the updates, ready to be drawn.

    Attributes:
        said: its last and lowest value in words.
        rows, columns: where a tick stands, and its text.
        points: places of the values.
        axis: what runs across.
    """

    said: str
    rows: list[tuple[float, str]]
    columns: list[tuple[float, str]]
    points: list[Point]
    axis: str
    frame: Frame = Frame()


@dataclass(frozen=True)
class Scale:
    """Where the PER, the ends of its interval and what guessing scores stand on a line from 4 to 596."""

    said: str
    per: float
    low: float
    high: float
    guess: float | None


def parse_curves(metrics: str) -> Curves:
    """The curves in the text of a `metrics.jsonl`; a line that is cut short is left out."""
    loss: list[Point] = []
    per: list[Point] = []
    for line in metrics.splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if event.get("event") == "update" and event.get("loss") is not None:  # null was not finite
            loss.append((event["update"], event["loss"]))
        elif event.get("event") == "evaluation" and event.get("per") is not None:
            per.append((event["update"], event["per"]))
    return Curves(loss, per)


def thinned(points: Sequence[Point], limit: int = MAX_POINTS) -> list[Point]:
    """At most `limit` points, each the mean of as many neighbours."""
    size = max(1, math.ceil(len(points) / limit))
    groups = [points[start : start + size] for start in range(0, len(points), size)]
    return [(group[-1][0], sum(value for _, value in group) / len(group)) for group in groups]


def _ticks(low: float, high: float, logarithmic: bool) -> list[float]:
    """A few round numbers within the limits."""
    if logarithmic:
        powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        found = [digit * 10.0**power for power in powers for digit in (1, 2, 5)]
        found = [tick for tick in found if low <= tick <= high]
        return found if len(found) <= 6 else found[:: math.ceil(len(found) / 6)]
    step = 10.0 ** math.floor(math.log10((high - low) or 1.0))
    step *= next(factor for factor in (0.2, 0.25, 0.5, 1, 2, 5) if (high - low) / (step * factor) <= 5)
    return [step * number for number in range(math.ceil(low / step), math.floor(high / step) + 1)]


def draw_curve(
    points: Sequence[Point],
    label: str,
    *,
    percent: bool = False,
    logarithmic: bool = False,
    said: str | None = None,
    last: float | None = None,
    axis: str = "update",
) -> Curve:
    """One curve; a logarithmic scale only where every value is above 0.

    Args:
        said: what stands below; None for its last and lowest value over the updates.
        last: right end of the axis; None for the last point, and for one update at least.
        axis: what runs across.
    """
    frame, scale, unit = Frame(), 100.0 if percent else 1.0, " %" if percent else ""
    drawn = [(x, y * scale) for x, y in thinned(points)]
    logarithmic = logarithmic and min(y for _, y in drawn) > 0
    bend = math.log10 if logarithmic else float
    low, high = (0.0 if percent else min(y for _, y in drawn)), max(y for _, y in drawn)
    high = high if high > low else low + 1.0
    first, last = drawn[0][0], max(drawn[-1][0], drawn[0][0] + 1) if last is None else last

    def across(x: float) -> float:
        return frame.left + (x - first) / (last - first) * (frame.right - frame.left)

    def up(y: float) -> float:
        return frame.bottom - (bend(y) - bend(low)) / (bend(high) - bend(low)) * (frame.bottom - frame.top)

    best = min(points, key=lambda point: point[1])
    return Curve(
        said
        or f"{label}: last {scale * points[-1][1]:.4g}{unit}, lowest {scale * best[1]:.4g}{unit} at update {best[0]:g}",
        [(up(tick), f"{tick:g}{unit}") for tick in _ticks(low, high, logarithmic)],
        [(across(tick), f"{tick:g}") for tick in _ticks(first, last, False)],
        [(across(x), up(y)) for x, y in drawn],
        axis,
    )


def task_curves(metrics: Path, figure: str, label: str, *, percent: bool = True) -> list[Curve]:
    """The training loss and one figure of the validation split; none where there is no `metrics.jsonl`.

    Args:
        metrics: path of the run's `metrics.jsonl`.
        figure: its name in the events of evaluations.
        label: for people.
        percent: the figure is a fraction, the best the lowest; else the highest.
    """
    text = metrics.read_text(encoding="utf-8") if metrics.is_file() else ""
    events = [json.loads(line) for line in text.splitlines() if line.endswith("}")]
    found = Curves(
        parse_curves(text).loss,
        [(e["update"], e[figure]) for e in events if e.get("event") == "evaluation" and e.get(figure) is not None],
    )
    loss = [draw_curve(found.loss, "Training loss", logarithmic=True)] if found.loss else []
    if not found.per:
        return loss
    best = max(found.per, key=lambda point: point[1])
    said = f"{label}: last {found.per[-1][1]:.4g}, highest {best[1]:.4g} at update {best[0]:g}"
    return [*loss, draw_curve(found.per, label, percent=percent, said=None if percent else said)]


def draw_curves(curves: Curves) -> list[Curve]:
    """Those of which there is a point."""
    loss = [draw_curve(curves.loss, "Training loss", logarithmic=True)] if curves.loss else []
    return loss + ([draw_curve(curves.per, "Validation PER", percent=True)] if curves.per else [])


def draw_scale(summary: Summary) -> Scale | None:
    """The PER and its interval from 0 to what guessing scores; None where there is no interval."""
    if summary.per is None or not summary.per_ci95:
        return None
    per, (low, high), guess = summary.per, summary.per_ci95, summary.per_shuffled
    top = max(1.0, per, high, guess or 0.0)

    def x(value: float) -> float:
        return 4 + 592 * value / top

    said = f"PER {100 * per:.2f} percent, interval {100 * low:.2f} to {100 * high:.2f}"
    return Scale(said, x(per), x(low), x(high), None if guess is None else x(guess))
