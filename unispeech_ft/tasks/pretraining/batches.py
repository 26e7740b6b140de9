"""The micro-batches of one process in a pre-training, labelled and unlabelled, as padded arrays.

`B` clips, `S` samples, `N` frames of a row, `C` hidden channels, `M` masked frames, `K` negatives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from unispeech_ft.config.sections import MaskConfig
from unispeech_ft.data.audio import Waveform, normalise_waveform
from unispeech_ft.data.batch_plan import BatchPlan
from unispeech_ft.data.masking import sample_masks
from unispeech_ft.data.row import Layout, lay_out
from unispeech_ft.data.streaming import Piece, Pieces, StreamState, open_stream
from unispeech_ft.data.targets import at_frames, open_targets
from unispeech_ft.errors import UserError
from unispeech_ft.tasks.pretraining.config import MixingConfig, ObjectiveConfig
from unispeech_ft.tasks.pretraining.draws import draw_instances, draw_negatives, draw_replacement
from unispeech_ft.tasks.pretraining.forward import Speech
from unispeech_ft.tasks.pretraining.layout import LabelledOrder, UpdateLayout
from unispeech_ft.tasks.pretraining.mixing import draw_mixing, drawn_noises, mix

CLIPS_A_MICRO_BATCH = 100_000


@dataclass(frozen=True)
class PretrainingBatch:
    """One micro-batch on its way through the model.

    Attributes:
        index: its place in the update.
        epoch: pass over the labelled speech, or of the stream over its part.
        waveforms: `[B, S]`, zero beyond a clip's end.
        num_samples: of each clip, on the host.
        layout: of the row of the clips' frames.
        time_mask: `[N]`.
        channel_mask: `[B, C]` or None.
        masked: `[M]`, the masked frames of the row.
        num_masked: of each clip, on the host.
        sampled: `[M, K]`, what each masked frame is compared with: frames of the row, or of the utterance-wise
            contrastive task places among the masked ones.
        replace: `[N]`.
        classes: `[N]`, to be predicted; None without targets.
        labels: label ids one after another; None without labels.
        num_labels: of each clip, on the host.
        state: of the stream that it came from, to continue after it; None for labelled speech.
    """

    index: int
    epoch: int
    waveforms: Tensor
    num_samples: tuple[int, ...]
    layout: Layout
    time_mask: Tensor
    channel_mask: Tensor | None
    masked: Tensor
    num_masked: tuple[int, ...]
    sampled: Tensor
    replace: Tensor
    classes: Tensor | None
    labels: Tensor | None
    num_labels: tuple[int, ...] | None
    state: StreamState | None

    def _each(self, change: Callable[[Tensor], Tensor]) -> dict[str, Any]:
        return {name: change(value) for name, value in vars(self).items() if isinstance(value, Tensor)}

    def to(self, device: torch.device) -> PretrainingBatch:
        moved = self._each(lambda tensor: tensor.to(device, non_blocking=True))
        return replace(self, layout=self.layout.to(device), **moved)

    def pin_memory(self) -> PretrainingBatch:
        return replace(self, layout=self.layout.pin_memory(), **self._each(Tensor.pin_memory))

    @property
    def speech(self) -> Speech:
        """What the model reads."""
        return Speech(
            self.waveforms,
            self.layout,
            self.time_mask,
            self.masked,
            self.num_masked,
            self.channel_mask,
            num_samples=self.num_samples,
        )

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
    """How pieces of recordings become micro-batches.

    Attributes:
        frames_of: samples → frames of the model.
        frame_s: seconds from one frame to the next.
        num_channels: `C`.
        normalize_eps: of the normalisation of each clip; None where the model reads raw waveforms.
        targets: their folder; None without.
    """

    frames_of: Callable[[int], int]
    frame_s: float
    num_channels: int
    mask: MaskConfig
    normalize_eps: float | None
    objective: ObjectiveConfig
    mixing: MixingConfig
    targets: str | None
    seed: int

    def batch(
        self,
        update: int,
        index: int,
        epoch: int,
        pieces: Sequence[Piece],
        labels: Sequence[Sequence[int]] | None,
        state: StreamState | None,
    ) -> PretrainingBatch:
        """The tensors of one micro-batch; what is drawn for it depends on seed, update and index alone.

        Args:
            labels: label ids of each clip.
        """
        name = (self.seed, update, index)
        classes = self._classes(pieces)
        num_frames = [self.frames_of(len(piece)) for piece in pieces] if classes is None else [*map(len, classes)]
        first = index * CLIPS_A_MICRO_BATCH
        rows = range(first, first + len(pieces))
        masks = sample_masks(
            num_frames, self.num_channels, self.mask, seed=self.seed, epoch=update, micro_batch=index, clips=rows
        )
        if masks.time is None:
            raise ValueError("pre-training needs a time mask")
        time_mask = np.concatenate([mask[:count] for mask, count in zip(masks.time, num_frames, strict=True)])
        return PretrainingBatch(
            index,
            epoch,
            self._waveforms([piece.waveform for piece in pieces], name),
            tuple(map(len, pieces)),
            lay_out(num_frames),
            torch.from_numpy(time_mask),
            None if masks.channels is None else torch.from_numpy(masks.channels),
            torch.from_numpy(np.flatnonzero(time_mask)),
            tuple(masks.time.sum(axis=1).tolist()),
            torch.from_numpy(self._sampled(num_frames, time_mask, name)),
            torch.from_numpy(draw_replacement(len(time_mask), self.objective.replacement, name)),
            None if classes is None else torch.from_numpy(np.concatenate(classes) + self.objective.first_class),
            None if labels is None else torch.tensor([label for line in labels for label in line], dtype=torch.long),
            None if labels is None else tuple(len(line) for line in labels),
            state,
        )

    def _classes(self, pieces: Sequence[Piece]) -> list[npt.NDArray[np.int64]] | None:
        """Of the frames of each piece; a piece ends where its classes do."""
        if self.targets is None:
            return None
        rate_hz = open_targets(self.targets).rate_hz
        return [
            at_frames(piece.classes, self.frames_of(len(piece)), self.frame_s, rate_hz).astype(np.int64)
            for piece in pieces
            if piece.classes is not None
        ]

    def _waveforms(self, clips: Sequence[Waveform], name: Sequence[int]) -> Tensor:
        """`[B, S]`, normalised and mixed where they are to be."""
        if self.normalize_eps is not None:
            clips = [normalise_waveform(clip, self.normalize_eps) for clip in clips]
        if self.mixing.prob > 0:
            if self.mixing.over_padding:
                clips = list(pad_waveforms(clips).numpy())
            noises = drawn_noises(self.mixing, name)
            additions = draw_mixing([*map(len, clips)], [*map(len, noises)], self.mixing, name)
            clips = mix(clips, noises, additions, normalize_eps=self.normalize_eps, in_place=self.mixing.in_place)
        return pad_waveforms(clips)

    def _sampled(
        self, num_frames: Sequence[int], time_mask: npt.NDArray[np.bool_], name: Sequence[int]
    ) -> npt.NDArray[np.int64]:
        objective, num_masked = self.objective, int(time_mask.sum())
        if objective.kind == "unispeech":
            return draw_negatives(num_frames, time_mask, objective.negatives, name)
        count = objective.negatives if objective.kind == "sat" else 0
        return draw_instances(num_masked, count, name, with_itself=objective.samples_itself)


@dataclass(frozen=True)
class LabelledClips:
    """The labelled clips of a run, by their index in the batch plan.

    Attributes:
        waveform: index → `[S]`.
        labels: label ids of each clip; None where the CTC branch does not run.
    """

    plan: BatchPlan
    waveform: Callable[[int], Waveform]
    labels: Sequence[Sequence[int]] | None


class PretrainingStream(IterableDataset[Any]):
    """The micro-batches of one process, update after update; loader workers take turns, each with indices of its own.

    A fault of the data comes as the last item, for the process to raise.

    Args:
        pieces: the unlabelled speech; None where there is none.
        states: where each unlabelled stream goes on, by its index; the others start from the beginning.
    """

    def __init__(
        self,
        layout: UpdateLayout,
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
        self.layout, self.shaping, self.labelled, self.pieces = layout, shaping, labelled, pieces
        self.states, self.first, self.last, self.rank, self.world = dict(states), first, last, rank, world

    def __iter__(self) -> Iterator[PretrainingBatch | UserError]:
        worker = get_worker_info()
        turn, turns = (worker.id, worker.num_workers) if worker else (0, 1)
        mine = self.layout.share(self.rank, self.world)[turn::turns]
        order = LabelledOrder(self.labelled.plan) if self.labelled else None
        streams: dict[int, Iterator[tuple[list[Piece], StreamState]]] = {}
        try:
            for update in range(self.first, self.last):
                for index in mine:
                    if index < self.layout.num_unlabelled(update):
                        if index not in streams:
                            streams[index] = self._stream(index)
                        clips, state = next(streams[index])
                        yield self.shaping.batch(update, index, state.epoch, clips, None, state)
                    else:
                        yield self._labelled(update, index, order)
        except UserError as error:
            # A loader's worker would turn it into an error of another class.
            yield error

    def _stream(self, index: int) -> Iterator[tuple[list[Piece], StreamState]]:
        if self.pieces is None:
            raise ValueError("an unlabelled micro-batch without unlabelled speech")
        return open_stream(self.pieces, index, self.layout.num_streams, self.states.get(index))

    def _labelled(self, update: int, index: int, order: LabelledOrder | None) -> PretrainingBatch:
        if order is None or self.labelled is None:
            raise ValueError("a labelled micro-batch without labelled speech")
        planned = order.at(self.layout.labelled_position(update, index))
        clips = [Piece(self.labelled.waveform(clip)) for clip in planned.clips]
        labels = self.labelled.labels
        chosen = None if labels is None else [labels[clip] for clip in planned.clips]
        return self.shaping.batch(update, index, planned.epoch, clips, chosen, None)


def loader(stream: PretrainingStream, workers: int, *, pin_memory: bool) -> DataLoader[Any]:
    """Loads a stream; workers are spawned, since a forked one may hang in the libraries' threads (pyarrow)."""
    context = "spawn" if workers else None
    return DataLoader(
        stream, batch_size=None, num_workers=workers, pin_memory=pin_memory, multiprocessing_context=context
    )
