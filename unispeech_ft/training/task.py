"""What a task answers, so that the engine can train it without knowing it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from torch import Tensor, nn

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


class MicroBatch(Protocol):
    """What passes through the network at once.

    Attributes:
        index: names its dropout within the update.
        epoch: pass over the data that it comes from, from 0.
    """

    @property
    def index(self) -> int: ...

    @property
    def epoch(self) -> int: ...

    def to(self, device: torch.device) -> Any: ...


Batch = TypeVar("Batch", bound=MicroBatch)


@dataclass(frozen=True)
class UpdateShare(Generic[Batch]):
    """One update as one process sees it.

    Attributes:
        number: from 0, counted over the whole run.
        micro_batches: those of this process, to be taken one at a time; none where there are more processes.
        weight: what the summed loss is divided by, where that is known beforehand; None for the sum of the
            micro-batches' weights over all processes, known after the transfer.
        padded_s: seconds of audio of the whole update, padding included; None where the task's figures say it.
    """

    number: int
    micro_batches: Iterator[Batch]
    weight: float | None
    padded_s: float | None


@dataclass(frozen=True)
class SummedLoss:
    """What one micro-batch adds to its update.

    Attributes:
        loss: with gradient, summed and not divided.
        weight: its share of the update's weight.
        sums: `[K]`, further sums to log, without gradient; `K` is the task's `num_sums`.
    """

    loss: Tensor
    weight: float
    sums: Tensor | None = None


@dataclass(frozen=True)
class Score:
    """The validation split as scored by a task.

    Attributes:
        values: what is logged, by name.
        error: decides which model is the best, the lowest; None where no model is kept as the best.
        text: for people.
        warnings: for people; those of an early model are not shown.
    """

    values: Mapping[str, Any]
    error: float | None
    text: str
    warnings: Sequence[str] = ()


class Task(ABC, Generic[Batch]):
    """A network, the data it trains on, and its loss.

    Attributes:
        network: on the process's device.
        identity: of data, labels, batches and model (`checkpoint.identity_of`); checkpoints of another are refused.
        num_sums: `K`, of `SummedLoss.sums`.
        can_score: whether there is a validation split.
        head: beginnings of the names of the parameters that have `optimizer.head_lr`.
    """

    network: PreTrainedModel
    identity: str
    num_sums: int = 0
    can_score: bool = False
    head: tuple[str, ...] = ()

    @abstractmethod
    def updates(self, first: int, last: int, state: Mapping[str, Any] | None) -> Iterator[UpdateShare[Batch]]:
        """The updates first ≤ number < last. The micro-batches of one are all taken before the next is asked for.

        Args:
            state: what `state` gave at the checkpoint that the run goes on from; None at its start.

        Raises:
            UserError: the data cannot be read.
        """

    @abstractmethod
    def loss(self, update: int, micro_batch: Batch) -> SummedLoss:
        """The loss of one micro-batch on the network's device; everything random in it is named by update and index."""

    @abstractmethod
    def trained_parameters(self, update: int) -> list[nn.Parameter]:
        """What an update changes, the same on every process. All others keep value and optimiser state."""

    def figures(self, update: int, sums: Tensor, weight: Tensor) -> Mapping[str, Tensor]:
        """What is logged of an update, each a scalar on the device.

        Args:
            sums: `[K]`, over all processes.
            weight: of the update.
        """
        return {}

    def absorb(self, sums: Tensor) -> None:
        """Puts into the network what an update's `sums` `[K]`, over all processes, say of it besides its gradients:
        running statistics. It must bear sums that are not finite, and ask the device for nothing."""

    def warnings(self, figures: Mapping[str, float]) -> list[str]:
        """What people must be warned of after one more update."""
        return []

    def clips_of(self, update: int) -> list[str]:
        """The names of the clips of an update, to be told where it went wrong; empty where they are not known."""
        return []

    def score(self) -> Score:
        """Scores the validation split; asked on every process, and only where `can_score` says so."""
        raise NotImplementedError

    def parts(self, micro_batch: Batch) -> Sequence[Batch]:
        """A micro-batch in as many parts as the memory of the device asks for; their losses add up to its own."""
        return (micro_batch,)

    def halve(self) -> bool:
        """Asked when the device ran out of memory: makes the parts half as large, and says whether that is possible."""
        return False

    def state(self) -> Mapping[str, Any] | None:
        """What of the task's own a checkpoint must hold, in plain JSON; asked on every process at the same time."""
        return None
