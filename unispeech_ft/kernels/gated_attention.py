"""Attention within each clip of a row with WavLM's gated position bias, in Triton kernels on a CUDA device.

`N` frames of the row, `B` clips, `L` frames of the longest, `H` heads, `D` channels a head, `C = H · D`. A score is
`scale · q·k + gate[q] · bias[k − q]`; nothing of a clip's frames by frames is kept. Dropout as in `kernels.fused`. All
sums are taken in a fixed order: the gradient of the bias is summed along the diagonals of each block, block by block.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from unispeech_ft.data.row import Layout
from unispeech_ft.kernels.fused import draws, kept
from unispeech_ft.kernels.launch import launch

BLOCK = 64
LOG2E = tl.constexpr(1.4426950408889634)
CHANGING = ["longest", "threshold"]


@triton.jit
def _part(base, frames, length, row, DIM: tl.constexpr, WIDTH: tl.constexpr):
    """Some frames `[frames, WIDTH]` of one head, zero behind the clip."""
    columns = tl.arange(0, WIDTH)
    there = (frames < length)[:, None] & (columns < DIM)[None, :]
    return tl.load(base + frames[:, None] * row + columns[None, :], mask=there, other=0.0)


@triton.jit
def _position_bias(table, head, longest, queries, keys, length):
    there = (queries < length)[:, None] & (keys < length)[None, :]
    distances = keys[None, :] - queries[:, None] + longest - 1
    return tl.load(table + head * (2 * longest - 1) + distances, mask=there, other=0.0)


@triton.jit
def _kept(first, queries, keys, head, heads, longest, threshold, seeds):
    names = ((first + queries) * heads + head)[:, None] * longest + keys[None, :]
    return kept(names, seeds, threshold)


@triton.jit(do_not_specialize=CHANGING)
def _forward(
    qkv, gates, table, attended, normalisers, starts, scale, longest, heads, threshold, factor, seeds,
    DROPS: tl.constexpr, DIM: tl.constexpr, WIDTH: tl.constexpr, SIZE: tl.constexpr, EXACT: tl.constexpr,
):  # fmt: skip
    block, head, clip = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    first = tl.load(starts + clip)
    length = tl.load(starts + clip + 1) - first
    if block * SIZE >= length:
        return
    row = 3 * heads * DIM
    base = qkv + first.to(tl.int64) * row + head * DIM
    queries = block * SIZE + tl.arange(0, SIZE)
    query = _part(base, queries, length, row, DIM, WIDTH)
    gate = tl.load(gates + (first + queries) * heads + head, mask=queries < length, other=0.0) * LOG2E
    highest = tl.full([SIZE], -1e30, tl.float32)
    total = tl.zeros([SIZE], tl.float32)
    found = tl.zeros([SIZE, WIDTH], tl.float32)
    for start in range(0, length, SIZE):
        keys = start + tl.arange(0, SIZE)
        key = _part(base + heads * DIM, keys, length, row, DIM, WIDTH)
        scores = tl.dot(query, tl.trans(key), input_precision=EXACT) * (scale * LOG2E)
        scores += gate[:, None] * _position_bias(table, head, longest, queries, keys, length)
        scores = tl.where((keys < length)[None, :], scores, -1e30)
        higher = tl.maximum(highest, tl.max(scores, axis=1))
        weights = tl.exp2(scores - higher[:, None])
        shrink = tl.exp2(highest - higher)
        total = total * shrink + tl.sum(weights, axis=1)
        if DROPS:
            keep = _kept(first, queries, keys, head, heads, longest, threshold, seeds)
            weights = tl.where(keep, weights * factor, 0.0)
        value = _part(base + 2 * heads * DIM, keys, length, row, DIM, WIDTH)
        found = found * shrink[:, None] + tl.dot(weights.to(value.dtype), value, input_precision=EXACT)
        highest = higher
    columns = tl.arange(0, WIDTH)
    places = (first + queries).to(tl.int64)[:, None] * (heads * DIM) + head * DIM + columns[None, :]
    there = (queries < length)[:, None] & (columns < DIM)[None, :]
    tl.store(attended + places, (found / total[:, None]).to(attended.dtype.element_ty), mask=there)
    tl.store(normalisers + (first + queries) * heads + head, highest + tl.log2(total), mask=queries < length)


@triton.jit(do_not_specialize=CHANGING)
def _backward_keys(
    qkv, gates, table, outer, normalisers, products, starts, for_qkv,
    scale, longest, heads, threshold, factor, seeds,
    DROPS: tl.constexpr, DIM: tl.constexpr, WIDTH: tl.constexpr, SIZE: tl.constexpr, EXACT: tl.constexpr,
):  # fmt: skip
    block, head, clip = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    first = tl.load(starts + clip)
    length = tl.load(starts + clip + 1) - first
    if block * SIZE >= length:
        return
    row = 3 * heads * DIM
    base = qkv + first.to(tl.int64) * row + head * DIM
    outers = outer + first.to(tl.int64) * (heads * DIM) + head * DIM
    keys = block * SIZE + tl.arange(0, SIZE)
    key = _part(base + heads * DIM, keys, length, row, DIM, WIDTH)
    value = _part(base + 2 * heads * DIM, keys, length, row, DIM, WIDTH)
    for_key = tl.zeros([SIZE, WIDTH], tl.float32)
    for_value = tl.zeros([SIZE, WIDTH], tl.float32)
    for start in range(0, length, SIZE):
        queries = start + tl.arange(0, SIZE)
        there = queries < length
        query = _part(base, queries, length, row, DIM, WIDTH)
        gradient = _part(outers, queries, length, heads * DIM, DIM, WIDTH)
        lines = (first + queries) * heads + head
        gate = tl.load(gates + lines, mask=there, other=0.0) * LOG2E
        scores = tl.dot(query, tl.trans(key), input_precision=EXACT) * (scale * LOG2E)
        scores += gate[:, None] * _position_bias(table, head, longest, queries, keys, length)
        weights = tl.exp2(scores - tl.load(normalisers + lines, mask=there, other=0.0)[:, None])
        weights = tl.where(there[:, None] & (keys < length)[None, :], weights, 0.0)
        for_weights = tl.dot(gradient, tl.trans(value), input_precision=EXACT)
        dropped = weights
        if DROPS:
            keep = _kept(first, queries, keys, head, heads, longest, threshold, seeds)
            for_weights = tl.where(keep, for_weights * factor, 0.0)
            dropped = tl.where(keep, weights * factor, 0.0)
        for_scores = weights * (for_weights - tl.load(products + lines, mask=there, other=0.0)[:, None])
        for_value += tl.dot(tl.trans(dropped.to(gradient.dtype)), gradient, input_precision=EXACT)
        for_key += tl.dot(tl.trans(for_scores.to(query.dtype)), query, input_precision=EXACT)
    columns = tl.arange(0, WIDTH)
    places = (first + keys).to(tl.int64)[:, None] * row + head * DIM + columns[None, :]
    inside = (keys < length)[:, None] & (columns < DIM)[None, :]
    tl.store(for_qkv + places + heads * DIM, (for_key * scale).to(for_qkv.dtype.element_ty), mask=inside)
    tl.store(for_qkv + places + 2 * heads * DIM, for_value.to(for_qkv.dtype.element_ty), mask=inside)


@triton.jit
def _products(attended, outer, products, heads, DIM: tl.constexpr, WIDTH: tl.constexpr, HEADS: tl.constexpr):
    """Σ over a head's channels of output × its gradient."""
    frame = tl.program_id(0).to(tl.int64)
    columns, head = tl.arange(0, WIDTH), tl.arange(0, HEADS)
    places = frame * heads * DIM + head[:, None] * DIM + columns[None, :]
    mask = (head < heads)[:, None] & (columns < DIM)[None, :]
    values = tl.load(attended + places, mask=mask, other=0.0).to(tl.float32)
    found = tl.sum(values * tl.load(outer + places, mask=mask, other=0.0).to(tl.float32), axis=1)
    tl.store(products + frame * heads + head, found, mask=head < heads)


@triton.jit
def _along_diagonals(values, SIZE: tl.constexpr):
    """`[SIZE, SIZE]` → `[2 · SIZE]`, sums of column − row = index + 1 − SIZE."""
    rows = tl.arange(0, SIZE)
    columns = tl.arange(0, 2 * SIZE)[None, :] + rows[:, None] + 1 - SIZE
    inside = (columns >= 0) & (columns < SIZE)
    slanted = tl.gather(values, tl.where(inside, columns, 0), axis=1)
    return tl.sum(tl.where(inside, slanted, 0.0), axis=0)


@triton.jit(do_not_specialize=CHANGING)
def _backward_queries(
    qkv, gates, table, outer, normalisers, products, starts, for_qkv, for_gates, diagonals,
    scale, longest, heads, threshold, factor, seeds,
    DROPS: tl.constexpr, DIM: tl.constexpr, WIDTH: tl.constexpr, SIZE: tl.constexpr, EXACT: tl.constexpr,
):  # fmt: skip
    block, head, clip = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    blocks = tl.num_programs(0)
    first = tl.load(starts + clip)
    length = tl.load(starts + clip + 1) - first
    if block * SIZE >= length:
        return
    row = 3 * heads * DIM
    base = qkv + first.to(tl.int64) * row + head * DIM
    queries = block * SIZE + tl.arange(0, SIZE)
    there = queries < length
    query = _part(base, queries, length, row, DIM, WIDTH)
    outers = outer + first.to(tl.int64) * (heads * DIM) + head * DIM
    gradient = _part(outers, queries, length, heads * DIM, DIM, WIDTH)
    lines = (first + queries) * heads + head
    gate = tl.load(gates + lines, mask=there, other=0.0)
    normaliser = tl.load(normalisers + lines, mask=there, other=0.0)
    product = tl.load(products + lines, mask=there, other=0.0)
    for_query = tl.zeros([SIZE, WIDTH], tl.float32)
    for_gate = tl.zeros([SIZE], tl.float32)
    sums = diagonals + (((clip * tl.num_programs(1) + head) * blocks + block) * blocks).to(tl.int64) * 2 * SIZE
    for start in range(0, length, SIZE):
        keys = start + tl.arange(0, SIZE)
        key = _part(base + heads * DIM, keys, length, row, DIM, WIDTH)
        value = _part(base + 2 * heads * DIM, keys, length, row, DIM, WIDTH)
        bias = _position_bias(table, head, longest, queries, keys, length)
        scores = tl.dot(query, tl.trans(key), input_precision=EXACT) * (scale * LOG2E)
        scores += (gate * LOG2E)[:, None] * bias
        weights = tl.exp2(scores - normaliser[:, None])
        weights = tl.where(there[:, None] & (keys < length)[None, :], weights, 0.0)
        for_weights = tl.dot(gradient, tl.trans(value), input_precision=EXACT)
        if DROPS:
            keep = _kept(first, queries, keys, head, heads, longest, threshold, seeds)
            for_weights = tl.where(keep, for_weights * factor, 0.0)
        for_scores = weights * (for_weights - product[:, None])
        for_query += tl.dot(for_scores.to(key.dtype), key, input_precision=EXACT)
        for_gate += tl.sum(for_scores * bias, axis=1)
        along = _along_diagonals(for_scores * gate[:, None], SIZE)
        tl.store(sums + start * 2 + tl.arange(0, 2 * SIZE), along)
    columns = tl.arange(0, WIDTH)
    places = (first + queries).to(tl.int64)[:, None] * row + head * DIM + columns[None, :]
    inside = there[:, None] & (columns < DIM)[None, :]
    tl.store(for_qkv + places, (for_query * scale).to(for_qkv.dtype.element_ty), mask=inside)
    tl.store(for_gates + lines, for_gate, mask=there)


@triton.jit(do_not_specialize=["clips", "blocks", "longest"])
def _sum_diagonals(diagonals, for_table, clips, blocks, longest, SIZE: tl.constexpr):
    """Sums of blocks `[B, H, blocks, blocks, 2 · SIZE]` → the gradient of the bias of SIZE distances."""
    offset, head, heads = tl.program_id(0) - blocks, tl.program_id(1), tl.num_programs(1)
    places = tl.arange(0, SIZE)
    total = tl.zeros([SIZE], tl.float32)
    for clip in range(0, clips):
        base = diagonals + ((clip * heads + head) * blocks).to(tl.int64) * blocks * 2 * SIZE
        for block in range(0, blocks):
            same, next_one = block + offset, block + offset + 1
            line = base + block * blocks * 2 * SIZE
            mask = (same >= 0) & (same < blocks) & (places >= 0)
            total += tl.load(line + same * 2 * SIZE + SIZE - 1 + places, mask=mask, other=0.0)
            mask = (next_one >= 0) & (next_one < blocks) & (places >= 1)
            total += tl.load(line + next_one * 2 * SIZE + places - 1, mask=mask, other=0.0)
    distances = offset * SIZE + places + longest - 1
    mask = (distances >= 0) & (distances < 2 * longest - 1)
    tl.store(for_table + head * (2 * longest - 1) + distances, total, mask=mask)


def _for_table(diagonals: Tensor, longest: int) -> Tensor:
    """The gradient of the bias `[H, 2 · L − 1]` from `[B, H, blocks, blocks, 2 · BLOCK]`."""
    clips, heads, blocks = diagonals.shape[:3]
    found = diagonals.new_empty(heads, 2 * longest - 1)
    whole = diagonals.sum(0, keepdim=True)
    launch(_sum_diagonals, (2 * blocks, heads), whole, found, 1, blocks, longest, SIZE=BLOCK)
    return found


class _GatedAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, qkv: Tensor, gates: Tensor, table: Tensor, layout: Layout, p: float) -> Tensor:
        frames, heads = gates.shape
        dim, longest = qkv.shape[1] // (3 * heads), layout.longest
        ctx.grid = (triton.cdiv(longest, BLOCK), heads, len(layout.num_frames))
        ctx.drawn = draws(p, qkv.device)
        ctx.meta = {
            "DROPS": p > 0,
            "DIM": dim,
            "WIDTH": max(16, triton.next_power_of_2(dim)),
            "SIZE": BLOCK,
            "EXACT": "ieee" if qkv.dtype == torch.float32 else "tf32",
            "num_stages": 1,
        }
        attended = qkv.new_empty(frames, heads * dim)
        normalisers = torch.empty_like(gates)
        ctx.longest = longest
        launch(
            _forward,
            ctx.grid,
            qkv,
            gates,
            table,
            attended,
            normalisers,
            layout.starts,
            dim**-0.5,
            longest,
            heads,
            *ctx.drawn,
            **ctx.meta,
        )
        ctx.save_for_backward(qkv, gates, table, attended, normalisers, layout.starts)
        return attended

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        qkv, gates, table, attended, normalisers, starts = ctx.saved_tensors
        outer = gradients[0].contiguous()
        frames, heads = gates.shape
        products = torch.empty_like(gates)
        sizes = {"DIM": ctx.meta["DIM"], "WIDTH": ctx.meta["WIDTH"], "HEADS": triton.next_power_of_2(heads)}
        launch(_products, (frames,), attended, outer, products, heads, **sizes)
        blocks, _, clips = ctx.grid
        diagonals = torch.zeros(clips, heads, blocks, blocks, 2 * BLOCK, device=qkv.device)
        for_qkv, for_gates = torch.empty_like(qkv), torch.empty_like(gates)
        given = qkv, gates, table, outer, normalisers, products, starts, for_qkv
        rest = (qkv.shape[1] // (3 * heads)) ** -0.5, ctx.longest, heads, *ctx.drawn
        launch(_backward_keys, ctx.grid, *given, *rest, **ctx.meta)
        launch(_backward_queries, ctx.grid, *given, for_gates, diagonals, *rest, **ctx.meta)
        return for_qkv, for_gates, _for_table(diagonals, ctx.longest), None, None


def gated_attention(qkv: Tensor, layout: Layout, gates: Tensor, table: Tensor, p: float = 0.0) -> Tensor:
    """Scaled dot-product attention within each clip of a row, with a gated position bias.

    Args:
        qkv: queries, keys and values of each frame one behind the other, `[N, 3 · C]`.
        layout: of the row, on the same device.
        gates: `[N, H]`.
        table: `[H, 2 · L − 1]`, the bias of the distances `k − q` from `1 − L` to `L − 1`.
        p: dropout of the attention weights.

    Returns:
        `[N, C]`.
    """
    inputs = qkv.contiguous(), gates.float().contiguous(), table.float().contiguous()
    found: Tensor = _GatedAttention.apply(*inputs, layout, p)
    return found
