"""Norms over the frames of clips in a padded batch that padding has no part in.

`B` clips, `C` channels, `T` frames, `N` frames of a row; the mask `[B, 1, T]` is 1 where a frame exists, else 0.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

EPS, SHARE_OF_AN_UPDATE = 1e-5, 0.1


class MaskedBatchNorm(nn.Module):
    """Batch norm whose running statistics change once an update, by those of all its micro-batches.

    A forward pass in training notes its statistics; `noted_statistics` hands them out to be summed over processes, and
    `take_statistics` puts their mean in. So processes keep the same network, and two make what one makes.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(num_features)), nn.Parameter(torch.zeros(num_features))
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features))
        self.noted: list[Tensor] = []

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """`[B, C, T]` → `[B, C, T]`, zero where no frame is."""
        if self.training:
            count = mask.sum()
            mean = (hidden * mask).sum(dim=(0, 2)) / count
            variance = ((hidden - mean[:, None]).square() * mask).sum(dim=(0, 2)) / count
            unbiased = variance * count / (count - 1).clamp(min=1)
            self.noted.append(torch.stack([mean, unbiased]).detach())
        else:
            mean, variance = self.running_mean, self.running_var
        scale = self.weight * torch.rsqrt(variance + EPS)
        return (hidden * scale[:, None] + (self.bias - mean * scale)[:, None]) * mask


class ConvUnit(nn.Module):
    """Convolution, ReLU, batch norm, in this order: `[B, C, T]` → `[B, C, T]`."""

    def __init__(self, inside: int, outside: int, kernel: int = 1, dilation: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv1d(inside, outside, kernel, dilation=dilation, padding=dilation * (kernel // 2))
        self.norm = MaskedBatchNorm(outside)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        normed: Tensor = self.norm(self.conv(hidden).relu(), mask)
        return normed


def with_features(heard: Tensor, features: Tensor, norm: MaskedBatchNorm | None) -> Tensor:
    """What a head hears of a row, `[N, C]`, and its normed features `[N, F]` beside it; without a norm as it is."""
    if norm is None:
        return heard
    normed = norm(features.T[None], torch.ones_like(features[None, None, :, 0]))[0].T
    return torch.cat([heard, normed.to(heard.dtype)], dim=-1)


def _norms(network: nn.Module) -> Iterator[MaskedBatchNorm]:
    return (module for module in network.modules() if isinstance(module, MaskedBatchNorm))


def num_statistics(network: nn.Module) -> int:
    """Length of what `noted_statistics` gives."""
    return 1 + sum(2 * len(norm.bias) for norm in _norms(network))


def noted_statistics(network: nn.Module) -> Tensor:
    """Sums over the forward passes since it was last asked: how many there were, then means and variances."""
    passes = max((len(norm.noted) for norm in _norms(network)), default=0)
    sums = [torch.stack(norm.noted).sum(dim=0).flatten() for norm in _norms(network) if norm.noted]
    for norm in _norms(network):
        norm.noted.clear()
    return torch.cat([torch.tensor([float(passes)], device=sums[0].device), *sums]) if sums else torch.zeros(1)


@torch.no_grad()
def take_statistics(network: nn.Module, sums: Tensor) -> None:
    """Moves the running statistics towards the mean of what was noted, unless that is not finite.

    Args:
        sums: `noted_statistics`, added up over micro-batches and processes.
    """
    noted = sums[1:] / sums[0].clamp(min=1)
    finite = noted.isfinite().all()
    start = 0
    for norm in _norms(network):
        for buffer in (norm.running_mean, norm.running_var):
            seen = noted[start : start + len(buffer)]
            buffer.copy_(torch.where(finite, buffer.lerp(seen, SHARE_OF_AN_UPDATE), buffer))
            start += len(buffer)


def instance_norm(hidden: Tensor, mask: Tensor, eps: float = EPS) -> Tensor:
    """`[B, C, T]` → zero mean and unit (biased) variance over the frames of each clip and channel."""
    count = mask.sum(dim=2, keepdim=True)
    mean = (hidden * mask).sum(dim=2, keepdim=True) / count
    centred = (hidden - mean) * mask
    return centred * torch.rsqrt(centred.square().sum(dim=2, keepdim=True) / count + eps)
