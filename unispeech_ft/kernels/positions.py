"""The positional convolution of the wav2vec family on a CPU, as matrix products over windows.

`B` clips, `T` frames, `C` channels in `G` groups of `D`, `K` taps. The library's convolution is made for small kernels;
with 128 taps and 16 groups it takes up to three times as long, and in 16 bits up to five times.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from unispeech_ft.kernels.linear import autocast_dtype, product

# A row holds the window of so many neighbouring frames: fewer rows to copy, and twice as many columns to fill.
FRAMES_PER_ROW = 2
# Arrays above 32 MiB come fresh from the system each time, and touching their pages takes longer than the products.
LARGEST_WINDOWS_BYTES = 16 * 2**20


def _grouped(values: Tensor, groups: int, before: int, frames: int) -> Tensor:
    """`[B, T, C]` → `[G, B, frames, D]`, with zeros before and behind."""
    clips, given, channels = values.shape
    grouped = values.new_zeros(groups, clips, frames, channels // groups)
    grouped[:, :, before : before + given] = values.view(clips, given, groups, -1).permute(2, 0, 1, 3)
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


def _parts(values: Tensor, taps: int, groups: int) -> int:
    """Clips whose windows are made together."""
    _, frames, channels = values.shape
    row_bytes = (taps + FRAMES_PER_ROW - 1) * (channels // groups) * values.element_size()
    return max(1, LARGEST_WINDOWS_BYTES // (row_bytes * _rows(frames)))


def convolve(values: Tensor, kernel: Tensor, before: int) -> Tensor:
    """A grouped convolution over time that keeps the number of frames; without a graph for a backward pass.

    Args:
        values: `[B, T, C]`.
        kernel: `[G, D_out, K, D_in]`.
        before: frames that the first output sees before its own.

    Returns:
        `[B, T, C]`.
    """
    groups, _, taps, _ = kernel.shape
    size = _parts(values, taps, groups)
    if size < len(values):
        return torch.cat([convolve(part, kernel, before) for part in values.split(size)])
    clips, frames, channels = values.shape
    padded = _grouped(values, groups, before, _rows(frames) * FRAMES_PER_ROW + taps - 1)
    outputs = values.new_empty(clips, _rows(frames) * FRAMES_PER_ROW, groups, channels // groups)
    for group in range(groups):
        rows = product(_windows(padded[group], taps), _shifted(kernel[group]))
        outputs[:, :, group] = rows.view(clips, -1, channels // groups)
    return outputs[:, :frames].reshape(values.shape)


def kernel_gradient(values: Tensor, gradient: Tensor, taps: int, groups: int) -> Tensor:
    """The gradient of `convolve` for its kernel, `[G, D_out, K, D_in]`, from that of its outputs `[B, T, C]`."""
    size = _parts(values, taps, groups)
    if size < len(values):
        parts = zip(values.split(size), gradient.split(size), strict=True)
        return torch.stack([kernel_gradient(*part, taps, groups) for part in parts]).sum(0)
    rows, width = _rows(values.shape[1]), values.shape[2] // groups
    padded = _grouped(values, groups, taps // 2, rows * FRAMES_PER_ROW + taps - 1)
    outer = _grouped(gradient, groups, 0, rows * FRAMES_PER_ROW)
    found = values.new_empty(groups, width, taps, width)
    for group in range(groups):
        columns = outer[group].view(-1, FRAMES_PER_ROW * width)
        products = product(columns.T, _windows(padded[group], taps).T)
        shifted = products.view(FRAMES_PER_ROW, width, -1, width)
        found[group] = sum(shifted[place, :, place : place + taps] for place in range(FRAMES_PER_ROW))
    return found


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, weight: Tensor, groups: int) -> Tensor:
        ctx.groups = groups
        ctx.save_for_backward(values, weight)
        kernel = weight.unflatten(0, (groups, -1)).transpose(2, 3).contiguous()
        return convolve(values, kernel, kernel.shape[2] // 2)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        values, weight = ctx.saved_tensors
        outer = gradients[0].contiguous()
        taps = weight.shape[2]
        value_gradient = weight_gradient = None
        if ctx.needs_input_grad[0]:
            backwards = weight.unflatten(0, (ctx.groups, -1)).permute(0, 2, 3, 1).flip(2)
            value_gradient = convolve(outer, backwards.contiguous(), taps - 1 - taps // 2)
        if ctx.needs_input_grad[1]:
            found = kernel_gradient(values, outer, taps, ctx.groups)
            weight_gradient = found.transpose(2, 3).reshape(weight.shape)
        return value_gradient, weight_gradient, None


class PositionalConv(nn.Module):
    """The positional embedding of a stock encoder: its convolution over all frames, padding included, and activation.

    Args:
        conv: weight-normed, `[C, D, K]`, with padding `K // 2`; its parameters keep their names.
    """

    def __init__(self, conv: nn.Conv1d, activation: nn.Module) -> None:
        super().__init__()
        self.conv, self.activation = conv, activation

    def forward(self, hidden: Tensor) -> Tensor:
        """`[B, T, C]` → `[B, T, C]`."""
        dtype = autocast_dtype(hidden)
        weight, bias = self.conv.weight.to(dtype), self.conv.bias.to(dtype)
        convolved = _Convolution.apply(hidden.to(dtype).contiguous(), weight, self.conv.groups)
        return self.activation(convolved + bias)


def replace_positional_conv(encoder: nn.Module) -> None:
    """Puts this convolution in the place of a stock encoder's, where it has one of that kind."""
    stock = getattr(encoder, "pos_conv_embed", None)
    if stock is not None and getattr(stock, "batch_norm", None) is None:
        encoder.pos_conv_embed = PositionalConv(stock.conv, stock.activation)
