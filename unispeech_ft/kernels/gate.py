"""WavLM's gate of the position bias (Chen et al. 2022, section 3.1) in one Triton kernel each way.

`N` frames of a row, `H` heads, `D` channels a head. Two values of a head's channels, through sigmoids, are `a` and `b`;
the gate is `a · (b · c − 1) + 2` with a constant `c` for each head. Sums over frames are taken in a fixed order.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from unispeech_ft.kernels.fused import num_programs
from unispeech_ft.kernels.launch import launch

# Rows of the weight that are summed to one of the two values.
ROWS = tl.constexpr(4)


@triton.jit
def _summed(weight, columns, inside, part: tl.constexpr, DIM: tl.constexpr):
    total = tl.zeros_like(columns).to(tl.float32)
    for row in tl.static_range(ROWS):
        total += tl.load(weight + (part * ROWS + row) * DIM + columns, mask=inside, other=0.0)
    return total


@triton.jit
def _sum_of_four(bias, part: tl.constexpr):
    base = bias + part * ROWS
    return tl.load(base) + tl.load(base + 1) + tl.load(base + 2) + tl.load(base + 3)


@triton.jit
def _gate(hidden, weight, bias, constants, gates, heads, DIM: tl.constexpr, WIDTH: tl.constexpr, HEADS: tl.constexpr):
    frame = tl.program_id(0).to(tl.int64)
    columns, head = tl.arange(0, WIDTH), tl.arange(0, HEADS)
    inside, there = columns < DIM, head < heads
    places = hidden + frame * heads * DIM + head[:, None] * DIM + columns[None, :]
    values = tl.load(places, mask=there[:, None] & inside[None, :], other=0.0).to(tl.float32)
    first = tl.sum(values * _summed(weight, columns, inside, 0, DIM)[None, :], axis=1) + _sum_of_four(bias, 0)
    second = tl.sum(values * _summed(weight, columns, inside, 1, DIM)[None, :], axis=1) + _sum_of_four(bias, 1)
    constant = tl.load(constants + head, mask=there, other=0.0)
    found = tl.sigmoid(first) * (tl.sigmoid(second) * constant - 1.0) + 2.0
    tl.store(gates + frame * heads + head, found, mask=there)


@triton.jit(do_not_specialize=["frames"])
def _gate_backward(
    outer, hidden, weight, bias, constants, for_hidden, partial, frames, heads,
    DIM: tl.constexpr, WIDTH: tl.constexpr, HEADS: tl.constexpr,
):  # fmt: skip
    program, programs = tl.program_id(0), tl.num_programs(0)
    columns, head = tl.arange(0, WIDTH), tl.arange(0, HEADS)
    inside, there = columns < DIM, head < heads
    weight_a, weight_b = _summed(weight, columns, inside, 0, DIM), _summed(weight, columns, inside, 1, DIM)
    bias_a, bias_b = _sum_of_four(bias, 0), _sum_of_four(bias, 1)
    constant = tl.load(constants + head, mask=there, other=0.0)
    sum_a = tl.zeros([WIDTH], tl.float32)
    sum_b = tl.zeros([WIDTH], tl.float32)
    sums = tl.zeros([HEADS], tl.float32)
    total_a = tl.zeros([HEADS], tl.float32)
    total_b = tl.zeros([HEADS], tl.float32)
    for turn in range(0, tl.cdiv(frames - program, programs)):
        frame = (program + turn * programs).to(tl.int64)
        places = frame * heads * DIM + head[:, None] * DIM + columns[None, :]
        mask = there[:, None] & inside[None, :]
        values = tl.load(hidden + places, mask=mask, other=0.0).to(tl.float32)
        gradient = tl.load(outer + frame * heads + head, mask=there, other=0.0)
        gate_a = tl.sigmoid(tl.sum(values * weight_a[None, :], axis=1) + bias_a)
        gate_b = tl.sigmoid(tl.sum(values * weight_b[None, :], axis=1) + bias_b)
        sums += gradient * gate_a * gate_b
        for_a = gradient * (gate_b * constant - 1.0) * gate_a * (1.0 - gate_a)
        for_b = gradient * gate_a * constant * gate_b * (1.0 - gate_b)
        found = for_a[:, None] * weight_a[None, :] + for_b[:, None] * weight_b[None, :]
        tl.store(for_hidden + places, found.to(for_hidden.dtype.element_ty), mask=mask)
        sum_a += tl.sum(values * for_a[:, None], axis=0)
        sum_b += tl.sum(values * for_b[:, None], axis=0)
        total_a += for_a
        total_b += for_b
    base = partial + program * (2 * WIDTH + 3 * HEADS)
    tl.store(base + columns, sum_a)
    tl.store(base + WIDTH + columns, sum_b)
    base += 2 * WIDTH
    tl.store(base + head, sums)
    tl.store(base + HEADS + head, tl.where(there, total_a, 0.0))
    tl.store(base + 2 * HEADS + head, tl.where(there, total_b, 0.0))


class _Gate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor, constants: Tensor) -> Tensor:
        frames, heads = len(hidden), constants.numel()
        width = hidden.shape[1] // heads
        ctx.meta = {"DIM": width, "WIDTH": triton.next_power_of_2(width), "HEADS": triton.next_power_of_2(heads)}
        ctx.save_for_backward(hidden, weight, bias, constants)
        gates = torch.empty(frames, heads, device=hidden.device)
        launch(_gate, (frames,), hidden, weight, bias, constants, gates, heads, **ctx.meta)
        return gates

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, bias, constants = ctx.saved_tensors
        heads, programs, meta = constants.numel(), num_programs(hidden), ctx.meta
        for_hidden = torch.empty_like(hidden)
        partial = torch.empty(programs, 2 * meta["WIDTH"] + 3 * meta["HEADS"], device=hidden.device)
        launch(
            _gate_backward,
            (programs,),
            gradients[0].contiguous(),
            hidden,
            weight,
            bias,
            constants,
            for_hidden,
            partial,
            len(hidden),
            heads,
            **meta,
        )
        sizes = [meta["WIDTH"], meta["WIDTH"], *[meta["HEADS"]] * 3]
        first, second, for_constants, for_first, for_second = partial.sum(0).split(sizes)
        rows = [first[: meta["DIM"]].expand(ROWS.value, -1), second[: meta["DIM"]].expand(ROWS.value, -1)]
        biases = torch.stack([for_first.sum(), for_second.sum()]).repeat_interleave(ROWS.value)
        return for_hidden, torch.cat(rows), biases, for_constants[:heads].view_as(constants)


def fused_bias_gate(hidden: Tensor, weight: Tensor, bias: Tensor, constants: Tensor) -> Tensor:
    """The gates of a stock WavLM attention.

    Args:
        hidden: `[N, H · D]`, in 16 bits or more.
        weight: `[8, D]` in 32 bits.
        bias: `[8]`.
        constants: `H` of them, in any shape.

    Returns:
        `[N, H]` in 32 bits.
    """
    found: Tensor = _Gate.apply(hidden.contiguous(), weight, bias, constants)
    return found
