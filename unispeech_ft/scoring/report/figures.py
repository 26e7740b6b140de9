"""Inline drawings: learning curves, and the PER on a scale with its interval."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

Point = tuple[float, float]

MAX_POINTS = 160
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 340, 190, 46, 12, 12, 30


@dataclass(frozen=True)
class Curves:
    """What training looked like: (update, training loss) and (update, validation PER as a fraction)."""

    loss: list[Point]
    per: list[Point]


def parse_curves(metrics: str) -> Curves:
    """The curves in the text of a `metrics.jsonl`; a line that is cut short is left out."""
    loss: list[Point] = []
    per: list[Point] = []
    for line in metrics.splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if event.get("event") == "update" and math.isfinite(event.get("loss", math.nan)):
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


def curve_svg(points: Sequence[Point], label: str, *, percent: bool = False, logarithmic: bool = False) -> str:
    """One curve over the updates, with its axes and its last and lowest value in words."""
    scale = 100.0 if percent else 1.0
    drawn = [(x, y * scale) for x, y in thinned(points)]
    if logarithmic and min(y for _, y in drawn) <= 0:
        logarithmic = False
    bend = math.log10 if logarithmic else float
    low, high = (0.0 if percent else min(y for _, y in drawn)), max(y for _, y in drawn)
    high = high if high > low else low + 1.0
    first, last = drawn[0][0], max(drawn[-1][0], drawn[0][0] + 1)

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - first) / (last - first)
        up = (bend(y) - bend(low)) / (bend(high) - bend(low))
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)

    unit = " %" if percent else ""
    parts = []
    for tick in _ticks(low, high, logarithmic):
        _, y = place(first, tick)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 5}" y="{y + 4:.1f}" text-anchor="end">{tick:g}{unit}</text>')
    for tick in _ticks(first, last, False):
        x, _ = place(tick, low)
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{tick:g}</text>')
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(x, y) for x, y in drawn))
    parts.append(f'<polyline points="{path}"/>')
    if len(drawn) <= 40:
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in (place(*point) for point in drawn)]
    best = min(points, key=lambda point: point[1])
    said = f"{label}: last {scale * points[-1][1]:.4g}{unit}, lowest {scale * best[1]:.4g}{unit} at update {best[0]:g}"
    return (
        f'<figure><svg class="curve" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(said)}">'
        f"{''.join(parts)}</svg><figcaption>{escape(said)}</figcaption></figure>"
    )


def interval_svg(per: float, low: float, high: float, shuffled: float | None) -> str:
    """The PER and its interval on a scale from 0 to what guessing scores."""
    top = max(1.0, per, high, shuffled or 0.0)

    def x(value: float) -> float:
        return 4 + 592 * min(value, top) / top

    marks = [
        '<line class="grid" x1="4" x2="596" y1="16" y2="16"/>',
        f'<rect class="interval" x="{x(low):.1f}" y="9" width="{max(2.0, x(high) - x(low)):.1f}" height="14" rx="4"/>',
        f'<line class="point" x1="{x(per):.1f}" x2="{x(per):.1f}" y1="3" y2="29"/>',
    ]
    if shuffled is not None:
        marks.append(f'<line class="guess" x1="{x(shuffled):.1f}" x2="{x(shuffled):.1f}" y1="6" y2="26"/>')
        marks.append(f'<text x="{x(shuffled) - 4:.1f}" y="44" text-anchor="end">guessing {100 * shuffled:.0f} %</text>')
    marks.append('<text x="4" y="44">0 %</text>')
    said = f"PER {100 * per:.2f} percent, interval {100 * low:.2f} to {100 * high:.2f}"
    return f'<svg class="scale" viewBox="0 0 600 48" role="img" aria-label="{said}">{"".join(marks)}</svg>'


def bar(fraction: float | None, most: float) -> str:
    """A bar of a table cell, by length only: its number stands beside it."""
    width = 100 * min(1.0, (fraction or 0.0) / most) if most else 0.0
    return f'<span class="bar" aria-hidden="true"><i style="width:{width:.1f}%"></i></span>'
