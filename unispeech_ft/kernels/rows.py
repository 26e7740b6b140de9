"""Frames of a row to places with padding between them, and back; each is the other's gradient.

`N` frames of a row, `P` places, `B` clips of a group, `T` frames, `H` heads, `D` channels a head, `K` tensors of a
frame (query, key, value).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from unispeech_ft.data.row import Layout


def _scattered(values: Tensor, places: Tensor, num_places: int) -> Tensor:
    return values.new_zeros(num_places, *values.shape[1:]).index_copy_(0, places, values)


class _Spread(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, places: Tensor, num_places: int) -> Tensor:
        ctx.save_for_backward(places)
        return _scattered(values, places, num_places)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (places,) = ctx.saved_tensors
        return gradients[0].index_select(0, places), None, None


class _Collect(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, places: Tensor) -> Tensor:
        ctx.save_for_backward(places)
        ctx.num_places = len(values)
        return values.index_select(0, places)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (places,) = ctx.saved_tensors
        return _scattered(gradients[0], places, ctx.num_places), None


def spread(values: Tensor, places: Tensor, num_places: int) -> Tensor:
    """`[N, …]` → `[P, …]` with zeros where no frame has its place; no two frames share one."""
    found: Tensor = _Spread.apply(values, places, num_places)
    return found


def collect(values: Tensor, places: Tensor) -> Tensor:
    """`[P, …]` → `[N, …]`, what stands at each frame's place."""
    found: Tensor = _Collect.apply(values, places)
    return found


def _apart(row: Tensor, layout: Layout, heads: int, count: int) -> tuple[Tensor, ...]:
    """`[N, K · H · D]` → `K` tensors `[B, H, T, D]` for each group, one group after another; zeros as padding."""
    frames = row.view(len(row), count, heads, -1)
    found: list[Tensor] = []
    for group in layout.groups:
        shape = (len(group.clips), heads, group.width, frames.shape[-1])
        tensors = [frames.new_zeros(shape) for _ in range(count)]
        for index, clip in enumerate(group.clips):
            first, length = layout.first_frames[clip], layout.num_frames[clip]
            for number, tensor in enumerate(tensors):
                tensor[index, :, :length] = frames[first : first + length, number].transpose(0, 1)
        found += tensors
    return tuple(found)


def _joined(parts: tuple[Tensor, ...], layout: Layout, count: int, frames: int) -> Tensor:
    """The reverse of `_apart`; frames that stand behind the last clip are 0."""
    _, heads, _, width = parts[0].shape
    row = parts[0].new_empty(frames, count, heads, width)
    row[sum(layout.num_frames) :] = 0
    for group, start in zip(layout.groups, range(0, len(parts), count), strict=True):
        for number, tensor in enumerate(parts[start : start + count]):
            for index, clip in enumerate(group.clips):
                first, length = layout.first_frames[clip], layout.num_frames[clip]
                row[first : first + length, number] = tensor[index, :, :length].transpose(0, 1)
    return row.view(len(row), -1)


class _Apart(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, row: Tensor, layout: Layout, heads: int, count: int) -> tuple[Tensor, ...]:
        ctx.layout, ctx.count, ctx.frames = layout, count, len(row)
        return _apart(row, layout, heads, count)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return _joined(gradients, ctx.layout, ctx.count, ctx.frames), None, None, None


class _Joined(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, layout: Layout, frames: int, *parts: Tensor) -> Tensor:
        ctx.layout, ctx.heads = layout, parts[0].shape[1]
        return _joined(parts, layout, 1, frames)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return (None, None, *_apart(gradients[0].contiguous(), ctx.layout, ctx.heads, 1))


def heads_apart(row: Tensor, layout: Layout, heads: int, count: int) -> list[tuple[Tensor, ...]]:
    """Frames `[N, K · H · D]` → for each group of the layout its `K` tensors `[B, H, T, D]`, zero as padding."""
    if row.device.type == "cpu":
        parts = _Apart.apply(row.contiguous(), layout, heads, count)
        return [tuple(parts[start : start + count]) for start in range(0, len(parts), count)]
    return apart_by_places(row, layout, heads, count)


def apart_by_places(row: Tensor, layout: Layout, heads: int, count: int) -> list[tuple[Tensor, ...]]:
    """`heads_apart` in one copy for all clips, as strided views."""
    padded = spread(row, layout.places, layout.num_places)
    sizes = [len(group.clips) * group.width for group in layout.groups]
    groups = zip(layout.groups, padded.split(sizes), strict=True)
    return [
        part.view(len(group.clips), group.width, count, heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        for group, part in groups
    ]


def heads_joined(parts: list[Tensor], layout: Layout, frames: int) -> Tensor:
    """For each group `[B, H, T, D]` → frames `[N, H · D]`, `N` as given on a CPU, where silence may stand behind."""
    if parts[0].device.type == "cpu":
        joined: Tensor = _Joined.apply(layout, frames, *parts)
        return joined
    return joined_by_places(parts, layout)


def joined_by_places(parts: list[Tensor], layout: Layout) -> Tensor:
    """`heads_joined` in one copy for all clips."""
    padded = torch.cat([part.transpose(1, 2).reshape(-1, part.shape[1] * part.shape[3]) for part in parts])
    return collect(padded, layout.places)
