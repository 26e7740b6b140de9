"""When each phone was said: from the frames of a CTC path to boundaries in seconds, and how sure the model is.

A CTC model marks a phone in one or two frames somewhere inside it, and calls the rest blank. The boundary between two
phones lies where the posterior of the second overtakes that of the first: of all frames between the two marks, the
cut after which log p(second) - log p(first) sums highest. No phone reaches further than `REACH_S` beyond its marked
frames; what lies between two phones that are further apart belongs to neither and is a pause. Among the rules that were
measured against true phone times (docs/alignment.md), this one has the least error.

Frame `t` stands for the seconds `grid.edge_s(t)` to `grid.edge_s(t + 1)`, centred in the samples that it sees.

Shapes: `T` frames, `V` rows of the head, `N` phones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from unispeech_ft.scoring.greedy import Segment

REACH_S = 0.1


@dataclass(frozen=True)
class FrameGrid:
    """Where frames lie: `step_s` from one to the next, the first begins at `offset_s`."""

    step_s: float
    offset_s: float = 0.0

    def edge_s(self, frame: int) -> float:
        """Where a frame begins."""
        return self.offset_s + frame * self.step_s


class PhoneTime(NamedTuple):
    """One phone in time.

    Attributes:
        start_s: from the start of the clip.
        end_s: likewise.
        posterior: 0 to 1, the mean of the phone's softmax output over the frames that mark it.
    """

    start_s: float
    end_s: float
    posterior: float


def phone_times(
    marks: Sequence[Segment], log_posteriors: npt.NDArray[np.floating], grid: FrameGrid, duration_s: float
) -> list[PhoneTime]:
    """Boundaries and posterior of each phone of a CTC path.

    Args:
        marks: `N`, the frames that mark each phone, of the greedy or of a forced path.
        log_posteriors: `[T, V]`, log softmax of the head.
        grid: where the frames lie.
        duration_s: of the clip; no phone ends later.

    Returns:
        `N` times in order; none begins before the one before it ends.
    """
    cuts = [
        grid.edge_s(_crossing(first, second, log_posteriors)) for first, second in zip(marks, marks[1:], strict=False)
    ]
    times = []
    edges = zip(marks, [0.0, *cuts], [*cuts, duration_s], strict=True) if marks else ()
    for mark, low, high in edges:
        first, last = grid.edge_s(mark.start_frame), grid.edge_s(mark.end_frame)
        start_s = min(max(low, first - REACH_S, 0.0), duration_s)
        end_s = max(start_s, min(high, last + REACH_S, duration_s))
        marked = log_posteriors[mark.start_frame : mark.end_frame, mark.label].tolist()
        times.append(PhoneTime(start_s, end_s, sum(map(math.exp, marked)) / len(marked)))
    return times


def _crossing(first: Segment, second: Segment, log_posteriors: npt.NDArray[np.floating]) -> int:
    """The frame with which the second of two phones begins."""
    between = log_posteriors[first.end_frame : second.start_frame]
    ours, theirs = between[:, first.label].tolist(), between[:, second.label].tolist()
    gains = [0.0, *accumulate(one - other for one, other in zip(ours, theirs, strict=True))]
    return first.end_frame + gains.index(max(gains))


def pair_times(
    pairs: Sequence[tuple[str | None, str | None]], times: Sequence[PhoneTime], duration_s: float
) -> list[tuple[float, float]]:
    """Start and end of every pair of an alignment, in seconds.

    A recognised phone has its own time. Phones of the reference that were not recognised share the time between their
    recognised neighbours, however short it is.

    Args:
        pairs: (reference phone, hypothesis phone), None where there is none.
        times: of the hypothesis's phones, in order.
        duration_s: of the clip.
    """
    heard = iter(times)
    known = [None if hypothesis is None else next(heard) for _, hypothesis in pairs]
    found: list[tuple[float, float]] = []
    place = 0
    while place < len(known):
        here = known[place]
        if here is not None:
            found.append((here.start_s, here.end_s))
            place += 1
            continue
        run = next((n for n, time in enumerate(known[place:]) if time is not None), len(known) - place)
        after = known[place + run] if place + run < len(known) else None
        low, high = found[-1][1] if found else 0.0, after.start_s if after else duration_s
        edges = np.linspace(low, max(low, high), run + 1).tolist()
        found += list(zip(edges[:-1], edges[1:], strict=True))
        place += run
    return found
