from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

WriteClip = Callable[..., Path]


@pytest.fixture(scope="session")
def write_clip() -> WriteClip:
    """(path, seconds=…, seed=…) → the path, with noise of speech's level written to it at 16 kHz."""

    def write(path: Path, *, seconds: float = 0.5, seed: int = 0) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        samples = np.random.default_rng(seed).normal(0, 0.1, int(seconds * 16_000)).clip(-1, 1)
        soundfile.write(path, samples.astype(np.float32), 16_000)
        return path

    return write
