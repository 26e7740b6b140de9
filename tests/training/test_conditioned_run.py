"""A self-conditioned run end to end: it resumes to the same bits, two processes do what one does, and what it exports
is scored by our commands and by Transformers as the run scored it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from running import (
    RECIPE,
    check_resuming,
    check_two_processes,
    merged,
    must_run,
    run_recipe,
    tiny_settings,
    write_settings,
)
from safetensors.torch import load_file
from warm import clean_environment

UPDATES, INTERRUPTED = 8, 5
LAYERS = [1, 2]
FIGURES = ("loss", "ctc_loss", "intermediate_loss", "grad_norm")


@pytest.fixture(scope="module")
def straight(tiny_speech: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str]:
    """The configuration, the folder of a finished run, and what it said."""
    folder = tmp_path_factory.mktemp("conditioned")
    changes = {
        "model": {"layerdrop": 0.3},
        "loss": {"intermediate_layers": LAYERS, "self_conditioned": True},
        "optimizer": {"lr": 1e-2},
        "batch": {"seconds_per_update": 12.0},
        "schedule": {"updates": UPDATES, "freeze_encoder_updates": 1},
        "evaluation": {"every_updates": 4},
        "checkpointing": {"every_updates": INTERRUPTED, "keep_last": 9},
    }
    file = write_settings(folder / "run.yaml", merged(tiny_settings(tiny_speech, folder), changes))
    return file, folder / "run", must_run("--config", file)


def test_the_model_says_what_it_is(straight: tuple[Path, Path, str]) -> None:
    _, run, said = straight
    assert "the model is self-conditioned after layers 1, 2" in said
    weights = load_file(run / "model" / "model.safetensors")
    assert weights["conditioning.weight"].abs().max() > 1e-3
    card = (run / "model" / "README.md").read_text(encoding="utf-8")
    assert "without that it would be another model" in card
    assert card.count("import unispeech_ft.models.self_conditioned") == 2


def test_resuming_is_exact(straight: tuple[Path, Path, str], tmp_path: Path) -> None:
    check_resuming(*straight[:2], tmp_path / "copy", FIGURES)


def test_two_processes_do_the_same(straight: tuple[Path, Path, str], tmp_path: Path) -> None:
    check_two_processes(*straight[:2], tmp_path / "two", FIGURES)


def test_our_command_scores_the_folder_alike(straight: tuple[Path, Path, str], tmp_path: Path) -> None:
    file, run, _ = straight
    words = ["evaluate", run / "model", "--config", file, "--split", "test", "--output", tmp_path / "scored"]
    finished = run_recipe(*words, script=("-m", "unispeech_ft.cli"))
    assert finished.returncode == 0, finished.stderr
    found = [
        (folder / "hypotheses.jsonl").read_text(encoding="utf-8")
        for folder in (run / "eval" / "test", tmp_path / "scored")
    ]
    hypotheses = [[json.loads(line)["hypothesis"] for line in text.splitlines()] for text in found]
    assert hypotheses[0] == hypotheses[1]


@pytest.mark.long
def test_transformers_ask_for_the_import(straight: tuple[Path, Path, str]) -> None:
    code = f"from transformers import AutoModelForCTC; AutoModelForCTC.from_pretrained({str(straight[1] / 'model')!r})"
    for first, works in (("", False), ("import unispeech_ft.models.self_conditioned\n", True)):
        command = [sys.executable, "-c", first + code]
        finished = subprocess.run(command, capture_output=True, text=True, env=clean_environment(), check=False)
        assert (finished.returncode == 0) == works, finished.stderr
        assert works or "(import unispeech_ft)" in finished.stderr


@pytest.mark.long
def test_a_plain_run_refuses_the_checkpoint_and_the_base(straight: tuple[Path, Path, str], tmp_path: Path) -> None:
    file, run, _ = straight
    checkpoint = run / "checkpoints" / f"update-{INTERRUPTED:06d}"
    plain = ("--loss.self_conditioned", "false", "--output_dir", tmp_path / "new")
    finished = run_recipe("--config", file, *plain, "--resume", checkpoint)
    assert finished.returncode == 2
    assert "made with other" in finished.stderr
    base = ("--model.base", run / "model", "--model.from_scratch", "false", "--model.config", "null")
    finished = run_recipe("--config", file, *plain, *base, script=(RECIPE,))
    assert finished.returncode == 2
    assert "is self-conditioned after layers 1, 2" in finished.stderr
