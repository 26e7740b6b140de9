"""Features of the frozen front end, computed once for each clip and kept on disk.

`T` frames, `F` feature channels.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from tqdm import tqdm

from unispeech_ft.config.sections import TrainingConfig
from unispeech_ft.data.ahead import ahead
from unispeech_ft.data.augmentation import Audio
from unispeech_ft.errors import UserError
from unispeech_ft.files import allocate, keep
from unispeech_ft.models.front_end import Features, FrontEnd

if TYPE_CHECKING:
    from accelerate import Accelerator

# Read and computed together on a GPU.
CLIPS_A_TIME, GROUPS_AHEAD = 64, 2
TORCH = {np.dtype(np.float16): torch.float16, np.dtype(np.float32): torch.float32}


@dataclass(frozen=True)
class FeatureStore:
    """Features of the clips of a split in one memory-mapped file.

    Attributes:
        values: `[Σ T, F]`, 16 or 32 bits.
        offsets: `[clips + 1]`, first frame of each clip.
    """

    values: npt.NDArray[np.floating]
    offsets: npt.NDArray[np.int64]

    @property
    def num_frames(self) -> npt.NDArray[np.int64]:
        return np.diff(self.offsets)

    def clip(self, index: int) -> Features:
        """`[T, F]` of a clip, by its index in the list that the store was made for."""
        return self.values[self.offsets[index] : self.offsets[index + 1]]


@dataclass(frozen=True)
class ComputedFeatures:
    """Features made anew each time they are asked for; in the place of a `FeatureStore`."""

    front_end: FrontEnd
    audio: Audio
    rows: Sequence[int]

    @property
    def num_frames(self) -> npt.NDArray[np.int64]:
        samples = self.audio.num_samples[list(self.rows)].tolist()
        return np.asarray([self.front_end.num_frames(count) for count in samples], dtype=np.int64)

    def clip(self, index: int) -> Features:
        """`[T, F]` of a clip, by its index in `rows`."""
        values: Features = self.front_end(self.audio.waveform(self.rows[index])).cpu().numpy()
        return values


def store_size_bytes(front_end: FrontEnd, num_samples: Sequence[int], dtype: npt.DTypeLike) -> int:
    """Size of a store before it is made."""
    frames = sum(front_end.num_frames(count) for count in num_samples)
    return frames * front_end.num_channels * np.dtype(dtype).itemsize


def _not_finite(audio: Audio, row: int, dtype: npt.DTypeLike) -> UserError:
    return UserError(
        f"the features of clip {audio.name(row)} are not finite numbers in {np.dtype(dtype).name}",
        remedy="look at that clip; where it is sound, the weights of the base model's extractor are damaged",
    )


def _fill(
    file: Path,
    front_end: FrontEnd,
    audio: Audio,
    rows: Sequence[int],
    dtype: npt.DTypeLike,
    label: str,
) -> npt.NDArray[np.int64]:
    offsets = np.zeros(len(rows) + 1, dtype=np.int64)
    np.cumsum([front_end.num_frames(int(audio.num_samples[row])) for row in rows], out=offsets[1:])
    np.lib.format.open_memmap(file, mode="w+", dtype=dtype, shape=(int(offsets[-1]), front_end.num_channels))
    allocate(file)
    begin = np.load(file, mmap_mode="r").offset
    on_cpu = front_end.model.device.type == "cpu"
    longest_first = sorted(range(len(rows)), key=lambda index: -int(audio.num_samples[rows[index]]))
    groups = _groups(longest_first, 1 if on_cpu else CLIPS_A_TIME)
    read = ((group, [front_end.samples(audio.waveform(rows[index])) for index in group]) for group in groups)
    with tqdm(total=len(rows), desc=label, unit="clip", disable=not label, leave=False) as bar, file.open("r+b") as out:
        for group, samples in read if on_cpu else ahead(read, GROUPS_AHEAD):
            found = front_end.of_samples(samples)
            values = torch.cat(found).to(TORCH[np.dtype(dtype)]).cpu().numpy()
            for index, kept in zip(group, np.split(values, np.cumsum([len(clip) for clip in found])[:-1]), strict=True):
                if not np.isfinite(kept).all():
                    raise _not_finite(audio, rows[index], dtype)
                # A map into memory takes twice as long: each of its pages is asked for when it is first touched.
                out.seek(begin + int(offsets[index]) * values.strides[0])
                out.write(kept.data)
            bar.update(len(group))
    return offsets


def _groups(indices: Sequence[int], size: int) -> list[Sequence[int]]:
    return [indices[start : start + size] for start in range(0, len(indices), size)]


def cache_features(
    front_end: FrontEnd,
    audio: Audio,
    rows: Sequence[int],
    cache_dir: Path,
    *,
    dtype: npt.DTypeLike,
    label: str = "",
) -> FeatureStore:
    """The features of some clips, from the cache where extractor, normalisation and clips are the same.

    Args:
        audio: the prepared split.
        rows: its rows, in the order in which the store will hold them.
        cache_dir: stores lie in `cache_dir/features`; each appears whole or not at all.
        dtype: float16 halves the file; float32 is exact.
        label: shown at the progress bar; empty for none.

    Raises:
        UserError: the features of a clip are not finite.
        OSError: they cannot be written.
    """
    names = hashlib.sha256(json.dumps([audio.key, list(map(int, rows)), np.dtype(dtype).name]).encode())
    folder = cache_dir / "features" / f"{names.hexdigest()[:16]}-{front_end.key()[:16]}"

    def fill(partial: Path) -> None:
        offsets = _fill(partial / "values.npy", front_end, audio, rows, dtype, label)
        np.save(partial / "offsets.npy", offsets)

    keep(folder, fill)
    return FeatureStore(np.load(folder / "values.npy", mmap_mode="r"), np.load(folder / "offsets.npy"))


def open_features(
    audio: Audio,
    rows: Sequence[int],
    front_end: FrontEnd,
    cache_dir: Path,
    training: TrainingConfig,
    accelerator: Accelerator,
    name: str,
) -> FeatureStore | ComputedFeatures:
    """The features of some clips as a run uses them: cached by the first process where they are missing, or without
    `training.cache_features` made each time that they are asked for.

    The extractor computes in bf16 where the encoder and `training.bf16_features` have it, else in 32 bits.

    Args:
        name: of the split, for people.
    """
    in_bf16 = training.bf16_features and accelerator.mixed_precision == "bf16"
    front_end = replace(front_end, dtype=torch.bfloat16 if in_bf16 else torch.float32)
    if not training.cache_features:
        return ComputedFeatures(front_end, audio, rows)
    dtype = np.dtype(np.float32 if accelerator.mixed_precision == "no" else np.float16)
    with accelerator.main_process_first():
        size = store_size_bytes(front_end, audio.num_samples[list(rows)].tolist(), dtype) / 2**20
        accelerator.print(f"features of {name}: {size:.0f} MiB on disk in {cache_dir / 'features'}")
        label = f"features of {name}" if accelerator.is_main_process else ""
        return cache_features(front_end, audio, rows, cache_dir, dtype=dtype, label=label)
