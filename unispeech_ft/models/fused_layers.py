"""Encoder layers in 16 bits on a CUDA device: products with copies of the weights, and Triton's kernels between them.

`N` frames of the row, `C` channels, `H` heads, `L` frames of the longest clip. The same sums as in `models.forward`;
what differs is rounding: weights, biases and norms give and take gradients in 32 bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers.activations import GELUActivation

from unispeech_ft.data.row import Layout
from unispeech_ft.kernels.attention import attend, takes_flash
from unispeech_ft.kernels.linear import autocast_dtype
from unispeech_ft.kernels.products import product
from unispeech_ft.kernels.triton_there import runs_triton
from unispeech_ft.models.families import CONDITIONING, backbone, shares_position_bias
from unispeech_ft.models.parts import weight_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class LayerCopies:
    """16-bit copies of what one encoder layer multiplies with.

    Attributes:
        qkv: `[3 · C, C]`, of queries, keys and values.
        qkv_bias: `[3 · C]`.
        output: of the attention, `[C, C]`.
        inner, outer: of the feed-forward block.
    """

    qkv: Tensor
    qkv_bias: Tensor
    output: Tensor
    inner: Tensor
    outer: Tensor


def _projections(layer: Any) -> tuple[Any, Any, Any]:
    return layer.attention.q_proj, layer.attention.k_proj, layer.attention.v_proj


def _single(layer: Any) -> list[Tensor]:
    block = layer.feed_forward
    return [weight_of(layer.attention.out_proj), weight_of(block.intermediate_dense), weight_of(block.output_dense)]


def copies_of(layers: Sequence[Any], dtype: torch.dtype) -> list[LayerCopies]:
    """The copies for one pass."""
    found = []
    for layer in layers:
        weight = layer.attention.q_proj.weight
        channels = weight.shape[0]
        qkv = weight.new_empty(3 * channels, weight.shape[1], dtype=dtype)
        qkv_bias = weight.new_empty(3 * channels, dtype=dtype)
        found.append(LayerCopies(qkv, qkv_bias, *(torch.empty_like(w, dtype=dtype) for w in _single(layer))))
    refresh(*copied(found, layers))
    return found


def copied(copies: Sequence[LayerCopies], layers: Sequence[Any]) -> tuple[list[Tensor], list[Tensor]]:
    """The tensors of copies, and the weights and biases that each is copied from."""
    targets: list[Tensor] = []
    originals: list[Tensor] = []
    for copy, layer in zip(copies, layers, strict=True):
        channels = len(copy.output)
        targets += [*copy.qkv.split(channels), *copy.qkv_bias.split(channels), copy.output, copy.inner, copy.outer]
        originals += [weight_of(projection) for projection in _projections(layer)]
        originals += [projection.bias for projection in _projections(layer)] + _single(layer)
    return targets, originals


@torch.no_grad()
def refresh(targets: list[Tensor], originals: list[Tensor]) -> None:
    """Brings copies up to date, all together: autocast would cast one weight after another."""
    torch._foreach_copy_(targets, originals)


def can_fuse(model: PreTrainedModel, hidden: Tensor) -> bool:
    """Whether this model's layers can take hidden states of this device and autocast precision."""
    encoder: Any = backbone(model).encoder
    if hidden.device.type != "cuda" or autocast_dtype(hidden) not in (torch.bfloat16, torch.float16):
        return False
    if hasattr(model, CONDITIONING):
        return False
    layer = encoder.layers[0]
    plain = isinstance(layer.feed_forward.intermediate_act_fn, GELUActivation)
    plain = plain and getattr(layer, "adapter_layer", None) is None and hidden.shape[1] <= 4096
    plain = plain and (shares_position_bias(model.config) or takes_flash(layer.attention.head_dim))
    return plain and getattr(model, "fused_layers", True) and runs_triton(hidden.device)


def _gate(attention: Any, normed: Tensor) -> Tensor:
    from unispeech_ft.kernels.gate import fused_bias_gate

    linear = attention.gru_rel_pos_linear
    return fused_bias_gate(normed, linear.weight, linear.bias, attention.gru_rel_pos_const)


def fused_layer(
    layer: Any,
    copies: LayerCopies,
    hidden: Tensor,
    normed: Tensor,
    layout: Layout,
    table: Tensor | None,
    next_norm: nn.LayerNorm | SimpleNamespace | None,
) -> tuple[Tensor, Tensor]:
    """One encoder layer.

    Args:
        hidden: `[N, C]` in 16 bits, the residual stream.
        normed: `[N, C]`, what the layer multiplies; where norms stand last the same as `hidden`.
        table: WavLM's position bias by distance, `[H, 2 · L − 1]`.
        next_norm: the first norm of the next layer, or the encoder's last, by weight, bias and eps; None where norms
            stand last.

    Returns:
        `hidden` and `normed` of the next layer.
    """
    from unispeech_ft.kernels.fused import add_norm, gelu

    attention, block = layer.attention, layer.feed_forward
    p = layer.dropout.p if layer.training else 0.0
    weights, biases = zip(*((weight_of(module), module.bias) for module in _projections(layer)), strict=True)
    qkv = product(normed, copies.qkv, weights, copies.qkv_bias, biases)
    gate = None if table is None else _gate(attention, normed)
    attended = attend(
        qkv, layout, attention.num_heads, p=attention.dropout if layer.training else 0.0, gate=gate, position_bias=table
    )
    found = product(attended, copies.output, (weight_of(attention.out_proj),))
    norm = layer.layer_norm if next_norm is None else layer.final_layer_norm
    hidden, normed = add_norm(found, attention.out_proj.bias, hidden, norm, p)
    hidden = normed if next_norm is None else hidden
    found = product(normed, copies.inner, (weight_of(block.intermediate_dense),))
    inner = gelu(found, block.intermediate_dense.bias, block.intermediate_dropout.p if layer.training else 0.0)
    found = product(inner, copies.outer, (weight_of(block.output_dense),))
    norm = next_norm or layer.final_layer_norm
    p = block.output_dropout.p if layer.training else 0.0
    hidden, normed = add_norm(found, block.output_dense.bias, hidden, norm, p)
    return (normed, normed) if next_norm is None else (hidden, normed)
