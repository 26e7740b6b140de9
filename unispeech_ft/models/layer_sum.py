"""A learned weighted sum over what all encoder layers say, as SUPERB's protocol and the speaker models take it.

`L` layers and the encoder's output, `N` frames, `C` hidden channels.
Source: Yang et al. 2021, "SUPERB", section 3; downstreams/speaker_verification/models/ecapa_tdnn.py.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class LayerSum(nn.Module):
    """`L + 1` times `[N, C]` → `[N, C]`; the weights are a softmax of parameters that start at zero."""

    def __init__(self, num_layers: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(num_layers + 1))

    def forward(self, states: Sequence[Tensor]) -> Tensor:
        shares = self.weights.softmax(dim=0)
        summed = shares[0] * states[0]
        for share, state in zip(shares[1:], states[1:], strict=True):
            summed = summed + share * state
        return summed
