"""SIGKILL at random times, from the first import to the export: begun again by one command, a run ends in the very
weights and with the very history of one that was left alone."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from running import PRETRAINING, RECIPE, REPOSITORY, events, merged, tiny_pretraining, tiny_settings, write_settings
from warm import clean_environment

TRIALS, KILLS = 6, 5


def start(recipe: Path, settings: Path, folder: Path) -> subprocess.Popen[str]:
    words = ["--config", settings, "--output_dir", folder / "run", "--data.cache_dir", folder / "cache"]
    return subprocess.Popen(
        [sys.executable, str(recipe), *map(str, words), "--resume", "auto"],
        cwd=REPOSITORY,
        env=clean_environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def history(run: Path) -> list[tuple[float, ...]]:
    return [(event["update"], event["loss"], event["grad_norm"]) for event in events(run)]


@pytest.mark.slow
@pytest.mark.parametrize("recipe", [RECIPE, PRETRAINING], ids=["ctc_phoneme", "pretrain"])
def test_random_kills_change_nothing(recipe: Path, tiny_speech: Path, tmp_path: Path) -> None:
    often = {"checkpointing": {"every_updates": 2}, "evaluation": {"every_updates": 3}, "schedule": {"updates": 30}}
    tiny = tiny_settings if recipe == RECIPE else tiny_pretraining
    settings = write_settings(tmp_path / "tiny.yaml", merged(tiny(tiny_speech, tmp_path), often))
    started = time.monotonic()
    process = start(recipe, settings, tmp_path / "straight")
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    whole_s = time.monotonic() - started
    random, kills = np.random.default_rng(2026), 0
    for trial in range(TRIALS):
        folder = tmp_path / str(trial)
        for _ in range(KILLS):
            process = start(recipe, settings, folder)
            try:
                process.wait(timeout=random.uniform(0.1, 0.9) * whole_s)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                kills += 1
            process.communicate()
        process = start(recipe, settings, folder)
        _, said = process.communicate(timeout=300)
        assert process.returncode == 0, said
        assert history(folder / "run") == history(tmp_path / "straight" / "run")
        same = [
            (run / "model" / "model.safetensors").read_bytes() for run in (folder / "run", tmp_path / "straight/run")
        ]
        assert same[0] == same[1]
    print(f"{kills} kills")
    assert kills > TRIALS
