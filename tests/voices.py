"""Made-up voices, buzzes whose pitch tells speakers apart, and tiny runs on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import soundfile
from running import TINY_MODEL

from unispeech_ft.config.reading import ConfigFile, Run, read_config


def buzz(pitch_hz: float, duration_s: float, seed: int, harmonics: int = 3, noise: float = 0.001) -> np.ndarray:
    """`[S]` at 16 kHz, with harmonics that fall off, within 1 % of the pitch."""
    random = np.random.default_rng(seed)
    time_s = np.arange(int(16_000 * duration_s)) / 16_000
    pitch_hz *= random.uniform(0.99, 1.01)
    tone = sum(np.sin(2 * np.pi * k * pitch_hz * time_s) / k for k in range(1, harmonics + 1))
    return (0.2 * tone + random.normal(0, noise, len(time_s))).astype(np.float32)


def write_voices(root: Path, speakers: int, clips: int, voice: Callable[[int, float, int], np.ndarray]) -> Path:
    """A folder for each speaker, with clips of half a second and more.

    Args:
        voice: from a speaker's index, a duration and a seed.
    """
    for speaker in range(speakers):
        (root / f"v{speaker:02d}").mkdir(parents=True)
        for number in range(clips):
            seed = 100 * speaker + number
            duration_s = np.random.default_rng(seed).uniform(0.5, 0.8)
            soundfile.write(root / f"v{speaker:02d}" / f"{number}.wav", voice(speaker, duration_s, seed), 16_000)
    return root


def tiny_runs(
    file: ConfigFile[Run], yaml: Path, voices: Path, place: Path, own: Mapping[str, object]
) -> Callable[..., Run]:
    """Makes configurations of runs in `place`, from a name and overrides with `__` for dots.

    Args:
        own: of the task, by dotted key.
    """
    shared = {
        "model.from_scratch": True,
        "model.base": None,
        "model.config": {**TINY_MODEL, "num_hidden_layers": 1},
        "data.root": str(voices),
        "data.cache_dir": str(place / "cache"),
        "augmentation.speeds": [],
        "schedule.warmup": 4,
        "tracking.trackers": [],
    }

    def config(name: str, **overrides: object) -> Run:
        given = {key.replace("__", "."): value for key, value in overrides.items()}
        return read_config(file, yaml, {**shared, **own, "output_dir": str(place / name), **given})

    return config
