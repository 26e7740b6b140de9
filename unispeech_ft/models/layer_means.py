"""What every layer of a frozen encoder says of a clip, as one mean vector a layer: all that a head needs that is linear
up to its mean over time.

`L` layers and the encoder's output, `B` clips, `T` frames of a clip, `C` hidden channels.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from unispeech_ft.data.augmentation import Audio
from unispeech_ft.data.batch_plan import evaluation_batches
from unispeech_ft.data.row import Row, row_of
from unispeech_ft.errors import UserError
from unispeech_ft.files import allocate, keep
from unispeech_ft.models.decoding import seconds_per_batch
from unispeech_ft.models.families import backbone
from unispeech_ft.models.feature_cache import ComputedFeatures, FeatureStore
from unispeech_ft.models.forward import encode_layers
from unispeech_ft.models.front_end import FrontEnd

if TYPE_CHECKING:
    from accelerate import Accelerator


@torch.no_grad()
def layer_means(front_end: FrontEnd, row: Row) -> Tensor:
    """A row of features → `[B, L + 1, C]` float32, by the front end's own model, which stays in evaluation mode."""
    backbone(front_end.model).eval()
    states = encode_layers(front_end.model, row)
    clips = [torch.stack([clip.float().mean(dim=0) for clip in state.split(list(row.num_frames))]) for state in states]
    return torch.stack(clips, dim=1)


def _key(front_end: FrontEnd, audio: Audio, rows: Sequence[int], precision: str) -> str:
    digest = hashlib.sha256(json.dumps([audio.key, list(map(int, rows)), front_end.key(), precision]).encode())
    digest.update(json.dumps(front_end.model.config.to_diff_dict(), sort_keys=True, default=str).encode())
    for name, tensor in sorted(backbone(front_end.model).state_dict().items()):
        digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:32]


def open_layer_means(
    front_end: FrontEnd, audio: Audio, rows: Sequence[int], cache_dir: Path, accelerator: Accelerator, name: str
) -> FeatureStore:
    """The layer means of some clips, `[L + 1, C]` each, computed once by the first process and kept below `cache_dir`.

    Args:
        name: of the split, for people.

    Raises:
        UserError: those of a clip are not finite.
    """
    clips, num_samples = ComputedFeatures(front_end, audio, rows), audio.num_samples[list(rows)].tolist()
    config = front_end.model.config
    layers = config.num_hidden_layers + 1
    shape = (len(rows) * layers, config.hidden_size)

    def fill(partial: Path) -> None:
        values = np.lib.format.open_memmap(partial / "values.npy", mode="w+", dtype=np.float32, shape=shape)
        allocate(partial / "values.npy")
        batches = evaluation_batches(num_samples, seconds_per_batch(front_end.model, num_samples))
        for indices in tqdm(batches, desc=f"layers of {name}", unit="batch", leave=False):
            row = row_of([clips.clip(index) for index in indices]).to(front_end.model.device)
            with accelerator.autocast():
                found = layer_means(front_end, row).cpu().numpy()
            for index, means in zip(indices, found, strict=True):
                if not np.isfinite(means).all():
                    raise UserError(
                        f"what the encoder says of clip {audio.name(rows[index])} is not finite",
                        remedy="look at that clip; where it is sound, run in 32 bits",
                    )
                values[index * layers : (index + 1) * layers] = means
        values.flush()

    with accelerator.main_process_first():
        folder = cache_dir / "layer_means" / _key(front_end, audio, rows, accelerator.mixed_precision)
        size = shape[0] * shape[1] * 4 / 2**20
        accelerator.print(f"layers of {name}: {size:.0f} MiB on disk in {folder.parent}")
        keep(folder, fill)
    return FeatureStore(np.load(folder / "values.npy", mmap_mode="r"), layers * np.arange(len(rows) + 1))
