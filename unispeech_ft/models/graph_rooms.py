"""How large the CUDA graphs of a run must be: each has one shape, so rows end in silent clips that fill it.

A row is a list of the frames of its clips.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

# Products like whole tiles.
FRAMES_STEP = 128
# Each room takes memory for its own gradients; the share of all frames that one more must spare.
MOST_ROOMS, WORTH_A_ROOM = 3, 0.015


class Room(NamedTuple):
    """What the graphs of a run hold: frames and clips of a row, and frames of its longest clip."""

    frames: int
    clips: int
    longest: int

    @staticmethod
    def of(rows: Sequence[Sequence[int]], longest: int) -> Room:
        """Room for any of some rows.

        Args:
            rows: frames of the clips of each.
            longest: frames of a clip at most.
        """
        frames = FRAMES_STEP * math.ceil(max(map(sum, rows)) / FRAMES_STEP)
        return Room(frames, max(len(row) + -((sum(row) - frames) // longest) for row in rows), longest)

    def starts(self, num_frames: Sequence[int]) -> list[int] | None:
        """First frames of a row's clips and of the silent ones behind them, `[B + 1]`; None where there is no room."""
        if max(num_frames) > self.longest:
            return None
        found = [0]
        for count in num_frames:
            found.append(found[-1] + count)
        while found[-1] < self.frames:
            found.append(min(self.frames, found[-1] + self.longest))
        if found[-1] > self.frames or len(found) > self.clips + 1:
            return None
        return found + [self.frames] * (self.clips + 1 - len(found))


def rooms_of(rows: Sequence[Sequence[int]]) -> tuple[Room, ...]:
    """One room for all of some rows, and smaller ones before it where they spare frames enough.

    Args:
        rows: frames of the clips of each, at least one.
    """
    ordered = sorted(rows, key=sum)
    sizes = np.array([sum(row) for row in ordered])
    chosen = [len(sizes) - 1]

    def frames_with(place: int) -> int:
        ends = sorted({*chosen, place})
        return int(sizes[ends][np.searchsorted(ends, np.arange(len(sizes)))].sum())

    while len(chosen) < MOST_ROOMS:
        best = min(range(len(sizes)), key=frames_with)
        if frames_with(chosen[0]) - frames_with(best) < WORTH_A_ROOM * sizes.sum():
            break
        chosen.append(best)
    longest = max(map(max, ordered))
    return tuple(Room.of(ordered[: place + 1], longest) for place in sorted(chosen))
