"""What room on the disk a run takes, and what is there."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from unispeech_ft.config.sections import RunConfig
from unispeech_ft.files import free_bytes
from unispeech_ft.models.families import num_channels, num_frames

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

BYTES_A_SAMPLE, BYTES_A_WEIGHT, BYTES_OF_MOMENTS = 2, 4, 8


def run_bytes(parameters: int, keep_last: int, *, means: int = 0, kept: int | None = None) -> int:
    """Checkpoints, of which there is one more while it is written, the best weights likewise, and the model.

    Args:
        kept: weights that a checkpoint holds, of all that there are; None for all.
        means: further weights that a checkpoint holds: a running mean, and the best so far.
    """
    checkpoint = BYTES_A_WEIGHT * (1 + means) + BYTES_OF_MOMENTS
    kept = parameters if kept is None else kept
    return kept * (checkpoint * (keep_last + 1) + 2 * BYTES_A_WEIGHT) + parameters * BYTES_A_WEIGHT


def cache_bytes(model: PreTrainedConfig, num_samples: Iterable[int], bytes_a_value: int) -> tuple[int, int]:
    """Decoded audio and cached features of clips.

    Args:
        num_samples: of each clip, at 16 kHz.
        bytes_a_value: of a feature.
    """
    samples = [int(count) for count in num_samples]
    frames = sum(num_frames(model, count) for count in samples)
    return BYTES_A_SAMPLE * sum(samples), frames * num_channels(model) * bytes_a_value


def room_lines(
    config: RunConfig,
    model: PreTrainedConfig,
    parameters: int,
    num_samples: Iterable[int],
    mixed_precision: str | None,
    kept: int | None = None,
) -> list[str]:
    """What a run takes in its two folders and what is free there, with a warning where that is less.

    Args:
        num_samples: of each clip of all splits.
        mixed_precision: as the accelerator names it, which decides the size of features; None where none are kept.
        kept: weights that a checkpoint holds; None for all.
    """
    caches = config.training.cache_features and mixed_precision is not None
    audio, features = cache_bytes(model, num_samples, 4 if mixed_precision == "no" else 2)
    features = features if caches else 0
    means = (config.training.ema_decay is not None) + (config.training.average_best or 0)
    run = run_bytes(parameters, config.checkpointing.keep_last, means=means, kept=kept)
    cache, output = config.data.cache_folder, Path(config.output_dir)
    free = free_bytes(cache), free_bytes(output)
    lines = [
        f"disk: {_size(audio)} of audio and {_size(features)} of features in {cache} ({_size(free[0])} free), about"
        f" {_size(run)} of checkpoints and model in {output} ({_size(free[1])} free)"
    ]
    # The audio is there by now.
    if features > free[0] or run > free[1]:
        lines.append("warning: more than is free: make room, or name other folders (data.cache_dir, output_dir)")
    return lines


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 2**30:.1f} GiB" if size_bytes >= 2**30 else f"{size_bytes / 2**20:.0f} MiB"
