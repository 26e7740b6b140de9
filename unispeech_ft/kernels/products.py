"""Products with 16-bit copies of weights whose gradients come in 32 bits.

`M` rows, `K` inputs, `N` outputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def _outer_product(outer: Tensor, inputs: Tensor) -> Tensor:
    """`[M, N]`, `[M, K]` → `[N, K]` in 32 bits, also where both are in 16."""
    if outer.device.type == "cuda" and outer.dtype != torch.float32:
        return torch.mm(outer.T, inputs, out_dtype=torch.float32)
    return outer.T.float() @ inputs.float()


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, inputs: Tensor, copy: Tensor, bias_copy: Tensor | None, num_weights: int, *originals: Tensor
    ) -> Tensor:
        ctx.save_for_backward(inputs, copy)
        ctx.sizes = [len(original) for original in originals]
        ctx.num_weights = num_weights
        return inputs @ copy.T if bias_copy is None else torch.addmm(bias_copy, inputs, copy.T)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        inputs, copy = ctx.saved_tensors
        outer = gradients[0].contiguous()
        found: list[Tensor | None] = [outer @ copy if ctx.needs_input_grad[0] else None, None, None, None]
        weights, biases = ctx.sizes[: ctx.num_weights], ctx.sizes[ctx.num_weights :]
        wanted = ctx.needs_input_grad[4:]
        if any(wanted[: ctx.num_weights]):
            found += _outer_product(outer, inputs).split(weights)
        else:
            found += [None] * len(weights)
        if any(wanted[ctx.num_weights :]):
            found += outer.sum(0, dtype=torch.float32).split(biases)
        else:
            found += [None] * len(biases)
        return tuple(found)


def product(
    inputs: Tensor,
    copy: Tensor,
    weights: Sequence[Tensor],
    bias_copy: Tensor | None = None,
    biases: Sequence[Tensor] = (),
) -> Tensor:
    """`inputs @ copy.T + bias_copy`; the gradients go to the weights and biases that were copied.

    Args:
        inputs: `[M, K]` in 16 bits.
        copy: `[N, K]` in 16 bits, the weights one below the other.
        weights: in 32 bits, `N` rows in all.
        bias_copy: `[N]` in 16 bits.
        biases: in 32 bits, `N` values in all.

    Returns:
        `[M, N]`.
    """
    found: Tensor = _Product.apply(inputs, copy, bias_copy, len(weights), *weights, *biases)
    return found
