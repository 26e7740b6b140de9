"""The batch plan: which utterances each update of the run sees, decided before it starts.

A micro-batch is a list of clips of like length, at most so many padded samples; an update is a list of micro-batches,
at most so many padded samples together. The plan of an epoch is a pure function of the clips' lengths, the seed and the
epoch. Every process computes the same plan and takes whole micro-batches of it, so the optimisation does not depend on
the number of devices, and a run resumes on another number of them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from unispeech_ft.data.audio import SAMPLE_RATE_HZ
from unispeech_ft.errors import UserError
from unispeech_ft.randomness import Stream, generator

# Lengths are disturbed by up to this share before sorting, so that micro-batches differ from epoch to epoch.
LENGTH_JITTER = 0.02


@dataclass(frozen=True)
class MicroBatch:
    """Clips that pass through the model together.

    Attributes:
        epoch: from 0.
        index: place of the micro-batch in its epoch's plan, from 0.
        clips: positions in the list of utterances that the plan was made for.
        padded_samples: clips × samples of the longest.
    """

    epoch: int
    index: int
    clips: tuple[int, ...]
    padded_samples: int

    @property
    def longest_samples(self) -> int:
        return self.padded_samples // len(self.clips)


@dataclass(frozen=True)
class Update:
    """One optimiser step.

    Attributes:
        number: from 0, counted over the whole run.
        micro_batches: all of them, whichever process takes them.
    """

    number: int
    epoch: int
    micro_batches: tuple[MicroBatch, ...]

    @property
    def num_sentences(self) -> int:
        """The denominator of the loss."""
        return sum(len(micro_batch.clips) for micro_batch in self.micro_batches)

    @property
    def padded_s(self) -> float:
        return sum(micro_batch.padded_samples for micro_batch in self.micro_batches) / SAMPLE_RATE_HZ

    def share(self, rank: int, num_processes: int) -> tuple[MicroBatch, ...]:
        """The micro-batches that one process takes; none where there are fewer micro-batches than processes."""
        return self.micro_batches[rank::num_processes]


def _micro_batches(num_samples: npt.NDArray[np.int64], order: npt.NDArray[np.int64], limit: int) -> list[list[int]]:
    batches: list[list[int]] = []
    current: list[int] = []
    longest = 0
    for clip in order.tolist():
        longest_with = max(longest, int(num_samples[clip]))
        if current and longest_with * (len(current) + 1) > limit:
            batches.append(current)
            current, longest_with = [], int(num_samples[clip])
        current.append(clip)
        longest = longest_with
    return [*batches, current] if current else batches


@dataclass(frozen=True)
class BatchPlan:
    """The plan of a run.

    Attributes:
        num_samples: `[clips]`, samples at 16 kHz of each training clip.
        seconds_per_update: padded seconds of an update at most.
        seconds_per_micro_batch: padded seconds of a micro-batch at most.
    """

    num_samples: npt.NDArray[np.int64]
    seconds_per_update: float
    seconds_per_micro_batch: float
    seed: int
    _epochs: dict[int, list[list[MicroBatch]]] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not len(self.num_samples):
            raise UserError("no utterance is left to train on", remedy="see the report of what was left out, and why")
        longest_s = int(self.num_samples.max()) / SAMPLE_RATE_HZ
        if longest_s > self.seconds_per_micro_batch:
            raise UserError(
                f"a clip of {longest_s:.1f} s exceeds batch.seconds_per_micro_batch ({self.seconds_per_micro_batch})",
                remedy="lower data.max_duration_s or raise batch.seconds_per_micro_batch",
            )

    def epoch(self, epoch: int) -> list[list[MicroBatch]]:
        """The updates of an epoch, each a list of micro-batches; every clip stands in exactly one of them."""
        if epoch not in self._epochs:
            self._epochs.clear()
            self._epochs[epoch] = self._plan(epoch)
        return self._epochs[epoch]

    def _plan(self, epoch: int) -> list[list[MicroBatch]]:
        random = generator(self.seed, Stream.BATCH_PLAN, epoch)
        jitter = 1 + LENGTH_JITTER * random.uniform(-1, 1, len(self.num_samples))
        order = np.argsort(self.num_samples * jitter, kind="stable")
        batches = _micro_batches(self.num_samples, order, round(self.seconds_per_micro_batch * SAMPLE_RATE_HZ))
        limit = round(self.seconds_per_update * SAMPLE_RATE_HZ)
        updates: list[list[MicroBatch]] = []
        filled = limit + 1
        for index, place in enumerate(random.permutation(len(batches)).tolist()):
            clips = tuple(batches[place])
            padded = int(self.num_samples[list(clips)].max()) * len(clips)
            if filled + padded > limit:
                updates.append([])
                filled = 0
            updates[-1].append(MicroBatch(epoch, index, clips, padded))
            filled += padded
        return updates

    def updates(self, first: int, last: int) -> Iterator[Update]:
        """The updates first ≤ number < last."""
        start = 0
        for epoch in itertools.count():
            plan = self.epoch(epoch)
            for place in range(max(0, first - start), len(plan)):
                if start + place >= last:
                    return
                yield Update(start + place, epoch, tuple(plan[place]))
            start += len(plan)

    def padding_share(self, epoch: int = 0) -> float:
        """Part of the samples in an epoch's micro-batches that is padding."""
        padded = sum(micro_batch.padded_samples for update in self.epoch(epoch) for micro_batch in update)
        return 1 - float(self.num_samples.sum()) / padded


def passes(micro_batches: Sequence[MicroBatch], seconds_per_pass: float | None) -> list[tuple[MicroBatch, ...]]:
    """Micro-batches that go through the model together, those of like length side by side.

    Args:
        seconds_per_pass: of all micro-batches of a pass together at most; None for one micro-batch a pass.
    """
    if seconds_per_pass is None:
        return [(micro_batch,) for micro_batch in micro_batches]
    limit = round(seconds_per_pass * SAMPLE_RATE_HZ)
    groups: list[list[MicroBatch]] = []
    samples = 0
    for micro_batch in sorted(micro_batches, key=lambda item: -item.longest_samples):
        samples += micro_batch.padded_samples
        if not groups or samples > limit:
            groups.append([])
            samples = micro_batch.padded_samples
        groups[-1].append(micro_batch)
    return [tuple(group) for group in groups]


def evaluation_batches(num_samples: Sequence[int], seconds_per_batch: float) -> list[list[int]]:
    """Clips sorted by length and cut into batches of at most so many padded seconds, longest first."""
    lengths = np.asarray(num_samples, dtype=np.int64)
    order = np.argsort(lengths, kind="stable")
    return _micro_batches(lengths, order, round(seconds_per_batch * SAMPLE_RATE_HZ))[::-1]
