"""What the encoder layers of all families are made of, on a row of frames.

`N` frames of the row, `C` hidden channels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from unispeech_ft.kernels.dropout import dropout
from unispeech_ft.kernels.linear import linear


def apply(module: Any, hidden: Tensor) -> Tensor:
    """A linear layer on `[N, C]`."""
    return linear(hidden, module.weight, module.bias)


def joined(projections: Sequence[Any], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Weights and biases of linear layers one behind the other, so that one product serves them all."""
    weight = torch.cat([projection.weight.to(dtype) for projection in projections])
    return weight, torch.cat([projection.bias.to(dtype) for projection in projections])


def drop(module: Any, hidden: Tensor) -> Tensor:
    """A stock dropout."""
    return dropout(hidden, module.p, module.training)


def feed_forward(module: Any, hidden: Tensor) -> Tensor:
    """A stock feed-forward block, `[N, C]` → `[N, C]`."""
    inner = module.intermediate_act_fn(apply(module.intermediate_dense, hidden))
    return drop(module.output_dropout, apply(module.output_dense, drop(module.intermediate_dropout, inner)))


def checkpointed(layer: Any, run: Callable[..., Any], *arguments: object) -> Any:
    """`run(layer, …)`, computed again in the backward pass where the layer's gradients are checkpointed."""
    if layer.training and getattr(layer, "gradient_checkpointing", False) and torch.is_grad_enabled():
        return layer._gradient_checkpointing_func(run, layer, *arguments)
    return run(layer, *arguments)
