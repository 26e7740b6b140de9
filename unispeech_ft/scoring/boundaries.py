"""Phone boundaries finer than a frame, without the bias that a model has for its phones.

A small network says how far each boundary lies from where the frames put it (`scoring.timing`). It reads the two
phones, whether a pause lies between them, and where between the frames that mark them the boundary lies; it is learnt
on synthetic speech, whose times are known (`testing.learn_boundaries`), and belongs to one model.

Shapes: `N` phones, `B` boundaries, `V` rows of the head, `F` features, `E` values of a phone, `H` hidden units.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from unispeech_ft.scoring.greedy import Segment
from unispeech_ft.scoring.timing import FrameGrid, PhoneTime

Floats = npt.NDArray[np.float32]

NUM_FEATURES, PHONE_SIZE, HIDDEN_SIZE = 7, 12, 64
FARTHEST_FRAMES, MOST_FRAMES = 2.0, 12.0
SHORTEST_S = 0.005


class Places(NamedTuple):
    """What is read of boundaries: all starts, then all ends.

    Attributes:
        features: `[B, F]`.
        left, right: `[B]`, rows of the head; the first row behind all stands for no phone.
        times_s: `[B]`, where the frames put them.
    """

    features: Floats
    left: npt.NDArray[np.int64]
    right: npt.NDArray[np.int64]
    times_s: npt.NDArray[np.float64]


def places_of(marks: Sequence[Segment], times: Sequence[PhoneTime], grid: FrameGrid, num_rows: int) -> Places:
    """The starts and ends of the phones of a path.

    Args:
        marks: `N`, the frames that mark each phone.
        times: `N`, of `timing.phone_times`.
        num_rows: `V`.
    """
    neighbours = [None, *range(len(marks)), None]
    starts = [(neighbours[place], place, times[place].start_s, True) for place in range(len(marks))]
    ends = [(place, neighbours[place + 2], times[place].end_s, False) for place in range(len(marks))]
    features = np.zeros((2 * len(marks), NUM_FEATURES), dtype=np.float32)
    left, right = (np.full(2 * len(marks), num_rows, dtype=np.int64) for _ in range(2))
    for row, (before, after, time_s, starting) in enumerate([*starts, *ends]):
        paused = before is None or after is None or times[after].start_s > times[before].end_s
        features[row, :2] = paused, starting
        if before is not None:
            left[row], ended = marks[before].label, grid.edge_s(marks[before].end_frame)
            features[row, 3] = np.clip((time_s - ended) / grid.step_s, -FARTHEST_FRAMES, MOST_FRAMES)
            features[row, 5] = marks[before].end_frame - marks[before].start_frame
        if after is not None:
            right[row], began = marks[after].label, grid.edge_s(marks[after].start_frame)
            features[row, 4] = np.clip((began - time_s) / grid.step_s, -FARTHEST_FRAMES, MOST_FRAMES)
            features[row, 6] = marks[after].end_frame - marks[after].start_frame
        if before is not None and after is not None:
            features[row, 2] = min(marks[after].start_frame - marks[before].end_frame, MOST_FRAMES)
    return Places(features, left, right, np.array([time_s for *_, time_s, _ in [*starts, *ends]]))


@dataclass(frozen=True)
class BoundaryModel:
    """The network, for one head.

    Attributes:
        tensors: `mean`, `spread` `[F]`; `left`, `right` `[V + 1, E]`; `weight_1` `[H, F + 2 E]`, `bias_1` `[H]`;
            `weight_2` `[H, H]`, `bias_2` `[H]`; `weight_3` `[1, H]`, `bias_3` `[1]`.
    """

    tensors: Mapping[str, Floats]

    @property
    def num_rows(self) -> int:
        """`V`."""
        return len(self.tensors["left"]) - 1

    def offsets(self, places: Places) -> npt.NDArray[np.float64]:
        """`[B]`, in frames, what has to be added."""
        held = self.tensors
        scaled = (places.features - held["mean"]) / held["spread"]
        hidden = np.concatenate([scaled, held["left"][places.left], held["right"][places.right]], axis=1)
        for layer in ("1", "2"):
            hidden = hidden @ held[f"weight_{layer}"].T + held[f"bias_{layer}"]
            hidden = hidden / (1 + np.exp(-np.clip(hidden, -60, 60)))
        found = (hidden @ held["weight_3"].T + held["bias_3"])[:, 0]
        return np.clip(found.astype(np.float64), -MOST_FRAMES, MOST_FRAMES)


def shapes_of(num_rows: int) -> dict[str, tuple[int, ...]]:
    """The shapes of a network's tensors for a head of so many rows."""
    wide = NUM_FEATURES + 2 * PHONE_SIZE
    return {
        "mean": (NUM_FEATURES,),
        "spread": (NUM_FEATURES,),
        "left": (num_rows + 1, PHONE_SIZE),
        "right": (num_rows + 1, PHONE_SIZE),
        "weight_1": (HIDDEN_SIZE, wide),
        "bias_1": (HIDDEN_SIZE,),
        "weight_2": (HIDDEN_SIZE, HIDDEN_SIZE),
        "bias_2": (HIDDEN_SIZE,),
        "weight_3": (1, HIDDEN_SIZE),
        "bias_3": (1,),
    }


def refined(
    model: BoundaryModel, marks: Sequence[Segment], times: Sequence[PhoneTime], grid: FrameGrid, duration_s: float
) -> list[PhoneTime]:
    """The times of a path's phones, moved; in order, none before the one before it ends, within the clip.

    Two phones that touch go on touching, half-way between what is said of the end and of the start.
    """
    if not marks:
        return []
    places = places_of(marks, times, grid, model.num_rows)
    moved = places.times_s + grid.step_s * model.offsets(places)
    starts, ends = moved[: len(marks)].tolist(), moved[len(marks) :].tolist()
    found: list[PhoneTime] = []
    earliest_s = 0.0
    for place, time in enumerate(times):
        if place and time.start_s <= times[place - 1].end_s:
            starts[place] = earliest_s
        start_s = min(max(starts[place], earliest_s), duration_s)
        touches = place + 1 < len(times) and times[place + 1].start_s <= time.end_s
        end_s = (ends[place] + starts[place + 1]) / 2 if touches else ends[place]
        end_s = min(max(end_s, start_s + SHORTEST_S), duration_s)
        found.append(PhoneTime(start_s, end_s, time.posterior))
        earliest_s = end_s
    return found
