"""A running mean of the weights, beside those that train; the validation split says which of them are kept.

Source: Polyak and Juditsky 1992, "Acceleration of stochastic approximation by averaging"; the decay that grows at the
start is TensorFlow's, `ExponentialMovingAverage`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class AveragedWeights:
    """The exponential moving average of whatever trains in a network; every process keeps the same.

    Args:
        decay: share of the average that an update leaves, once there were many; after `n` updates at most
            (1 + n) ÷ (10 + n).

    Attributes:
        values: the average of each weight, by its name.
        updates: that are in it.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay, self.updates = decay, 0
        self._weights = {name: weight for name, weight in network.named_parameters() if weight.requires_grad}
        self.values = {name: weight.detach().clone() for name, weight in self._weights.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Takes the weights as they are now into the average."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        torch._foreach_lerp_(list(self.values.values()), list(self._weights.values()), 1 - decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The network has the average as its weights while the block runs, and then, to the bit, what it had."""
        before = {name: weight.detach().clone() for name, weight in self._weights.items()}
        self._put(self.values)
        try:
            yield
        finally:
            self._put(before)

    @torch.no_grad()
    def _put(self, values: Mapping[str, Tensor]) -> None:
        for name, weight in self._weights.items():
            weight.copy_(values[name])

    def state(self) -> dict[str, object]:
        """What a checkpoint holds."""
        return {"updates": self.updates, "values": self.values}

    @torch.no_grad()
    def load(self, state: Mapping[str, object]) -> None:
        """Goes on from what `state` gave."""
        values = state["values"]
        assert isinstance(values, Mapping)
        self.updates = int(str(state["updates"]))
        for name, average in self.values.items():
            average.copy_(values[name])
