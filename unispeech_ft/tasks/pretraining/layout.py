"""Which speech each micro-batch of a pre-training update comes from, decided before the run starts.

An update has a fixed number of micro-batches. The first of them read unlabelled streams, each a stream of its own, the
others take the next labelled micro-batches of the batch plan. Process r of n takes those with the indices r, r + n, …
So the same YAML gives the same updates on any number of processes, as in a fine-tuning (`data.batch_plan`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from unispeech_ft.data.batch_plan import BatchPlan, MicroBatch


@dataclass(frozen=True)
class UpdateLayout:
    """The layout of the updates.

    Attributes:
        count: micro-batches of an update.
        unlabelled_share: share of them that is unlabelled, on the average over the updates.
    """

    count: int
    unlabelled_share: float

    @property
    def num_streams(self) -> int:
        """Unlabelled micro-batches of an update at most, each with a stream of its own."""
        return math.ceil(round(self.count * self.unlabelled_share, 6))

    def _unlabelled_before(self, update: int) -> int:
        return math.floor(update * self.count * self.unlabelled_share + 1e-6)

    def num_unlabelled(self, update: int) -> int:
        """Unlabelled micro-batches of an update; those from there on are labelled."""
        return self._unlabelled_before(update + 1) - self._unlabelled_before(update)

    def labelled_position(self, update: int, index: int) -> int:
        """The position, among all labelled micro-batches of the run, of the one at an index."""
        return update * self.count - self._unlabelled_before(update) + index - self.num_unlabelled(update)

    def share(self, rank: int, world: int) -> range:
        """The indices of one process."""
        return range(rank, self.count, world)


def workers_for(indices: Sequence[int], wanted: int) -> int:
    """Loader workers, at most `wanted`, among which the indices of a process are dealt so that each keeps its own."""
    return next((n for n in range(min(wanted, len(indices)), 0, -1) if len(indices) % n == 0), 0)


class LabelledOrder:
    """The micro-batches of a batch plan one after another, through all epochs; to be asked in rising order."""

    def __init__(self, plan: BatchPlan) -> None:
        self.plan = plan
        self.epoch, self.start = 0, 0
        self.current = self._of(0)

    def _of(self, epoch: int) -> list[MicroBatch]:
        return [micro_batch for update in self.plan.epoch(epoch) for micro_batch in update]

    def at(self, position: int) -> MicroBatch:
        """The micro-batch at a position, from 0."""
        while position >= self.start + len(self.current):
            self.start += len(self.current)
            self.epoch += 1
            self.current = self._of(self.epoch)
        return self.current[position - self.start]
