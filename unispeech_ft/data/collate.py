"""Planned micro-batches → rows of frames, in the order in which one process trains on them.

`B` clips, `N` frames of a row, `T` frames of a clip, `F` feature channels, `C` hidden channels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from unispeech_ft.config.sections import MaskConfig
from unispeech_ft.data.batch_plan import BatchPlan, MicroBatch, passes
from unispeech_ft.data.masking import FIRST_VIEW, SECOND_VIEW, Masks, sample_masks
from unispeech_ft.data.row import Row, RowMasks, row_of
from unispeech_ft.randomness import Stream, generator

ClipFeatures = Callable[[int], npt.NDArray[Any]]
# Names the dropout of a batch's parts: no epoch has so many micro-batches.
PART = 2**24


@dataclass(frozen=True)
class Batch:
    """One or several micro-batches on their way through the model.

    Attributes:
        index: of the first of them in its epoch's plan.
        epoch: from 0.
        row: the clips' features and masks.
        labels: the clips' label ids one after another.
        num_labels: of each clip, on the host.
        second_masks: of a second view of the same clips; None where there is one view.
    """

    index: int
    epoch: int
    row: Row
    labels: Tensor
    num_labels: tuple[int, ...]
    second_masks: RowMasks | None = field(default=None, kw_only=True)

    @property
    def views(self) -> list[Row]:
        """The row, and where there is one its second view."""
        return [self.row] if self.second_masks is None else [self.row, self.second_masks.over(self.row)]

    def to(self, device: torch.device) -> Batch:
        second = None if self.second_masks is None else self.second_masks.to(device)
        labels = self.labels.to(device, non_blocking=True)
        return replace(self, row=self.row.to(device), labels=labels, second_masks=second)

    def parts(self, most_frames: int) -> list[Batch]:
        """The clips in batches of at most so many frames each, at least one clip."""
        ends: list[int] = []
        frames = 0
        for clip, count in enumerate(self.row.num_frames):
            frames += count
            if clip and frames > most_frames:
                ends.append(clip)
                frames = count
        bounds = [0, *ends, len(self.num_labels)]
        labels = self.labels.split([sum(self.num_labels[a:b]) for a, b in zip(bounds, bounds[1:], strict=False)])
        return [
            Batch(
                self.index + number * PART,
                self.epoch,
                self.row.cut(first, last),
                labels[number],
                self.num_labels[first:last],
                second_masks=self._second_masks(first, last),
            )
            for number, (first, last) in enumerate(zip(bounds, bounds[1:], strict=False))
        ]

    def _second_masks(self, first: int, last: int) -> RowMasks | None:
        if self.second_masks is None:
            return None
        return self.second_masks.over(self.row).cut(first, last).masks

    def pin_memory(self) -> Batch:
        second = None if self.second_masks is None else self.second_masks.pin_memory()
        return replace(self, row=self.row.pin_memory(), labels=self.labels.pin_memory(), second_masks=second)


def _tensors(masks: Masks) -> RowMasks:
    return RowMasks(*(None if mask is None else torch.from_numpy(mask) for mask in (masks.time, masks.channels)))


@dataclass(frozen=True)
class TrainingSet:
    """The clips of the training split, by their index in the plan.

    Attributes:
        clip_features: index → `[T, F]`.
        labels: label ids of each clip.
        num_channels: `C`, the hidden size, for the channel mask.
        crop_frames: of a longer clip so many frames are taken, drawn by epoch and clip; None for all.
        two_views: draw second masks for every batch.
    """

    clip_features: ClipFeatures
    labels: Sequence[Sequence[int]]
    num_channels: int
    mask: MaskConfig
    seed: int
    crop_frames: int | None = None
    two_views: bool = False

    def batch(self, *micro_batches: MicroBatch) -> Batch:
        """The tensors of planned micro-batches that pass the model together; a pure function of them."""
        clips = [clip for micro_batch in micro_batches for clip in micro_batch.clips]
        features = [
            self._cropped(self.clip_features(clip), micro_batch.epoch, clip)
            for micro_batch in micro_batches
            for clip in micro_batch.clips
        ]
        num_frames = [len(clip) for clip in features]
        masks = self._masks(micro_batches, num_frames, FIRST_VIEW)
        second = self._masks(micro_batches, num_frames, SECOND_VIEW) if self.two_views else None
        labels = [self.labels[clip] for clip in clips]
        return Batch(
            micro_batches[0].index,
            micro_batches[0].epoch,
            _tensors(masks).over(row_of(features)),
            torch.tensor([label for line in labels for label in line], dtype=torch.long),
            tuple(len(line) for line in labels),
            second_masks=None if second is None else _tensors(second),
        )

    def _cropped(self, features: npt.NDArray[Any], epoch: int, clip: int) -> npt.NDArray[Any]:
        spare = 0 if self.crop_frames is None else len(features) - self.crop_frames
        if spare <= 0:
            return features
        first = int(generator(self.seed, Stream.CROP, epoch, clip).integers(spare + 1))
        return features[first : first + len(features) - spare]

    def _masks(
        self, micro_batches: Sequence[MicroBatch], num_frames: Sequence[int], streams: tuple[Stream, Stream]
    ) -> Masks:
        """The masks of some micro-batches: time `[N]`, channels `[B, C]`; each has those that it has alone."""
        found: list[Masks] = []
        start = 0
        for micro_batch in micro_batches:
            frames = num_frames[start : start + len(micro_batch.clips)]
            start += len(micro_batch.clips)
            masks = sample_masks(
                frames,
                self.num_channels,
                self.mask,
                seed=self.seed,
                epoch=micro_batch.epoch,
                micro_batch=micro_batch.index,
                clips=micro_batch.clips,
                streams=streams,
            )
            time = masks.time
            row = None if time is None else np.concatenate([time[n, :count] for n, count in enumerate(frames)])
            found.append(Masks(row, masks.channels))
        times = [masks.time for masks in found if masks.time is not None]
        channels = [masks.channels for masks in found if masks.channels is not None]
        return Masks(np.concatenate(times) if times else None, np.concatenate(channels) if channels else None)


class MicroBatchStream(IterableDataset[Batch]):
    """The batches of one process, in plan order, from an update on; loader workers take turns."""

    def __init__(
        self,
        plan: BatchPlan,
        training_set: TrainingSet,
        first: int,
        last: int,
        rank: int,
        world: int,
        seconds_per_pass: float | None = None,
    ) -> None:
        self.plan, self.training_set, self.seconds_per_pass = plan, training_set, seconds_per_pass
        self.first, self.last, self.rank, self.world = first, last, rank, world

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        turn, turns = (worker.id, worker.num_workers) if worker else (0, 1)
        position = 0
        for update in self.plan.updates(self.first, self.last):
            for micro_batches in passes(update.share(self.rank, self.world), self.seconds_per_pass):
                if position % turns == turn:
                    yield self.training_set.batch(*micro_batches)
                position += 1
