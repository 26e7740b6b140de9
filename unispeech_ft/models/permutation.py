"""Losses that do not mind in which order a network names the speakers (permutation-free training).

`B` clips, `P` speakers.
Source: Yu et al. 2017; Fujita et al. 2019.
"""

from __future__ import annotations

from itertools import permutations

import torch
from torch import Tensor


def all_orders(size: int, device: torch.device) -> Tensor:
    """Each order of so many speakers, `[P!, P]`: the reference of each output."""
    return torch.tensor(list(permutations(range(size))), device=device)


def best_permutation(costs: Tensor) -> tuple[Tensor, Tensor]:
    """The cheapest way to give each output of a clip a reference of its own.

    Args:
        costs: `[B, P, P]`, of output i for reference j.

    Returns:
        Σ cost of each clip `[B]`, with gradient, and the reference of each output `[B, P]`.
    """
    size = costs.shape[1]
    orders = all_orders(size, costs.device)
    sums = costs[:, torch.arange(size, device=costs.device), orders].sum(dim=-1)
    cheapest, place = sums.min(dim=1)
    return cheapest, orders[place]
