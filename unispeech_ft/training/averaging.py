"""Means of the weights, a running one and one of the best, beside those that train; the validation split says which
of them are kept.

Source: Polyak and Juditsky 1992, "Acceleration of stochastic approximation by averaging"; the decay that grows at the
start is TensorFlow's, `ExponentialMovingAverage`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from unispeech_ft.config.sections import TrainingConfig
from unispeech_ft.errors import UserError


def check_validation(training: TrainingConfig, *, probe: bool, can_score: bool) -> None:
    """Whether there is a validation split where something is chosen by it: averaged weights, or the rate of a probe.

    Args:
        can_score: whether there is a validation split.

    Raises:
        UserError: there is none.
    """
    if can_score:
        return
    if probe:
        raise UserError("a probe needs a validation split, which chooses its learning rate", remedy="name one in data")
    keys = {"ema_decay": training.ema_decay, "average_best": training.average_best}
    for key in (name for name, value in keys.items() if value is not None):
        raise UserError(
            f"training.{key} is {keys[key]:g}, but there is no validation split, which says whether averaged weights"
            " are better",
            remedy=f"name one in data.validation, or go without (--training.{key} null)",
        )


def _training(network: nn.Module) -> dict[str, nn.Parameter]:
    return {name: weight for name, weight in network.named_parameters() if weight.requires_grad}


@torch.no_grad()
def _put(weights: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
    for name, weight in weights.items():
        weight.copy_(values[name])


@contextmanager
def _in_place(weights: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> Iterator[None]:
    before = {name: weight.detach().clone() for name, weight in weights.items()}
    _put(weights, values)
    try:
        yield
    finally:
        _put(weights, before)


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
        self._weights = _training(network)
        self.values = {name: weight.detach().clone() for name, weight in self._weights.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Takes the weights as they are now into the average."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        torch._foreach_lerp_(list(self.values.values()), list(self._weights.values()), 1 - decay)

    def in_place(self) -> AbstractContextManager[None]:
        """The network has the average as its weights while the block runs, and then, to the bit, what it had."""
        return _in_place(self._weights, self.values)

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


@dataclass(frozen=True)
class _Kept:
    """Weights that were scored, on the host."""

    error: float
    update: int
    values: Mapping[str, Tensor]


class BestWeights:
    """The mean of the weights that scored best on the validation split; every process keeps the same.

    Args:
        most: so many of them, at most.
    """

    def __init__(self, network: nn.Module, most: int) -> None:
        self.most, self._weights = most, _training(network)
        self._kept: list[_Kept] = []

    @property
    def updates(self) -> list[int]:
        """After which the weights were taken, in order."""
        return sorted(kept.update for kept in self._kept)

    def take(self, error: float | None, update: int) -> bool:
        """Takes the weights as they are now if they are among the best; whether there is a new mean of several.

        Args:
            error: of these weights; None where it is not finite.
        """
        full = len(self._kept) == self.most
        if error is None or (full and error >= max(kept.error for kept in self._kept)):
            return False
        values = {name: weight.detach().to("cpu", copy=True) for name, weight in self._weights.items()}
        ranked = sorted([*self._kept, _Kept(error, update, values)], key=lambda kept: (kept.error, kept.update))
        self._kept = ranked[: self.most]
        return len(self._kept) > 1

    def mean(self) -> dict[str, Tensor]:
        """Of each weight, summed in the order of the updates."""
        ordered = sorted(self._kept, key=lambda kept: kept.update)
        return {name: torch.stack([kept.values[name] for kept in ordered]).mean(dim=0) for name in self._weights}

    def in_place(self) -> AbstractContextManager[None]:
        """As of `AveragedWeights`."""
        return _in_place(self._weights, self.mean())

    def state(self) -> list[dict[str, Any]]:
        """What a checkpoint holds."""
        return [{"error": kept.error, "update": kept.update, "values": dict(kept.values)} for kept in self._kept]

    def load(self, state: Sequence[Mapping[str, Any]]) -> None:
        """Goes on from what `state` gave; of more than `most`, the best."""
        self._kept = [
            _Kept(item["error"], item["update"], {name: value.cpu() for name, value in item["values"].items()})
            for item in state[: self.most]
        ]
