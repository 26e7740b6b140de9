"""Planned micro-batches → padded arrays, in the order in which one process trains on them.

`B` clips, `T` frames, `F` feature channels, `C` hidden channels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from unispeech_ft.config.sections import MaskConfig
from unispeech_ft.data.batch_plan import BatchPlan, MicroBatch, passes
from unispeech_ft.data.masking import sample_masks

ClipFeatures = Callable[[int], npt.NDArray[Any]]


@dataclass(frozen=True)
class Batch:
    """One micro-batch on its way through the model.

    Attributes:
        index: of the (first) micro-batch in its epoch's plan.
        epoch: from 0.
        features: `[B, T, F]`, zero beyond a clip's frames.
        num_frames: `[B]`.
        labels: the clips' label ids one after another.
        num_labels: `[B]`.
        time_mask: `[B, T]` or None.
        channel_mask: `[B, C]` or None.
    """

    index: int
    epoch: int
    features: Tensor
    num_frames: Tensor
    labels: Tensor
    num_labels: Tensor
    time_mask: Tensor | None
    channel_mask: Tensor | None

    def _each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        changed: dict[str, Any] = {n: change(value) for n, value in vars(self).items() if isinstance(value, Tensor)}
        return replace(self, **changed)

    def to(self, device: torch.device) -> Batch:
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Batch:
        return self._each(lambda tensor: tensor.pin_memory())


def _stack(tensors: Sequence[Tensor | None], width: int) -> Tensor | None:
    """`[B_i, T_i, …]` one below the other, zero beyond `T_i`."""
    given = [tensor for tensor in tensors if tensor is not None]
    if not given:
        return None
    first = given[0]
    stacked = first.new_zeros((sum(len(tensor) for tensor in given), width, *first.shape[2:]))
    start = 0
    for tensor in given:
        stacked[start : start + len(tensor), : tensor.shape[1]] = tensor
        start += len(tensor)
    return stacked


def join(batches: Sequence[Batch]) -> Batch:
    """Several micro-batches as one, each clip with the masks that it had."""
    if len(batches) == 1:
        return batches[0]
    width = max(batch.features.shape[1] for batch in batches)
    features = _stack([batch.features for batch in batches], width)
    channels = [batch.channel_mask for batch in batches if batch.channel_mask is not None]
    assert features is not None
    return Batch(
        batches[0].index,
        batches[0].epoch,
        features,
        torch.cat([batch.num_frames for batch in batches]),
        torch.cat([batch.labels for batch in batches]),
        torch.cat([batch.num_labels for batch in batches]),
        _stack([batch.time_mask for batch in batches], width),
        torch.cat(channels) if channels else None,
    )


def pad_features(clips: Sequence[npt.NDArray[Any]]) -> tuple[Tensor, Tensor]:
    """Clips `[T_i, F]` → `[B, T, F]` with zeros, float32 at least, and `[B]` frames."""
    frames = [len(clip) for clip in clips]
    padded = np.zeros((len(clips), max(frames), clips[0].shape[1]), np.promote_types(clips[0].dtype, np.float32))
    for row, clip in enumerate(clips):
        padded[row, : len(clip)] = clip
    return torch.from_numpy(padded), torch.tensor(frames)


@dataclass(frozen=True)
class TrainingSet:
    """The clips of the training split, by their place in the plan.

    Attributes:
        clip_features: place → `[T, F]`.
        labels: label ids of each clip.
        num_channels: `C`, the hidden size, for the channel mask.
    """

    clip_features: ClipFeatures
    labels: Sequence[Sequence[int]]
    num_channels: int
    mask: MaskConfig
    seed: int

    def batch(self, micro_batch: MicroBatch) -> Batch:
        """The tensors of one planned micro-batch; a pure function of it."""
        features, num_frames = pad_features([self.clip_features(clip) for clip in micro_batch.clips])
        labels = [self.labels[clip] for clip in micro_batch.clips]
        masks = sample_masks(
            num_frames.tolist(),
            self.num_channels,
            self.mask,
            seed=self.seed,
            epoch=micro_batch.epoch,
            micro_batch=micro_batch.index,
            clips=micro_batch.clips,
        )
        return Batch(
            micro_batch.index,
            micro_batch.epoch,
            features,
            num_frames,
            torch.tensor([label for line in labels for label in line], dtype=torch.long),
            torch.tensor([len(line) for line in labels]),
            None if masks.time is None else torch.from_numpy(masks.time),
            None if masks.channels is None else torch.from_numpy(masks.channels),
        )


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
                    yield join([self.training_set.batch(micro_batch) for micro_batch in micro_batches])
                position += 1
