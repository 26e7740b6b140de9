"""What the encoder layers of all families are made of, on a row of frames.

`N` frames of the row, `C` hidden channels, `O` outputs and `I` inputs of a projection.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from unispeech_ft.kernels.dropout import dropout
from unispeech_ft.kernels.linear import linear

# What a projection has around which peft put a low-rank adapter.
ADAPTED = "get_delta_weight"


def weight_of(projection: Any) -> Tensor:
    """What a linear layer multiplies with, `[O, I]`; with an adapter the frozen weight and the product beside it, in 32
    bits whatever autocast says: in 16 the sum would not be the one that is merged."""
    weight: Tensor = projection.weight
    if hasattr(projection, ADAPTED):
        with torch.autocast(weight.device.type, enabled=False):
            weight = weight + projection.get_delta_weight(*projection.active_adapters)
    return weight


def apply(module: Any, hidden: Tensor) -> Tensor:
    """A linear layer on `[N, C]`."""
    return linear(hidden, weight_of(module), module.bias)


def joined(projections: Sequence[Any], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Weights and biases of linear layers one behind the other, so that one product serves them all."""
    weight = torch.cat([weight_of(projection).to(dtype) for projection in projections])
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
