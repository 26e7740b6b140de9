"""A grouped convolution over the frames of a row with many taps, in Triton kernels on a CUDA device.

`N` frames of the row, `C` channels in `G` groups of `D`, `K` taps. What lies outside a frame's clip counts as silence.
Sums are in 32 bits and in a fixed order.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from unispeech_ft.data.row import Layout
from unispeech_ft.kernels.launch import launch

FRAMES, WARPS = 128, 4
# The kernel's gradient: so many taps a program, which sums over one of so many parts of the row.
TAPS, PARTS, FRAMES_A_STEP = 4, 2, 64


@triton.jit(do_not_specialize=["frames"])
def _convolve(
    row, kernel, clips, starts, found, frames, channels, taps, before,
    DIM: tl.constexpr, WIDTH: tl.constexpr, SIZE: tl.constexpr, EXACT: tl.constexpr,
):  # fmt: skip
    group = tl.program_id(1)
    frame = tl.program_id(0) * SIZE + tl.arange(0, SIZE)
    there = frame < frames
    clip = tl.load(clips + frame, mask=there, other=0)
    first = tl.load(starts + clip)
    end = tl.where(there, tl.load(starts + clip + 1), 0)
    columns = tl.arange(0, WIDTH)
    inside = columns < DIM
    base = row + group * DIM + columns
    part = kernel + group * taps * DIM * DIM + columns[:, None] * DIM + columns[None, :]
    total = tl.zeros([SIZE, WIDTH], tl.float32)
    for tap in range(0, taps):
        seen = frame + tap - before
        heard = (seen >= first) & (seen < end)
        values = tl.load(base[None, :] + seen[:, None] * channels, mask=heard[:, None] & inside[None, :], other=0.0)
        weights = tl.load(part + tap * DIM * DIM, mask=inside[:, None] & inside[None, :], other=0.0)
        total = tl.dot(values, weights, total, input_precision=EXACT)
    places = found + group * DIM + columns[None, :] + frame[:, None] * channels
    tl.store(places, total.to(found.dtype.element_ty), mask=there[:, None] & inside[None, :])


@triton.jit
def _tap(base, seen, first, end, inside, channels, gradient, total, EXACT: tl.constexpr):
    heard = (seen >= first) & (seen < end)
    values = tl.load(base[None, :] + seen[:, None] * channels, mask=heard[:, None] & inside[None, :], other=0.0)
    return tl.dot(tl.trans(values), gradient, total, input_precision=EXACT)


@triton.jit(do_not_specialize=["frames"])
def _for_kernel(
    row, outer, clips, starts, found, frames, channels, taps, before,
    DIM: tl.constexpr, WIDTH: tl.constexpr, SIZE: tl.constexpr, EXACT: tl.constexpr,
):  # fmt: skip
    """Four taps of one group, summed over a part of the row."""
    tap, group, part = tl.program_id(0) * 4, tl.program_id(1), tl.program_id(2)
    columns = tl.arange(0, WIDTH)
    inside = columns < DIM
    base = row + group * DIM + columns
    outers = outer + group * DIM + columns
    total0 = tl.zeros([WIDTH, WIDTH], tl.float32)
    total1 = tl.zeros([WIDTH, WIDTH], tl.float32)
    total2 = tl.zeros([WIDTH, WIDTH], tl.float32)
    total3 = tl.zeros([WIDTH, WIDTH], tl.float32)
    steps = tl.cdiv(frames, SIZE)
    for step in range(part * steps // tl.num_programs(2), (part + 1) * steps // tl.num_programs(2)):
        frame = step * SIZE + tl.arange(0, SIZE)
        there = frame < frames
        clip = tl.load(clips + frame, mask=there, other=0)
        first = tl.load(starts + clip)
        end = tl.where(there, tl.load(starts + clip + 1), 0)
        mask = there[:, None] & inside[None, :]
        gradient = tl.load(outers[None, :] + frame[:, None] * channels, mask=mask, other=0.0)
        seen = frame + tap - before
        total0 = _tap(base, seen, first, end, inside, channels, gradient, total0, EXACT)
        total1 = _tap(base, seen + 1, first, end, inside, channels, gradient, total1, EXACT)
        total2 = _tap(base, seen + 2, first, end, inside, channels, gradient, total2, EXACT)
        total3 = _tap(base, seen + 3, first, end, inside, channels, gradient, total3, EXACT)
    size = DIM * DIM
    place = found + ((part * tl.num_programs(1) + group) * taps + tap) * size
    place = place + columns[:, None] * DIM + columns[None, :]
    mask = inside[:, None] & inside[None, :]
    tl.store(place, total0, mask=mask & (tap < taps))
    tl.store(place + size, total1, mask=mask & (tap + 1 < taps))
    tl.store(place + 2 * size, total2, mask=mask & (tap + 2 < taps))
    tl.store(place + 3 * size, total3, mask=mask & (tap + 3 < taps))


def _sizes(row: Tensor, width: int) -> dict[str, Any]:
    exact = "ieee" if row.dtype == torch.float32 else "tf32"
    return {"DIM": width, "WIDTH": max(16, triton.next_power_of_2(width)), "EXACT": exact}


def _run(row: Tensor, layout: Layout, kernel: Tensor, before: int) -> Tensor:
    """A kernel `[G, K, D_in, D_out]` over a row `[N, C]`."""
    groups, taps, width, _ = kernel.shape
    found = torch.empty_like(row)
    grid = (triton.cdiv(len(row), FRAMES), groups)
    launch(_convolve, grid, 
        row, kernel, layout.clips, layout.starts, found, len(row), row.shape[1], taps, before,
        SIZE=FRAMES, num_warps=WARPS, **_sizes(row, width),
    )  # fmt: skip
    return found


class _GroupedConv(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, row: Tensor, weight: Tensor, layout: Layout, groups: int) -> Tensor:
        ctx.save_for_backward(row, weight)
        ctx.layout, ctx.groups = layout, groups
        kernel = weight.unflatten(0, (groups, -1)).permute(0, 3, 2, 1).contiguous()
        return _run(row, layout, kernel, weight.shape[2] // 2)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        row, weight = ctx.saved_tensors
        outer, layout, groups = gradients[0].contiguous(), ctx.layout, ctx.groups
        channels, width, taps = weight.shape
        for_row = for_weight = None
        if ctx.needs_input_grad[0]:
            backwards = weight.unflatten(0, (groups, -1)).permute(0, 3, 1, 2).flip(1).contiguous()
            for_row = _run(outer, layout, backwards, taps - 1 - taps // 2)
        if ctx.needs_input_grad[1]:
            found = torch.empty(PARTS, groups, taps, width, width, device=row.device)
            launch(_for_kernel, (triton.cdiv(taps, TAPS), groups, PARTS), 
                row, outer, layout.clips, layout.starts, found, len(row), channels, taps, taps // 2,
                SIZE=FRAMES_A_STEP, **_sizes(row, width),
            )  # fmt: skip
            for_weight = found.sum(0).permute(0, 3, 2, 1).reshape(weight.shape).to(weight.dtype)
        return for_row, for_weight, None, None


def grouped_conv(row: Tensor, layout: Layout, weight: Tensor, groups: int) -> Tensor:
    """A grouped convolution over the time of each clip that keeps the number of frames.

    Args:
        row: `[N, C]`.
        layout: of the row, on the same device.
        weight: `[C, D, K]`; the first output sees `K // 2` frames before its own.
        groups: `G`.

    Returns:
        `[N, C]`.
    """
    found: Tensor = _GroupedConv.apply(row.contiguous(), weight, layout, groups)
    return found
