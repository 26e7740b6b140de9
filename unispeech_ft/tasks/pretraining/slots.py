"""Which speech each sub-batch of a pre-training update comes from, decided before the run starts.

An update has a fixed number of sub-batches, its slots. The first of them read unlabelled streams, one stream a slot,
the others take the next labelled sub-batches of the batch plan. Process r of n takes the slots r, r + n, … So the same
YAML gives the same updates on any number of processes, as in a fine-tuning (`data.plan`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from unispeech_ft.data.batch_plan import BatchPlan, SubBatch


@dataclass(frozen=True)
class Slots:
    """The layout of the updates.

    Attributes:
        count: sub-batches of an update.
        unlabelled_share: share of them that is unlabelled, on the average over the updates.
    """

    count: int
    unlabelled_share: float

    @property
    def num_streams(self) -> int:
        """Unlabelled sub-batches of an update at most, each with a stream of its own."""
        return math.ceil(round(self.count * self.unlabelled_share, 6))

    def _unlabelled_before(self, update: int) -> int:
        return math.floor(update * self.count * self.unlabelled_share + 1e-6)

    def num_unlabelled(self, update: int) -> int:
        """Unlabelled sub-batches of an update; its slots from there on are labelled."""
        return self._unlabelled_before(update + 1) - self._unlabelled_before(update)

    def labelled_place(self, update: int, slot: int) -> int:
        """The place, among all labelled sub-batches of the run, of the one in a slot."""
        return update * self.count - self._unlabelled_before(update) + slot - self.num_unlabelled(update)

    def share(self, rank: int, world: int) -> range:
        """The slots of one process."""
        return range(rank, self.count, world)


def workers_for(slots: Sequence[int], wanted: int) -> int:
    """Loader workers, at most `wanted`, among which the slots of a process can be dealt so that each keeps its own."""
    return next((n for n in range(min(wanted, len(slots)), 0, -1) if len(slots) % n == 0), 0)


class LabelledOrder:
    """The sub-batches of a batch plan one after another, through all epochs; to be asked in rising order."""

    def __init__(self, plan: BatchPlan) -> None:
        self.plan = plan
        self.epoch, self.start = 0, 0
        self.current = self._of(0)

    def _of(self, epoch: int) -> list[SubBatch]:
        return [sub_batch for update in self.plan.epoch(epoch) for sub_batch in update]

    def at(self, place: int) -> SubBatch:
        """The sub-batch at a place, from 0."""
        while place >= self.start + len(self.current):
            self.start += len(self.current)
            self.epoch += 1
            self.current = self._of(self.epoch)
        return self.current[place - self.start]
