"""Self-attention of a row of frames: every clip attends to itself alone.

`N` frames of a row, `B` clips of a group, `H` heads, `T` frames, `D` channels a head, `C = H · D`. On a CPU two matrix
products and a softmax beat torch's scaled_dot_product_attention as soon as there is dropout; on a GPU the fused kernels
win, and flash attention takes the row as it is, or with WavLM's gated position bias (Chen et al. 2022, section 3.1) a
kernel of our own. `L` is the number of frames of the longest clip.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, Literal

import torch
from torch import Tensor, nn

from unispeech_ft.data.row import Layout
from unispeech_ft.kernels.dropout import dropout
from unispeech_ft.kernels.rows import heads_apart, heads_joined
from unispeech_ft.kernels.triton_there import runs_triton

Attention = Literal["matmul", "sdpa", "flash", "efficient", "triton"]
# The kernel's own limits.
FLASH_WIDTH_STEP, FLASH_WIDEST = 8, 256
WIDEST_GATED = 64


def products(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    scale: float,
    bias: Tensor | None = None,
    gated: tuple[Tensor, Tensor] | None = None,
    p: float = 0.0,
) -> Tensor:
    """`softmax(scale · q kᵀ + bias + gate · position) v`, all of it in the precision of the inputs.

    Args:
        query, key, value: `[B, H, T, D]`.
        bias: added to the scores, `[B, 1 or H, 1 or T, T]`.
        gated: gate `[B, H, T, 1]` and position bias `[H, T, T]`.
        p: dropout of the weights.

    Returns:
        `[B, H, T, D]`.
    """
    with torch.autocast(query.device.type, enabled=False):
        scores = torch.matmul(query * scale, key.transpose(-1, -2))
        if gated is not None:
            scores.addcmul_(*(factor.to(scores.dtype) for factor in gated))
        if bias is not None:
            scores += bias.to(scores.dtype)
        return torch.matmul(dropout(torch.softmax(scores, dim=-1), p), value)


def padding_bias(num_frames: Tensor, width: int, dtype: torch.dtype) -> Tensor:
    """`[B]` lengths → `[B, 1, 1, T]`, 0 where a frame exists and very negative elsewhere."""
    beyond = torch.arange(width, device=num_frames.device) >= num_frames[:, None]
    bias = torch.zeros(beyond.shape, dtype=dtype, device=num_frames.device)
    return bias.masked_fill_(beyond, torch.finfo(dtype).min)[:, None, None, :]


def _in_groups(
    qkv: Tensor,
    layout: Layout,
    heads: int,
    *,
    kernel: Attention,
    scale: float,
    p: float,
    gate: Tensor | None,
    position_bias: Tensor | None,
    position_scores: Callable[[Tensor], Tensor] | None,
) -> Tensor:
    parts = heads_apart(qkv, layout, heads, 3)
    gates = [] if gate is None else heads_apart(gate, layout, heads, 1)
    lengths = layout.grouped_frames.split([len(group.clips) for group in layout.groups])
    found = []
    for number, (group, (query, key, value)) in enumerate(zip(layout.groups, parts, strict=True)):
        ragged = any(layout.num_frames[clip] != group.width for clip in group.clips)
        bias = padding_bias(lengths[number], group.width, query.dtype) if ragged else None
        if position_scores is not None:
            scores = position_scores(query)
            bias = scores if bias is None else scores + bias
        gated = None
        if gates and position_bias is not None:
            gated = gates[number][0], position_bias[:, : group.width, : group.width]
        if kernel == "matmul":
            found.append(products(query, key, value, scale=scale, bias=bias, gated=gated, p=p))
            continue
        if gated is not None:
            scores = gated[0] * gated[1]
            bias = scores if bias is None else scores + bias
        found.append(
            nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=bias, dropout_p=p, scale=scale)
        )
    return heads_joined(found, layout, len(qkv))


class _Flash(torch.autograd.Function):
    """aten's flash attention, whose backward pass adds up in a fixed order only when torch is told to."""

    @staticmethod
    def forward(ctx: Any, qkv: Tensor, layout: Layout, heads: int, scale: float, p: float) -> Tensor:
        query, key, value = qkv.view(len(qkv), 3, heads, -1).unbind(1)
        starts, longest = layout.starts, layout.longest
        attended, normalisers, state, offset, _ = torch.ops.aten._flash_attention_forward(
            query, key, value, starts, starts, longest, longest, p, False, False, scale=scale
        )
        ctx.save_for_backward(qkv, attended, normalisers, starts, state, offset)
        ctx.heads, ctx.longest, ctx.scale, ctx.p = heads, longest, scale, p
        return torch.flatten(attended, 1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        qkv, attended, normalisers, starts, state, offset = ctx.saved_tensors
        query, key, value = qkv.view(len(qkv), 3, ctx.heads, -1).unbind(1)
        outer = gradients[0].contiguous().view_as(attended)
        with fixed_order():
            found = torch.ops.aten._flash_attention_backward(
                outer, query, key, value, attended, normalisers, starts, starts, ctx.longest, ctx.longest, ctx.p,
                False, state, offset, scale=ctx.scale,
            )  # fmt: skip
        return torch.stack(found, dim=1).flatten(1), None, None, None, None


@contextlib.contextmanager
def fixed_order() -> Iterator[None]:
    """torch's kernels that could add up in any order use a fixed one, so that a run resumes to the last bit."""
    strict, warns = torch._C._get_deterministic_algorithms(), torch._C._get_deterministic_algorithms_warn_only()
    deterministic: Any = torch.utils.deterministic
    fills = deterministic.fill_uninitialized_memory
    # torch's own switch also sets up its compiler each time; only to warn would leave flash attention as it was.
    torch._C._set_deterministic_algorithms(True, warn_only=False)
    deterministic.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch._C._set_deterministic_algorithms(strict, warn_only=warns)
        deterministic.fill_uninitialized_memory = fills


def _flash(qkv: Tensor, layout: Layout, heads: int, *, scale: float, p: float) -> Tensor:
    found: Tensor = _Flash.apply(qkv.contiguous(), layout, heads, scale, p)
    return found


def _efficient(qkv: Tensor, layout: Layout, heads: int, *, scale: float) -> Tensor:
    """aten's memory-efficient attention, which takes a row in 32 bits; without a backward pass."""
    query, key, value = qkv.contiguous().view(1, len(qkv), 3, heads, -1).unbind(2)
    starts, longest = layout.starts, layout.longest
    attended = torch.ops.aten._efficient_attention_forward(
        query, key, value, None, starts, starts, longest, longest, 0.0, 0, False, scale=scale
    )[0]
    return torch.flatten(attended[0], 1)


def takes_flash(width: int) -> bool:
    """Whether flash attention takes heads of so many channels."""
    return width % FLASH_WIDTH_STEP == 0 and width <= FLASH_WIDEST


def attention_of(values: Tensor, heads: int, p: float, *, gated: bool) -> Attention:
    """The kernel that is fastest for queries, keys and values `[N, 3 · C]` of this device and precision.

    Args:
        p: dropout; without it and a backward pass there is one more.
    """
    if values.device.type == "cpu":
        return "matmul"
    width = values.shape[-1] // (3 * heads)
    in_16_bits = values.dtype in (torch.bfloat16, torch.float16)
    if values.device.type == "cuda" and (in_16_bits or (p == 0 and not torch.is_grad_enabled())):
        if gated and width <= WIDEST_GATED and runs_triton(values.device):
            return "triton"
        if not gated and takes_flash(width):
            return "flash" if in_16_bits else "efficient"
    return "sdpa"


def attend(
    qkv: Tensor,
    layout: Layout,
    heads: int,
    *,
    p: float = 0.0,
    gate: Tensor | None = None,
    position_bias: Tensor | None = None,
    position_scores: Callable[[Tensor], Tensor] | None = None,
    kernel: Attention | None = None,
) -> Tensor:
    """Scaled dot-product attention within each clip of a row.

    Args:
        qkv: queries, keys and values of each frame one behind the other, `[N, 3 · C]`.
        heads: `H`.
        p: dropout of the attention weights.
        gate: `[N, H]`, multiplied with the position bias and added to the scores.
        position_bias: by distance, `[H, 2 · L − 1]`; or by query and key, `[H, L, L]`, which spares unfolding it.
        position_scores: what is added to the scores of queries: `[B, H, T, D]` → `[B, H, T, T]`.
        kernel: None for the fastest.

    Returns:
        `[N, C]`.
    """
    scale = (qkv.shape[-1] // (3 * heads)) ** -0.5
    if position_scores is not None and kernel is None:
        kernel = "matmul" if qkv.device.type == "cpu" else "sdpa"
    kernel = kernel or attention_of(qkv, heads, p, gated=gate is not None)
    if kernel == "flash":
        return _flash(qkv, layout, heads, scale=scale, p=p)
    if kernel == "efficient":
        return _efficient(qkv, layout, heads, scale=scale)
    if kernel == "triton" and gate is not None and position_bias is not None:
        from unispeech_ft.kernels.gated_attention import gated_attention

        return gated_attention(qkv, layout, gate, position_bias, p)
    if position_bias is not None and position_bias.dim() == 2:
        position_bias = by_query_and_key(position_bias)
    return _in_groups(
        qkv,
        layout,
        heads,
        kernel=kernel,
        scale=scale,
        p=p,
        gate=gate,
        position_bias=position_bias,
        position_scores=position_scores,
    )


def position_bias(attention: Any, longest: int) -> Tensor:
    """The position bias by distance, `[H, 2 · L − 1]`, of a stock WavLM's first layer, from distance `1 − L` on."""
    distances = torch.arange(1 - longest, longest, device=attention.rel_attn_embed.weight.device)
    buckets = attention._relative_positions_bucket(distances)
    return nn.functional.embedding(buckets, attention.rel_attn_embed.weight).T


def by_query_and_key(table: Tensor) -> Tensor:
    """A position bias by distance `[H, 2 · L − 1]` → `[H, L, L]`."""
    return table.unfold(1, (table.shape[1] + 1) // 2, 1).flip(1)


def bias_gate(attention: Any, hidden: Tensor) -> Tensor:
    """The gates `[N, H]` that a stock WavLM attention has for its inputs `[N, C]`."""
    frames = hidden.view(len(hidden), attention.num_heads, attention.head_dim)
    # The stock module sums groups of four outputs; summing their weights first takes a quarter of the products.
    linear = attention.gru_rel_pos_linear
    weight, bias = linear.weight.view(2, 4, -1).sum(1), linear.bias.view(2, 4).sum(1)
    gate_a, gate_b = torch.sigmoid(nn.functional.linear(frames, weight, bias)).unbind(-1)
    gate: Tensor = gate_a * (gate_b * attention.gru_rel_pos_const.view(-1) - 1.0) + 2.0
    return gate
