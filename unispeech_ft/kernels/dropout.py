"""Dropout on a CPU, where the stock one draws its random numbers one by one and takes a fifth of a training step.

The masks are 8-bit draws of numpy's SFC64, seeded from torch's generator at each call: reseeding torch (see
`training.randomness`) or restoring its state, as gradient checkpointing does, repeats them.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

BLOCK = 1024


def keep_mask(shape: torch.Size, p: float) -> tuple[Tensor, float]:
    """A random mask, 1 where a value is kept and 0 elsewhere (8 bits), and the factor that keeps the mean.

    Args:
        p: probability of dropping, realised to 2⁻²⁴.
    """
    seed = torch.randint(2**62, ())
    draw = _opaque_draw if torch.compiler.is_compiling() else _draw
    return draw(seed, list(shape), p), 1 / (1 - p)


def _draw(seed: Tensor, shape: list[int], p: float) -> Tensor:
    """The mask of `keep_mask`.

    Eight bits know p to 1/256 only. What is left over decides for each block of values whether one more of the 256
    draws drops, so that every value is dropped with probability p.
    """
    count = math.prod(shape)
    blocks = -(-count // BLOCK)
    generator = np.random.SFC64(int(seed))
    draws = generator.random_raw(blocks * BLOCK // 8).view(np.uint8).reshape(blocks, BLOCK)
    steps, rest = divmod(round(p * 2**24), 2**16)
    one_more = generator.random_raw(-(-blocks // 4)).view(np.uint16)[:blocks] < rest
    kept = draws >= (steps + one_more).astype(np.uint8)[:, None]
    return torch.from_numpy(kept.reshape(-1)[:count].view(np.uint8)).view(shape)


_opaque_draw = torch.library.custom_op("unispeech_ft::draw", _draw, mutates_args=())


@_opaque_draw.register_fake
def _(seed: Tensor, shape: list[int], p: float) -> Tensor:
    return torch.empty(shape, dtype=torch.uint8)


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


def dropout(values: Tensor, p: float, training: bool = True) -> Tensor:
    """Drops values with probability `p` and scales the others; stock dropout on devices but the CPU."""
    if p == 0 or not training:
        return values
    if values.device.type != "cpu" or p > 255 / 256:
        return nn.functional.dropout(values, p)
    dropped: Tensor = _Dropout.apply(values, p)
    return dropped
