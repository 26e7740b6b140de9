from __future__ import annotations

from unispeech_ft.launching import before_torch_loads

before_torch_loads()

import io
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from accelerate import Accelerator
from running import tiny_settings, write_settings

import unispeech_ft
from unispeech_ft import cli
from unispeech_ft.models.saved import SavedModel, load_saved
from unispeech_ft.testing.corpus import make_corpus


@pytest.fixture(scope="session")
def spoken_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few clips of 2 to 5 s to train, validate and test on."""
    return make_corpus(
        tmp_path_factory.mktemp("spoken") / "demo", ["ky"], train_hours=0.006, dev_hours=0.004, test_hours=0.006
    )


@pytest.fixture(scope="session")
def tiny_speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some 22 training clips of 2 to 5 s, and a few to validate and test on."""
    root = tmp_path_factory.mktemp("speech") / "demo"
    return make_corpus(root, ["ky"], train_hours=0.02, dev_hours=0.004, test_hours=0.004)


@pytest.fixture(scope="session")
def accelerator() -> Accelerator:
    return Accelerator(cpu=True)


@pytest.fixture(scope="session")
def small_config(spoken_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("small")
    settings = tiny_settings(spoken_corpus, folder / "runs")
    return write_settings(folder / "small.yaml", settings)


@pytest.fixture(scope="session")
def small_run(small_config: Path) -> unispeech_ft.RunResult:
    """A run of two updates; its model says something, but nothing sensible."""
    return unispeech_ft.train(small_config, {"schedule.updates": 2})


@pytest.fixture(scope="session")
def small_model(small_run: unispeech_ft.RunResult) -> SavedModel:
    return load_saved(small_run.model_dir)


@pytest.fixture
def command(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int | str | None, str, str]]:
    """Runs `unispeech-ft` in this process: words → exit status, stdout, stderr."""

    def run_command(*words: object) -> tuple[int | str | None, str, str]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
        with pytest.raises(SystemExit) as ended:
            cli.main([str(word) for word in words])
        output = capfd.readouterr()
        return ended.value.code, output.out, output.err

    return run_command
