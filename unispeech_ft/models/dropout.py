"""Dropout on a CPU, where the stock one draws its random numbers one by one and takes a fifth of a training step.

The masks are 16-bit draws of numpy's SFC64, seeded from torch's generator at each call: reseeding torch (see
`training.randomness`) or restoring its state, as gradient checkpointing does, repeats them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

STEPS = 1 << 16


def keep_mask(shape: torch.Size, p: float) -> tuple[Tensor, float]:
    """A random mask, 1 where a value is kept and 0 elsewhere (8 bits), and the factor that keeps the mean.

    Args:
        p: probability of dropping, realised to 1/65,536.
    """
    dropped = round(p * STEPS)
    seed = int(torch.randint(2**62, ()))
    count = shape.numel()
    draws = np.random.SFC64(seed).random_raw(-(-count // 4)).view(np.int16)
    # numpy compares 16-bit numbers ten times as fast as torch, and torch widens 8-bit ones as fast against booleans.
    kept = (draws[:count] >= np.int16(dropped - STEPS // 2)).view(np.uint8)
    return torch.from_numpy(kept).view(shape), STEPS / (STEPS - dropped)


def _masked(values: Tensor, mask: Tensor, scale: float) -> Tensor:
    return mask.to(values.dtype).mul_(scale).mul_(values)


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, p: float) -> Tensor:
        mask, ctx.scale = keep_mask(values.shape, p)
        ctx.save_for_backward(mask)
        return _masked(values, mask, ctx.scale)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (mask,) = ctx.saved_tensors
        return _masked(gradients[0], mask, ctx.scale), None


def dropout(values: Tensor, p: float) -> Tensor:
    """Drops values with probability `p` below 1 and scales the others; stock dropout on devices but the CPU."""
    if p == 0:
        return values
    if values.device.type != "cpu" or p >= 1 - 1 / STEPS:
        return nn.functional.dropout(values, p)
    return _Dropout.apply(values, p)


class Dropout(nn.Module):
    """`nn.Dropout` with the masks of this module."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, values: Tensor) -> Tensor:
        return dropout(values, self.p) if self.training else values


def replace_dropouts(model: nn.Module) -> None:
    """Puts these dropouts in the place of all stock ones."""
    for module in model.modules():
        for name, child in module.named_children():
            if type(child) is nn.Dropout:
                setattr(module, name, Dropout(child.p).train(child.training))
