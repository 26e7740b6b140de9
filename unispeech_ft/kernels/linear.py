"""Linear layers in 32 bits on an x86 CPU as oneDNN's matrix products.

`M` rows, `K` inputs, `N` outputs. torch leaves products in 32 bits to MKL, which reaches less than half of oneDNN's
speed on AMD's processors; those in 16 bits it gives to oneDNN itself.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


def _onednn_dtypes() -> tuple[torch.dtype, ...]:
    """The precisions in which this torch has oneDNN's linear layer for dense tensors; none where it lacks it."""
    if not (torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")):
        return ()
    in_16_bits = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return (torch.float32, torch.bfloat16) if in_16_bits else (torch.float32,)


ONEDNN_DTYPES = _onednn_dtypes()


def product(left: Tensor, right: Tensor, bias: Tensor | None = None, *, gelu: bool = False) -> Tensor:
    """`left @ right.T + bias` without a graph for a backward pass.

    Args:
        left: `[M, K]`, copied where it is not contiguous.
        right: `[N, K]`, contiguous or the transpose of a contiguous tensor.
        bias: `[N]`.
        gelu: whether the exact GELU of it is wanted.

    Returns:
        `[M, N]`.
    """
    if torch.compiler.is_compiling():
        opaque: Tensor = _opaque_product(left, right, bias, gelu)
        return opaque
    if left.device.type == "cpu" and left.dtype in ONEDNN_DTYPES:
        activation: tuple[str, list[float], str] = ("gelu", [], "none") if gelu else ("none", [], "")
        found: Tensor = torch.ops.mkldnn._linear_pointwise(left, right, bias, *activation)
        return found
    products = nn.functional.linear(left, right, bias)
    return nn.functional.gelu(products) if gelu else products


@torch.library.custom_op("unispeech_ft::product", mutates_args=())
def _opaque_product(left: Tensor, right: Tensor, bias: Tensor | None, gelu: bool) -> Tensor:
    """`product` as one node of a compiled graph: the compiler's own lowering of oneDNN's layer wants fixed weights."""
    return product(left, right, bias, gelu=gelu)


@_opaque_product.register_fake
def _(left: Tensor, right: Tensor, bias: Tensor | None, gelu: bool) -> Tensor:
    return left.new_empty(left.shape[0], right.shape[0])


class _Linear(torch.autograd.Function):
    """`[M, K]` → `[M, N]`."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(rows, weight)
        return product(rows, weight, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        rows, weight = ctx.saved_tensors
        for_rows, for_weight, for_bias = ctx.needs_input_grad
        outer = gradients[0].contiguous()
        row_gradient = weight_gradient = bias_gradient = None
        if for_rows:
            row_gradient = product(outer, weight.T)
        if for_weight:
            # The left one is copied, so it is the smaller.
            smaller_outer = outer.shape[1] <= rows.shape[1]
            weight_gradient = product(outer.T, rows.T) if smaller_outer else product(rows.T, outer.T).T
        if for_bias:
            bias_gradient = outer.sum(0)
        return row_gradient, weight_gradient, bias_gradient


def autocast_dtype(tensor: Tensor) -> torch.dtype:
    """The precision in which autocast, where it is on, would have a product of this tensor."""
    kind = tensor.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else tensor.dtype


def linear(inputs: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`inputs @ weight.T + bias`, by oneDNN in 32 bits on a CPU, forward and backward; else the stock product.

    Args:
        inputs: `[M, K]`.
        weight: `[N, K]`.
        bias: `[N]`.

    Returns:
        `[M, N]`.
    """
    in_32_bits = inputs.dtype == weight.dtype == autocast_dtype(inputs) == torch.float32
    if inputs.device.type != "cpu" or not in_32_bits or torch.float32 not in ONEDNN_DTYPES:
        return nn.functional.linear(inputs, weight, bias)
    found: Tensor = _Linear.apply(inputs, weight, bias)
    return found
