"""What stands between the matrix products of an encoder layer, in one Triton kernel each; 16 bits on a CUDA device.

`N` frames of a row, `C` channels, `P` programs. Bias, dropout, residual and norm are read and written once, in 32 bits
inside; weights, biases and their gradients are in 32 bits. Whether a value is dropped is a hash of its place and a seed
from torch's generator of the device, so the backward pass needs no mask, reseeding torch repeats it, and a CUDA graph
draws anew each time it runs. Sums over frames are taken in a fixed order.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from unispeech_ft.kernels.launch import launch, num_processors

# Dropout compares 31 bits of the hash.
DRAWS = 2**31
PROGRAMS_PER_PROCESSOR = 8
WIDEST_BLOCK = 1024
# A kernel is compiled once, whatever values these have.
CHANGING = ["frames", "threshold"]


@triton.jit
def kept(places, seeds, threshold):
    """Whether the values at these places are kept; Chris Wellons' hash of 32 bits, seeded twice."""
    x = (places.to(tl.uint32) * 0x9E3779B1) ^ tl.load(seeds).to(tl.uint32)
    x = (x ^ (x >> 16)) * 0x7FEB352D
    x = (x ^ (x >> 15)) + tl.load(seeds + 1).to(tl.uint32)
    x = x * 0x846CA68B
    x = x ^ (x >> 16)
    return (x >> 1).to(tl.int32) >= threshold


@triton.jit(do_not_specialize=CHANGING)
def _add_norm(
    inner, bias, hidden, weight, offset, summed, normed, means, scales,
    channels, eps, threshold, factor, seeds,
    DROPS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    frame = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, BLOCK)
    there = columns < channels
    places = frame * channels + columns
    value = tl.load(inner + places, mask=there, other=0.0).to(tl.float32)
    value += tl.load(bias + columns, mask=there, other=0.0).to(tl.float32)
    if DROPS:
        value = tl.where(kept(places, seeds, threshold), value * factor, 0.0)
    value += tl.load(hidden + places, mask=there, other=0.0).to(tl.float32)
    value = value.to(summed.dtype.element_ty).to(tl.float32)
    tl.store(summed + places, value.to(summed.dtype.element_ty), mask=there)
    mean = tl.sum(tl.where(there, value, 0.0), axis=0) / channels
    centred = tl.where(there, value - mean, 0.0)
    scale = 1 / tl.sqrt(tl.sum(centred * centred, axis=0) / channels + eps)
    found = centred * scale * tl.load(weight + columns, mask=there, other=0.0)
    found += tl.load(offset + columns, mask=there, other=0.0)
    tl.store(normed + places, found.to(normed.dtype.element_ty), mask=there)
    tl.store(means + frame, mean)
    tl.store(scales + frame, scale)


@triton.jit(do_not_specialize=CHANGING)
def _add_norm_backward(
    outer, outer_sum, summed, weight, means, scales, for_inner, for_hidden, partial,
    frames, channels, threshold, factor, seeds,
    HAS_SUM: tl.constexpr, DROPS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0)
    columns = tl.arange(0, BLOCK)
    there = columns < channels
    weights = tl.load(weight + columns, mask=there, other=0.0)
    for_weight = tl.zeros([BLOCK], tl.float32)
    for_offset = tl.zeros([BLOCK], tl.float32)
    for_bias = tl.zeros([BLOCK], tl.float32)
    programs = tl.num_programs(0)
    for turn in range(0, tl.cdiv(frames - program, programs)):
        frame = (program + turn * programs).to(tl.int64)
        places = frame * channels + columns
        gradient = tl.load(outer + places, mask=there, other=0.0).to(tl.float32)
        value = tl.load(summed + places, mask=there, other=0.0).to(tl.float32)
        scale = tl.load(scales + frame)
        unit = tl.where(there, (value - tl.load(means + frame)) * scale, 0.0)
        for_weight += gradient * unit
        for_offset += gradient
        weighted = gradient * weights
        along = tl.sum(weighted * unit, axis=0) / channels
        found = (weighted - unit * along - tl.sum(weighted, axis=0) / channels) * scale
        if HAS_SUM:
            found += tl.load(outer_sum + places, mask=there, other=0.0).to(tl.float32)
        tl.store(for_hidden + places, found.to(for_hidden.dtype.element_ty), mask=there)
        if DROPS:
            found = tl.where(kept(places, seeds, threshold), found * factor, 0.0)
            tl.store(for_inner + places, found.to(for_inner.dtype.element_ty), mask=there)
        for_bias += tl.where(there, found, 0.0)
    place = partial + program * 3 * channels + columns
    tl.store(place, for_weight, mask=there)
    tl.store(place + channels, for_offset, mask=there)
    tl.store(place + 2 * channels, for_bias, mask=there)


@triton.jit(do_not_specialize=CHANGING)
def _gelu(inner, bias, activated, channels, threshold, factor, seeds, DROPS: tl.constexpr, BLOCK: tl.constexpr):
    columns = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    there = columns < channels
    places = tl.program_id(0).to(tl.int64) * channels + columns
    value = tl.load(inner + places, mask=there, other=0.0).to(tl.float32)
    value += tl.load(bias + columns, mask=there, other=0.0)
    value = 0.5 * value * (1 + tl.erf(value * 0.7071067811865476))
    if DROPS:
        value = tl.where(kept(places, seeds, threshold), value * factor, 0.0)
    tl.store(activated + places, value.to(activated.dtype.element_ty), mask=there)


@triton.jit(do_not_specialize=CHANGING)
def _gelu_backward(
    outer, inner, bias, for_inner, partial, frames, channels, threshold, factor, seeds,
    DROPS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0)
    columns = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    there = columns < channels
    biases = tl.load(bias + columns, mask=there, other=0.0)
    for_bias = tl.zeros([BLOCK], tl.float32)
    programs = tl.num_programs(0)
    for turn in range(0, tl.cdiv(frames - program, programs)):
        frame = (program + turn * programs).to(tl.int64)
        places = frame * channels + columns
        gradient = tl.load(outer + places, mask=there, other=0.0).to(tl.float32)
        if DROPS:
            gradient = tl.where(kept(places, seeds, threshold), gradient * factor, 0.0)
        value = tl.load(inner + places, mask=there, other=0.0).to(tl.float32) + biases
        slope = 0.5 * (1 + tl.erf(value * 0.7071067811865476))
        slope += value * tl.exp(-0.5 * value * value) * 0.3989422804014327
        found = gradient * slope
        tl.store(for_inner + places, found.to(for_inner.dtype.element_ty), mask=there)
        for_bias += found
    tl.store(partial + program * channels + columns, for_bias, mask=there)


def draws(p: float, device: torch.device) -> tuple[int, float, Tensor | None]:
    """The kernels' threshold and factor for dropout with probability `p`, and two seeds, drawn on the device."""
    if p == 0:
        return 0, 1.0, None
    seeds = torch.randint(DRAWS - 1, (2,), device=device, dtype=torch.int32)
    return min(round(p * DRAWS), DRAWS - 1), 1 / (1 - p) if p < 1 else 0.0, seeds


def num_programs(values: Tensor) -> int:
    """Programs that share the frames of a row where each sums over its own."""
    return min(len(values), PROGRAMS_PER_PROCESSOR * num_processors(values.device))


class _AddNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inner: Tensor, bias: Tensor, hidden: Tensor, weight: Tensor, offset: Tensor, eps: float,
                p: float) -> tuple[Tensor, Tensor]:  # fmt: skip
        frames, channels = inner.shape
        ctx.draws, ctx.drops = draws(p, inner.device), p > 0
        summed, normed = torch.empty_like(hidden), torch.empty_like(hidden)
        means, scales = (torch.empty(frames, device=inner.device) for _ in range(2))
        launch(_add_norm, (frames,), 
            inner, bias, hidden, weight, offset, summed, normed, means, scales, channels, eps, *ctx.draws,
            DROPS=ctx.drops, BLOCK=triton.next_power_of_2(channels),
        )  # fmt: skip
        ctx.save_for_backward(summed, weight, means, scales)
        ctx.set_materialize_grads(False)
        return summed, normed

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, ...]:
        summed, weight, means, scales = ctx.saved_tensors
        outer_sum, outer = gradients
        if outer is None:
            outer = torch.zeros_like(summed)
        frames, channels = summed.shape
        programs = num_programs(summed)
        for_hidden = torch.empty_like(summed)
        for_inner = torch.empty_like(summed) if ctx.drops else for_hidden
        partial = torch.empty(programs, 3, channels, device=summed.device)
        launch(_add_norm_backward, (programs,), 
            outer.contiguous(), outer if outer_sum is None else outer_sum.contiguous(), summed, weight, means, scales,
            for_inner, for_hidden, partial, frames, channels, *ctx.draws,
            HAS_SUM=outer_sum is not None, DROPS=ctx.drops, BLOCK=triton.next_power_of_2(channels),
        )  # fmt: skip
        for_weight, for_offset, for_bias = partial.sum(0)
        return for_inner, for_bias, for_hidden, for_weight, for_offset, None, None


class _Gelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inner: Tensor, bias: Tensor, p: float) -> Tensor:
        frames, channels = inner.shape
        ctx.draws, ctx.drops = draws(p, inner.device), p > 0
        ctx.save_for_backward(inner, bias)
        activated = torch.empty_like(inner)
        block = min(WIDEST_BLOCK, triton.next_power_of_2(channels))
        grid = (frames, triton.cdiv(channels, block))
        launch(_gelu, grid, inner, bias, activated, channels, *ctx.draws, DROPS=ctx.drops, BLOCK=block)
        return activated

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, ...]:
        inner, bias = ctx.saved_tensors
        frames, channels = inner.shape
        programs = num_programs(inner)
        for_inner = torch.empty_like(inner)
        partial = torch.empty(programs, channels, device=inner.device)
        block = min(WIDEST_BLOCK, triton.next_power_of_2(channels))
        grid = (programs, triton.cdiv(channels, block))
        launch(_gelu_backward, grid, 
            gradients[0].contiguous(), inner, bias, for_inner, partial, frames, channels, *ctx.draws,
            DROPS=ctx.drops, BLOCK=block,
        )  # fmt: skip
        return for_inner, partial.sum(0), None


def add_norm(inner: Tensor, bias: Tensor, hidden: Tensor, norm: Any, p: float) -> tuple[Tensor, Tensor]:
    """A residual connection and the layer norm behind it.

    Args:
        inner: `[N, C]` in 16 bits, a product that still lacks its bias.
        bias: `[C]` in 32 bits.
        hidden: `[N, C]`, what `dropout(inner + bias)` is added to.
        norm: `nn.LayerNorm` over the channels.
        p: of the dropout.

    Returns:
        The sum and its norm, `[N, C]` both.
    """
    found: tuple[Tensor, Tensor] = _AddNorm.apply(
        inner.contiguous(), bias, hidden.contiguous(), norm.weight, norm.bias, norm.eps, p
    )
    return found


def gelu(inner: Tensor, bias: Tensor, p: float) -> Tensor:
    """`dropout(gelu(inner + bias))`.

    Args:
        inner: `[N, C]` in 16 bits.
        bias: `[C]` in 32 bits.
        p: of the dropout.
    """
    found: Tensor = _Gelu.apply(inner.contiguous(), bias, p)
    return found
