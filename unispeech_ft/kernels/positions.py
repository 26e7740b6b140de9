"""The positional convolution of the wav2vec family over a row of frames; on a CPU as matrix products over windows.

`N` frames of the row, `B` clips, `T` frames, `C` channels in `G` groups of `D`, `K` taps. On a CPU the library's
convolution is made for small kernels; with 128 taps and 16 groups it takes up to three times as long, and in 16 bits up
to five times. On a GPU cuDNN's takes from 3.5 to 54 ms for 250 s, as its choice of algorithm falls.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from unispeech_ft.data.row import Layout
from unispeech_ft.kernels.linear import autocast_dtype, product
from unispeech_ft.kernels.rows import collect, spread
from unispeech_ft.kernels.triton_there import runs_triton

# First frame and number of frames of each clip.
Spans = Sequence[tuple[int, int]]

# A row holds the window of so many neighbouring frames: fewer rows to copy, and twice as many columns to fill.
FRAMES_PER_ROW = 2
# Channels of a group that the kernel for GPUs takes.
WIDEST_GROUP = 64
# Arrays above 32 MiB come fresh from the system each time, and touching their pages takes longer than the products.
LARGEST_WINDOWS_BYTES = 16 * 2**20


def _grouped(row: Tensor, spans: Spans, groups: int, before: int, frames: int) -> Tensor:
    """Clips of a row `[N, C]` → `[G, B, frames, D]`, with zeros before and behind."""
    values = row.view(len(row), groups, -1)
    grouped = row.new_zeros(groups, len(spans), frames, values.shape[-1])
    for clip, (first, length) in enumerate(spans):
        grouped[:, clip, before : before + length] = values[first : first + length].transpose(0, 1)
    return grouped


def _windows(frames: Tensor, taps: int) -> Tensor:
    """Frames of one group `[B, T', D]` → rows `[B · T / 2, (K + 1) · D]`, each the window of two outputs."""
    clips, length, width = frames.shape
    seen = taps + FRAMES_PER_ROW - 1
    rows = (length - seen) // FRAMES_PER_ROW + 1
    strides = (frames.stride(0), FRAMES_PER_ROW * width, 1)
    return frames.as_strided((clips, rows, seen * width), strides).reshape(clips * rows, seen * width).contiguous()


def _shifted(kernel: Tensor) -> Tensor:
    """The kernel of one group `[D_out, K, D_in]` → `[2 · D_out, (K + 1) · D_in]`, once for each frame of a row."""
    outputs, taps, inputs = kernel.shape
    shifted = kernel.new_zeros(FRAMES_PER_ROW, outputs, taps + FRAMES_PER_ROW - 1, inputs)
    for place in range(FRAMES_PER_ROW):
        shifted[place, :, place : place + taps] = kernel
    return shifted.view(FRAMES_PER_ROW * outputs, -1)


def _rows(frames: int) -> int:
    return -(-frames // FRAMES_PER_ROW)


def _parts(layout: Layout, row_bytes: int) -> Iterator[tuple[Spans, int]]:
    """The clips whose windows are made together, and the frames of their longest."""
    for group in layout.groups:
        size = max(1, LARGEST_WINDOWS_BYTES // (row_bytes * _rows(group.width)))
        for start in range(0, len(group.clips), size):
            clips = group.clips[start : start + size]
            yield [(layout.first_frames[clip], layout.num_frames[clip]) for clip in clips], layout.num_frames[clips[0]]


def _row_bytes(row: Tensor, taps: int, groups: int) -> int:
    return (taps + FRAMES_PER_ROW - 1) * (row.shape[1] // groups) * row.element_size()


def convolve(row: Tensor, layout: Layout, kernel: Tensor, before: int) -> Tensor:
    """A grouped convolution over the time of each clip that keeps the number of frames; without a graph for a backward
    pass.

    Args:
        row: `[N, C]`.
        kernel: `[G, D_out, K, D_in]`.
        before: frames that the first output sees before its own.

    Returns:
        `[N, C]`.
    """
    groups, width, taps, _ = kernel.shape
    shifted = [_shifted(kernel[group]) for group in range(groups)]
    found = torch.zeros_like(row)
    for spans, longest in _parts(layout, _row_bytes(row, taps, groups)):
        padded = _grouped(row, spans, groups, before, _rows(longest) * FRAMES_PER_ROW + taps - 1)
        outputs = row.new_empty(len(spans), _rows(longest) * FRAMES_PER_ROW, groups, width)
        for group in range(groups):
            outputs[:, :, group] = product(_windows(padded[group], taps), shifted[group]).view(len(spans), -1, width)
        for clip, (first, length) in enumerate(spans):
            found[first : first + length] = outputs[clip, :length].flatten(1)
    return found


def kernel_gradient(row: Tensor, gradient: Tensor, layout: Layout, taps: int, groups: int) -> Tensor:
    """The gradient of `convolve` for its kernel, `[G, D_out, K, D_in]`, from that of its outputs `[N, C]`."""
    width = row.shape[1] // groups
    found = row.new_zeros(groups, width, taps, width)
    for spans, longest in _parts(layout, _row_bytes(row, taps, groups)):
        rows = _rows(longest)
        padded = _grouped(row, spans, groups, taps // 2, rows * FRAMES_PER_ROW + taps - 1)
        outer = _grouped(gradient, spans, groups, 0, rows * FRAMES_PER_ROW)
        for group in range(groups):
            columns = outer[group].view(-1, FRAMES_PER_ROW * width)
            products = product(columns.T, _windows(padded[group], taps).T)
            shifted = products.view(FRAMES_PER_ROW, width, -1, width)
            for place in range(FRAMES_PER_ROW):
                found[group] += shifted[place, :, place : place + taps]
    return found


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, row: Tensor, weight: Tensor, layout: Layout, groups: int) -> Tensor:
        ctx.layout, ctx.groups = layout, groups
        ctx.save_for_backward(row, weight)
        kernel = weight.unflatten(0, (groups, -1)).transpose(2, 3).contiguous()
        return convolve(row, layout, kernel, kernel.shape[2] // 2)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        row, weight = ctx.saved_tensors
        outer = gradients[0].contiguous()
        taps = weight.shape[2]
        row_gradient = weight_gradient = None
        if ctx.needs_input_grad[0]:
            backwards = weight.unflatten(0, (ctx.groups, -1)).permute(0, 2, 3, 1).flip(2)
            row_gradient = convolve(outer, ctx.layout, backwards.contiguous(), taps - 1 - taps // 2)
        if ctx.needs_input_grad[1]:
            found = kernel_gradient(row, outer, ctx.layout, taps, ctx.groups)
            weight_gradient = found.transpose(2, 3).reshape(weight.shape)
        return row_gradient, weight_gradient, None, None


def over_the_row(row: Tensor, layout: Layout, weight: Tensor, groups: int) -> Tensor:
    """`convolve_positions` without bias as one convolution, with silence of half the kernel between clips."""
    silence = weight.shape[2] // 2
    places = torch.arange(len(row), device=row.device) + layout.clips * silence
    padded = spread(row, places, len(row) + (len(layout.num_frames) - 1) * silence)
    convolved = nn.functional.conv1d(padded.T.contiguous()[None], weight, padding=silence, groups=groups)
    return collect(convolved[0].T, places)


def convolve_positions(row: Tensor, layout: Layout, weight: Tensor, bias: Tensor, groups: int) -> Tensor:
    """The positional convolution of the wav2vec family, each clip between silence.

    Args:
        row: `[N, C]`.
        weight: `[C, D, K]`; the first output sees `K // 2` frames before its own.
        bias: `[C]`.

    Returns:
        `[N, C]`, in the precision of autocast.
    """
    dtype = autocast_dtype(row)
    row, weight, bias = row.to(dtype), weight.to(dtype), bias.to(dtype)
    if row.device.type == "cpu":
        convolved: Tensor = _Convolution.apply(row.contiguous(), weight, layout, groups)
        return convolved + bias
    if dtype in (torch.bfloat16, torch.float16) and weight.shape[1] <= WIDEST_GROUP and runs_triton(row.device):
        from unispeech_ft.kernels.grouped_conv import grouped_conv

        return grouped_conv(row, layout, weight, groups) + bias
    return over_the_row(row, layout, weight, groups) + bias


def convolve_before(row: Tensor, layout: Layout, weight: Tensor) -> Tensor:
    """A convolution of each channel alone over the frames of its clip up to now, with silence before the first.

    Args:
        row: `[N, C]`, or longer by frames behind the last clip, which become 0.
        weight: `[C, 1, K]`.

    Returns:
        As `row`, in the precision of autocast.
    """
    dtype = autocast_dtype(row)
    frames, silence = len(layout.clips), weight.shape[2] - 1
    places = torch.arange(frames, device=row.device) + (layout.clips + 1) * silence
    padded = spread(row[:frames].to(dtype), places, len(row) + len(layout.num_frames) * silence)
    convolved = nn.functional.conv1d(padded.T[None], weight.to(dtype), groups=row.shape[1])
    found = collect(convolved[0].T, places - silence)
    return nn.functional.pad(found, (0, 0, 0, len(row) - frames))
