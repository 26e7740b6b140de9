"""The sub-batches of one process in a pre-training, labelled and unlabelled, as padded arrays.

`B` clips, `S` samples, `T` frames, `C` hidden channels, `N` masked frames, `K` negatives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from unispeech_ft.config.sections import MaskConfig
from unispeech_ft.data.audio import Waveform, normalise_waveform
from unispeech_ft.data.batch_plan import BatchPlan
from unispeech_ft.data.masking import sample_masks
from unispeech_ft.data.streaming import Pieces, StreamState, open_stream
from unispeech_ft.errors import UserError
from unispeech_ft.tasks.pretraining.draws import draw_negatives, draw_replacement
from unispeech_ft.tasks.pretraining.slots import LabelledOrder, Slots

CLIPS_A_SLOT = 100_000


@dataclass(frozen=True)
class PretrainBatch:
    """One sub-batch on its way through the model.

    Attributes:
        slot: its place in the update.
        epoch: pass over the labelled speech, or of the stream over its part.
        waveforms: `[B, S]`, zero beyond a clip's end.
        num_frames: `[B]`.
        time_mask: `[B, T]`.
        channel_mask: `[B, C]` or None.
        negatives: `[N, K]`, flat places in `[B · T]`.
        replace: `[B, T]`.
        labels, num_labels: label ids one after another, `[B]`; None without labels.
        state: of the stream that it came from, to continue after it; None for labelled speech.
    """

    slot: int
    epoch: int
    waveforms: Tensor
    num_frames: Tensor
    time_mask: Tensor
    channel_mask: Tensor | None
    negatives: Tensor
    replace: Tensor
    labels: Tensor | None
    num_labels: Tensor | None
    state: StreamState | None

    def _each(self, change: Callable[[Tensor], Tensor]) -> PretrainBatch:
        changed: dict[str, Any] = {n: change(value) for n, value in vars(self).items() if isinstance(value, Tensor)}
        return replace(self, **changed)

    def to(self, device: torch.device) -> PretrainBatch:
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> PretrainBatch:
        return self._each(lambda tensor: tensor.pin_memory())

    @property
    def padded_samples(self) -> int:
        return self.waveforms.numel()


def pad_waveforms(clips: Sequence[Waveform]) -> Tensor:
    """Clips `[S_i]` → `[B, S]` with zeros."""
    padded = np.zeros((len(clips), max(map(len, clips))), dtype=np.float32)
    for row, clip in enumerate(clips):
        padded[row, : len(clip)] = clip
    return torch.from_numpy(padded)


@dataclass(frozen=True)
class Shaping:
    """How waveforms become sub-batches.

    Attributes:
        frames_of: samples → frames of the model.
        num_channels: `C`.
        normalize_eps: of the normalisation of each clip; None where the model reads raw waveforms.
        num_negatives: `K`.
        replacement: share of frames whose quantised latent the CTC branch sees.
    """

    frames_of: Callable[[int], int]
    num_channels: int
    mask: MaskConfig
    normalize_eps: float | None
    num_negatives: int
    replacement: float
    seed: int

    def batch(
        self,
        update: int,
        slot: int,
        epoch: int,
        clips: Sequence[Waveform],
        labels: Sequence[Sequence[int]] | None,
        state: StreamState | None,
    ) -> PretrainBatch:
        """The tensors of one sub-batch; what is drawn for it depends on seed, update and slot alone.

        Args:
            clips: `[S_i]` each.
            labels: label ids of each clip.
        """
        if self.normalize_eps is not None:
            clips = [normalise_waveform(clip, self.normalize_eps) for clip in clips]
        num_frames = [self.frames_of(len(clip)) for clip in clips]
        rows = range(slot * CLIPS_A_SLOT, slot * CLIPS_A_SLOT + len(clips))
        masks = sample_masks(
            num_frames, self.num_channels, self.mask, seed=self.seed, epoch=update, sub_batch=slot, clips=rows
        )
        if masks.time is None:
            raise ValueError("pre-training needs a time mask")
        name = (self.seed, update, slot)
        return PretrainBatch(
            slot,
            epoch,
            pad_waveforms(clips),
            torch.tensor(num_frames),
            torch.from_numpy(masks.time),
            None if masks.channels is None else torch.from_numpy(masks.channels),
            torch.from_numpy(draw_negatives(num_frames, masks.time, self.num_negatives, name)),
            torch.from_numpy(draw_replacement(masks.time.shape, self.replacement, name)),
            None if labels is None else torch.tensor([label for line in labels for label in line], dtype=torch.long),
            None if labels is None else torch.tensor([len(line) for line in labels]),
            state,
        )


@dataclass(frozen=True)
class LabelledClips:
    """The labelled clips of a run, by their place in the batch plan.

    Attributes:
        waveform: place → `[S]`.
        labels: label ids of each clip; None where the CTC branch does not run.
    """

    plan: BatchPlan
    waveform: Callable[[int], Waveform]
    labels: Sequence[Sequence[int]] | None


class SlotStream(IterableDataset[Any]):
    """The sub-batches of one process, update after update; loader workers take turns, each with slots of its own.

    A fault of the data comes as the last item, for the process to raise.

    Args:
        pieces: the unlabelled speech; None where there is none.
        states: where each unlabelled stream goes on, by its slot; the others start from the beginning.
    """

    def __init__(
        self,
        slots: Slots,
        shaping: Shaping,
        labelled: LabelledClips | None,
        pieces: Pieces | None,
        states: Mapping[int, StreamState],
        *,
        first: int,
        last: int,
        rank: int,
        world: int,
    ) -> None:
        self.slots, self.shaping, self.labelled, self.pieces = slots, shaping, labelled, pieces
        self.states, self.first, self.last, self.rank, self.world = dict(states), first, last, rank, world

    def __iter__(self) -> Iterator[PretrainBatch | UserError]:
        worker = get_worker_info()
        turn, turns = (worker.id, worker.num_workers) if worker else (0, 1)
        mine = [slot for place, slot in enumerate(self.slots.share(self.rank, self.world)) if place % turns == turn]
        order = LabelledOrder(self.labelled.plan) if self.labelled else None
        streams: dict[int, Iterator[tuple[list[Waveform], StreamState]]] = {}
        try:
            for update in range(self.first, self.last):
                for slot in mine:
                    if slot < self.slots.num_unlabelled(update):
                        if slot not in streams:
                            streams[slot] = self._stream(slot)
                        clips, state = next(streams[slot])
                        yield self.shaping.batch(update, slot, state.epoch, clips, None, state)
                    else:
                        yield self._labelled(update, slot, order)
        except UserError as error:
            # A loader's worker would turn it into an error of another class.
            yield error

    def _stream(self, slot: int) -> Iterator[tuple[list[Waveform], StreamState]]:
        if self.pieces is None:
            raise ValueError("an unlabelled slot without unlabelled speech")
        return open_stream(self.pieces, slot, self.slots.num_streams, self.states.get(slot))

    def _labelled(self, update: int, slot: int, order: LabelledOrder | None) -> PretrainBatch:
        if order is None or self.labelled is None:
            raise ValueError("a labelled slot without labelled speech")
        sub_batch = order.at(self.slots.labelled_place(update, slot))
        clips = [self.labelled.waveform(place) for place in sub_batch.clips]
        labels = self.labelled.labels
        chosen = None if labels is None else [labels[place] for place in sub_batch.clips]
        return self.shaping.batch(update, slot, sub_batch.epoch, clips, chosen, None)
