"""Inner layers, two views, features of phones, clips at several speeds and averaged weights together: a run that was
interrupted ends in the weights of the one that was not, two processes in those of one, and the model has no part that
others lack."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from running import (
    check_resuming,
    check_two_processes,
    events,
    merged,
    must_run,
    run_recipe,
    tiny_settings,
    write_settings,
)
from safetensors.torch import load_file
from transformers import AutoModelForCTC

UPDATES, FROZEN, INTERRUPTED = 9, 2, 5
FIGURES = ("loss", "ctc_loss", "intermediate_loss", "consistency_loss", "features_loss", "grad_norm")
MORE = {
    "model": {"layerdrop": 0.3},
    "loss": {"intermediate_layers": [1, 2], "consistency_weight": 0.2, "entropy_weight": 0.1, "features_weight": 0.3},
    "augmentation": {"speeds": [0.9, 1.1]},
    "training": {"ema_decay": 0.9, "average_best": 2},
}


@pytest.fixture(scope="module")
def straight(tiny_speech: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The configuration and the folder of a finished run with a checkpoint in the middle."""
    pytest.importorskip("panphon")
    folder = tmp_path_factory.mktemp("more")
    changes = {
        "batch": {"seconds_per_update": 12.0},
        "schedule": {"updates": UPDATES, "freeze_encoder_updates": FROZEN},
        "evaluation": {"every_updates": 4},
        "checkpointing": {"every_updates": INTERRUPTED, "keep_last": 9},
    }
    file = write_settings(folder / "more.yaml", merged(merged(tiny_settings(tiny_speech, folder), changes), MORE))
    said = must_run("--config", file)
    assert re.search(r"^train: \d+ changed copies beside its \d+ clips", said, re.MULTILINE)
    return file, folder / "run"


def average_of(run: Path) -> dict[str, torch.Tensor]:
    state = torch.load(run / "checkpoints" / f"update-{UPDATES:06d}" / "state.pt", weights_only=True)
    assert state["average"]["updates"] == UPDATES
    return state["average"]["values"]


def best_of(run: Path) -> list[tuple[float, int]]:
    state = torch.load(run / "checkpoints" / f"update-{UPDATES:06d}" / "state.pt", weights_only=True)
    assert len(state["best"]) == 2
    return [(item["error"], item["update"]) for item in state["best"]]


def test_what_is_logged(straight: tuple[Path, Path]) -> None:
    for event in events(straight[1]):
        added = [event[f"{name}_loss"] for name in ("intermediate", "consistency", "entropy", "features")]
        if event["update"] <= FROZEN:
            assert added == [0, 0, 0, 0]
            assert event["loss"] == pytest.approx(event["ctc_loss"])
        else:
            assert min(added) > 0
            expected = 0.7 * event["ctc_loss"] + 0.3 * added[0] + 0.2 * added[1] + 0.1 * added[2] + 0.3 * added[3]
            assert event["loss"] == pytest.approx(expected, rel=1e-5)
    found = events(straight[1], "evaluation")
    assert [event["update"] for event in found] == [4, 8, UPDATES]
    assert all(event["averaged_per"] >= 0 for event in found)
    assert "mean_of_best_per" not in found[0], "one is no mean"
    assert any("mean_of_best_per" in event for event in found)
    kinds = ("per", "averaged_per", "mean_of_best_per")
    lowest = min(event[kind] for event in found for kind in kinds if kind in event)
    progress = json.loads((straight[1] / "checkpoints" / "best" / "progress.json").read_text(encoding="utf-8"))
    assert progress["best_error"] == lowest
    summary = json.loads((straight[1] / "eval" / "validation" / "summary.json").read_text(encoding="utf-8"))
    assert summary["per"] == pytest.approx(lowest), "the model that is exported is the one that scored best"


def test_resuming_is_exact(straight: tuple[Path, Path], tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    check_resuming(*straight, copy, FIGURES)
    before, after = average_of(straight[1]), average_of(copy)
    assert best_of(straight[1]) == best_of(copy)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_two_processes_do_the_same(straight: tuple[Path, Path], tmp_path: Path) -> None:
    check_two_processes(*straight, tmp_path / "two", FIGURES)
    before, after = average_of(straight[1]), average_of(tmp_path / "two")
    apart = {name: (before[name] - after[name]).abs().max().item() for name in before if "k_proj.bias" not in name}
    assert max(apart.values()) < 1e-5


def test_plain_transformers_load_the_model(straight: tuple[Path, Path]) -> None:
    folder = straight[1] / "model"
    model, said = AutoModelForCTC.from_pretrained(folder, output_loading_info=True)
    assert not said["missing_keys"]
    assert not said["unexpected_keys"]
    assert load_file(folder / "model.safetensors").keys() <= model.state_dict().keys()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("loss.intermediate_weight", "0.5"),
        ("loss.consistency_weight", "0.3"),
        ("loss.features_weight", "0.2"),
        ("training.ema_decay", "0.5"),
        ("augmentation.speeds", "[0.9]"),
    ],
)
@pytest.mark.long
def test_a_checkpoint_of_other_settings_is_refused(
    key: str, value: str, straight: tuple[Path, Path], tmp_path: Path
) -> None:
    file, run = straight
    checkpoint = run / "checkpoints" / f"update-{INTERRUPTED:06d}"
    words = ("--config", file, "--output_dir", tmp_path / "new", "--resume", checkpoint, f"--{key}", value)
    finished = run_recipe(*words)
    assert finished.returncode == 2
    assert "made with other" in finished.stderr
