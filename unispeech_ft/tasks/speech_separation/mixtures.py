"""Simulated mixtures and their speakers alone, made once and kept on disk; and batches of both.

`B` clips, `P` speakers, `S` samples.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from tqdm import tqdm

from unispeech_ft.data.audio import Waveform
from unispeech_ft.data.batch_plan import MicroBatch
from unispeech_ft.data.collate import Batch, TrainingSet
from unispeech_ft.data.simulate import Conversations
from unispeech_ft.files import allocate, keep

if TYPE_CHECKING:
    from accelerate import Accelerator


@dataclass(frozen=True)
class Mixtures:
    """The mixtures of a split; as `Audio`, they are what is heard.

    Attributes:
        sounds: `[mixtures, 1 + P, S]` in 16 bits, each mixture and then its speakers alone.
    """

    conversations: Conversations
    sounds: npt.NDArray[np.float16]

    def __len__(self) -> int:
        return len(self.sounds)

    @property
    def key(self) -> str:
        return self.conversations.key + " in 16 bits"

    @property
    def num_samples(self) -> npt.NDArray[np.int64]:
        return self.conversations.num_samples

    def name(self, row: int) -> str:
        return self.conversations.name(row)

    def waveform(self, row: int) -> Waveform:
        return np.asarray(self.sounds[row, 0], dtype=np.float32)

    def sources(self, row: int) -> npt.NDArray[np.float32]:
        """Each speaker alone: `[P, S]`."""
        return np.asarray(self.sounds[row, 1:], dtype=np.float32)


def open_mixtures(conversations: Conversations, cache_dir: Path, accelerator: Accelerator) -> Mixtures:
    """The mixtures of a split from the cache, made by the first process where they are missing.

    Raises:
        OSError: they cannot be written.
    """
    name = hashlib.sha256(conversations.key.encode()).hexdigest()[:32]
    folder, split = cache_dir / "mixtures" / name, conversations.name_of_all
    shape = (len(conversations), 1 + conversations.settings.speakers[1], int(conversations.num_samples[0]))

    def fill(partial: Path) -> None:
        sounds = np.lib.format.open_memmap(partial / "sounds.npy", mode="w+", dtype=np.float16, shape=shape)
        allocate(partial / "sounds.npy")
        for row in tqdm(range(len(sounds)), desc=f"mixtures of {split}", unit="mixture", leave=False):
            mixed, sources = conversations.mixture(row)
            sounds[row, 0], sounds[row, 1:] = mixed, sources
        sounds.flush()

    with accelerator.main_process_first():
        accelerator.print(f"mixtures of {split}: {2 * np.prod(shape) / 2**20:.0f} MiB on disk in {folder.parent}")
        keep(folder, fill)
    return Mixtures(conversations, np.load(folder / "sounds.npy", mmap_mode="r"))


@dataclass(frozen=True)
class MixtureBatch(Batch):
    """Features of mixtures, and what is heard.

    Attributes:
        sounds: `[B, 1 + P, S]`, each mixture and then its speakers alone.
    """

    sounds: Tensor

    def to(self, device: torch.device) -> MixtureBatch:
        return replace(self, row=self.row.to(device), sounds=self.sounds.to(device, non_blocking=True))

    def parts(self, most_frames: int) -> list[Batch]:
        parts = super().parts(most_frames)
        sounds = self.sounds.split([len(part.num_labels) for part in parts])
        return [MixtureBatch(**vars(part), sounds=own) for part, own in zip(parts, sounds, strict=True)]

    def pin_memory(self) -> MixtureBatch:
        return replace(self, row=self.row.pin_memory(), sounds=self.sounds.pin_memory())


@dataclass(frozen=True)
class MixtureSet(TrainingSet):
    """The mixtures of the training split, by their index in the plan; they have no labels."""

    mixtures: Mixtures = field(kw_only=True)

    def batch(self, *micro_batches: MicroBatch) -> MixtureBatch:
        """The tensors of planned micro-batches that pass the model together; a pure function of them."""
        clips = [clip for micro_batch in micro_batches for clip in micro_batch.clips]
        plain: dict[str, Any] = vars(super().batch(*micro_batches))
        return MixtureBatch(**plain, sounds=torch.from_numpy(np.stack([self.mixtures.sounds[clip] for clip in clips])))
