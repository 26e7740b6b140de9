"""A learned weighted sum over what all encoder layers say, as SUPERB's protocol and the speaker models take it.

`L` layers and the encoder's output, `N` frames, `C` hidden channels, `V` rows of a head.
Source: Yang et al. 2021, "SUPERB", section 3; downstreams/speaker_verification/models/ecapa_tdnn.py.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

PROJECTED = 256


def weighted_sum(states: Sequence[Tensor], weights: Tensor) -> Tensor:
    """Tensors of one shape, one for each of the weights, of which the softmax is taken."""
    shares = weights.softmax(dim=0)
    summed = shares[0] * states[0]
    for share, state in zip(shares[1:], states[1:], strict=True):
        summed = summed + share * state
    return summed


class LayerSum(nn.Module):
    """`L + 1` times `[N, C]` → `[N, C]`; the weights are a softmax of parameters that start at zero."""

    def __init__(self, num_layers: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(num_layers + 1))

    def forward(self, states: Sequence[Tensor]) -> Tensor:
        return weighted_sum(states, self.weights)


class LayerSumHead(nn.Module):
    """`L + 1` times `[N, C]` → logits `[N, V]`: SUPERB's head of phones, without a step that is not linear."""

    def __init__(self, num_layers: int, width: int, rows: int) -> None:
        super().__init__()
        self.layer_sum = LayerSum(num_layers)
        self.project = nn.Linear(width, PROJECTED)
        self.out = nn.Linear(PROJECTED, rows)

    def forward(self, states: Sequence[Tensor]) -> Tensor:
        logits: Tensor = self.out(self.project(self.layer_sum(states)))
        return logits.to(torch.promote_types(logits.dtype, torch.float32))
