"""Random numbers by name instead of by order, so that processes, workers and restarts cannot change them."""

from __future__ import annotations

import numpy as np
import torch

_DROPOUT, _LAYERDROP, _GUMBEL = 4, 5, 7


def _seed(*name: int) -> int:
    words = np.random.SeedSequence(name).generate_state(2)
    return (int(words[0]) << 31) ^ int(words[1])


def seed_dropout(seed: int, update: int, sub_batch: int) -> None:
    """Seeds torch for the forward pass of one sub-batch."""
    torch.manual_seed(_seed(seed, _DROPOUT, update, sub_batch))


def gumbel_generator(seed: int, update: int, sub_batch: int, device: torch.device) -> torch.Generator:
    """Draws the quantiser's noise for one sub-batch."""
    return torch.Generator(device).manual_seed(_seed(seed, _GUMBEL, update, sub_batch))


def kept_layers(seed: int, update: int, num_layers: int, layerdrop: float, *, keep_first: bool) -> list[int] | None:
    """Places of the encoder layers that an update runs, None for all of them.

    Args:
        layerdrop: probability that a layer is left out (LayerDrop, Fan et al. 2020).
        keep_first: never leave out the first layer (WavLM's holds the relative position bias of all).
    """
    if layerdrop == 0:
        return None
    draws = np.random.default_rng([seed, _LAYERDROP, update]).random(num_layers)
    kept = [place for place in range(num_layers) if draws[place] >= layerdrop or (keep_first and place == 0)]
    return None if len(kept) == num_layers else kept
