"""Clips end to end in one row of frames, and where each of them stands.

`B` clips, `N` frames of the row (Σ `T`), `T` frames of a clip, `F` feature channels, `C` hidden channels. A row has no
padding. What needs clips side by side (attention in matrix products, the positional convolution on a CPU) takes them in
groups of like length, each padded to its longest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

# A group's shortest clip has at least this share of the frames of its longest.
LEAST_SHARE_OF_LONGEST = 0.9


@dataclass(frozen=True)
class Group:
    """Clips of like length, longest first.

    Attributes:
        clips: index of each in the row.
        width: frames of the longest.
    """

    clips: tuple[int, ...]
    width: int


@dataclass(frozen=True)
class Layout:
    """Where the clips of a row stand.

    Attributes:
        num_frames: `T` of each clip.
        first_frames: index of each clip's first frame.
        groups: every clip stands in one of them.
        starts: `[B + 1]` int32, first frame of each clip and the end of the row.
        clips: `[N]`, the clip of each frame.
        places: `[N]`, the place of each frame among the padded frames of all groups.
        grouped_frames: `[B]`, `T` of each clip in the order of the groups.
    """

    num_frames: tuple[int, ...]
    first_frames: tuple[int, ...]
    groups: tuple[Group, ...]
    starts: Tensor
    clips: Tensor
    places: Tensor
    grouped_frames: Tensor

    @property
    def longest(self) -> int:
        return max(self.num_frames)

    @property
    def num_places(self) -> int:
        """Padded frames of all groups."""
        return sum(len(group.clips) * group.width for group in self.groups)

    @property
    def padded_places(self) -> Tensor:
        """`[N]`, the place of each frame in `[B · T]` where all clips are padded to the longest."""
        frames = torch.arange(len(self.clips), device=self.clips.device)
        return frames + self.clips * self.longest - self.starts.long()[self.clips]

    def _each(self, change: Callable[[Tensor], Tensor]) -> Layout:
        tensors = {name: change(getattr(self, name)) for name in ("starts", "clips", "places", "grouped_frames")}
        return Layout(self.num_frames, self.first_frames, self.groups, **tensors)

    def to(self, device: torch.device) -> Layout:
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Layout:
        return self._each(Tensor.pin_memory)


def _groups(num_frames: Sequence[int]) -> tuple[Group, ...]:
    groups: list[list[int]] = []
    for clip in sorted(range(len(num_frames)), key=lambda index: -num_frames[index]):
        if not groups or num_frames[clip] < LEAST_SHARE_OF_LONGEST * num_frames[groups[-1][0]]:
            groups.append([])
        groups[-1].append(clip)
    return tuple(Group(tuple(clips), num_frames[clips[0]]) for clips in groups)


def lay_out(num_frames: Sequence[int]) -> Layout:
    """The layout of clips of so many frames each, in this order; a pure function on the host."""
    lengths = np.asarray(num_frames, dtype=np.int64)
    ends = np.cumsum(lengths)
    groups = _groups(num_frames)
    clip_places = np.empty(len(lengths), dtype=np.int64)
    start = 0
    for group in groups:
        clip_places[list(group.clips)] = start + group.width * np.arange(len(group.clips))
        start += group.width * len(group.clips)
    clips = np.repeat(np.arange(len(lengths)), lengths)
    order = [clip for group in groups for clip in group.clips]
    return Layout(
        tuple(num_frames),
        tuple(accumulate(num_frames, initial=0))[:-1],
        groups,
        torch.from_numpy(np.concatenate([[0], ends]).astype(np.int32)),
        torch.from_numpy(clips),
        torch.from_numpy(np.arange(len(clips)) + (clip_places - (ends - lengths))[clips]),
        torch.from_numpy(lengths[order]),
    )


@dataclass(frozen=True)
class Row:
    """The clips of one pass through the model.

    Attributes:
        features: `[N, F]`; on the device in 32 bits or more.
        time_mask: `[N]`, true for frames that the learned mask embedding replaces; None for none.
        channel_mask: `[B, C]`, true for channels that are zero in all frames of a clip; None for none.
    """

    features: Tensor
    layout: Layout
    time_mask: Tensor | None = None
    channel_mask: Tensor | None = None

    @property
    def num_frames(self) -> tuple[int, ...]:
        return self.layout.num_frames

    def cut(self, first: int, last: int) -> Row:
        """The clips first ≤ index < last as a row of their own."""
        frames = self.layout.first_frames[first], self.layout.first_frames[last - 1] + self.num_frames[last - 1]
        time_mask = None if self.time_mask is None else self.time_mask[slice(*frames)]
        channel_mask = None if self.channel_mask is None else self.channel_mask[first:last]
        return Row(self.features[slice(*frames)], lay_out(self.num_frames[first:last]), time_mask, channel_mask)

    @property
    def masks(self) -> RowMasks:
        """Its masks, apart from it."""
        return RowMasks(self.time_mask, self.channel_mask)

    def to(self, device: torch.device) -> Row:
        features = self.features.to(device, non_blocking=True)
        features = features.to(torch.promote_types(features.dtype, torch.float32))
        return self.masks.to(device).over(Row(features, self.layout.to(device)))

    def pin_memory(self) -> Row:
        return self.masks.pin_memory().over(Row(self.features.pin_memory(), self.layout.pin_memory()))


@dataclass(frozen=True)
class RowMasks:
    """Other masks for the clips of a row; the attributes are as `Row` has them."""

    time_mask: Tensor | None
    channel_mask: Tensor | None

    def _each(self, change: Callable[[Tensor], Tensor]) -> RowMasks:
        return RowMasks(*(None if mask is None else change(mask) for mask in (self.time_mask, self.channel_mask)))

    def over(self, row: Row) -> Row:
        """The row with these masks in the place of its own."""
        return replace(row, time_mask=self.time_mask, channel_mask=self.channel_mask)

    def to(self, device: torch.device) -> RowMasks:
        return self._each(lambda mask: mask.to(device, non_blocking=True))

    def pin_memory(self) -> RowMasks:
        return self._each(Tensor.pin_memory)


def row_of(
    clips: Sequence[npt.NDArray[Any] | Tensor], *, time_mask: Tensor | None = None, channel_mask: Tensor | None = None
) -> Row:
    """Clips `[T, F]` → their row; in the precision of the clips until it is on its device, float32 at least there.

    Args:
        clips: all on the host, or all tensors of one device.
    """
    tensors = [clip for clip in clips if isinstance(clip, Tensor)]
    features = torch.cat(tensors) if tensors else torch.from_numpy(np.concatenate(clips))
    return Row(features, lay_out([len(clip) for clip in clips]), time_mask, channel_mask)
