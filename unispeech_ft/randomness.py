"""Random numbers by name instead of by order, so that processes, workers and restarts cannot change them.

Every stream of random numbers of the toolkit is a member of `Stream`. A draw is named by the seed, its stream and what
it is for (update, micro-batch, clip …); none depends on what was drawn before.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


class Stream(IntEnum):
    """What random numbers are drawn for; the values are part of every run's identity."""

    BATCH_PLAN = 1
    TIME_MASK = 2
    CHANNEL_MASK = 3
    DROPOUT = 4
    LAYERDROP = 5
    VALIDATION_SAMPLE = 6
    GUMBEL_NOISE = 7
    NEGATIVES = 8
    REPLACEMENT = 9
    SHARD_ORDER = 10
    RECORDING_CUT = 11
    WINDOW_ORDER = 12
    EVALUATION_REPLACEMENT = 13
    AUGMENTATION = 14
    CROP = 15
    TRIALS = 16
    SIMULATION = 17
    MIXING = 18
    NOISE = 19
    INSTANCES = 20
    CLUSTERING = 21
    SECOND_TIME_MASK = 22
    SECOND_CHANNEL_MASK = 23
    SIMULATED_NOISE = 24
    SIMULATED_ROOM = 25


def generator(seed: int, stream: Stream, *name: int) -> np.random.Generator:
    """Numpy's generator of one named draw."""
    return np.random.default_rng([seed, int(stream), *name])


def _torch_seed(*name: int) -> int:
    words = np.random.SeedSequence(name).generate_state(2)
    return (int(words[0]) << 31) ^ int(words[1])


def seed_dropout(seed: int, update: int, micro_batch: int) -> None:
    """Seeds torch for the forward pass of one micro-batch."""
    import torch

    torch.manual_seed(_torch_seed(seed, Stream.DROPOUT, update, micro_batch))


def gumbel_generator(seed: int, update: int, micro_batch: int, device: torch.device) -> torch.Generator:
    """Draws the quantiser's noise for one micro-batch."""
    import torch

    return torch.Generator(device).manual_seed(_torch_seed(seed, Stream.GUMBEL_NOISE, update, micro_batch))


def kept_layers(seed: int, update: int, num_layers: int, layerdrop: float, *, keep_first: bool) -> list[int] | None:
    """Indices of the encoder layers that an update runs, None for all of them.

    Args:
        layerdrop: probability that a layer is left out (LayerDrop, Fan et al. 2020).
        keep_first: never leave out the first layer (WavLM's holds the relative position bias of all).
    """
    if layerdrop == 0:
        return None
    draws = generator(seed, Stream.LAYERDROP, update).random(num_layers)
    kept = [index for index in range(num_layers) if draws[index] >= layerdrop or (keep_first and index == 0)]
    return None if len(kept) == num_layers else kept
