"""A run with adapters: what trains, what a checkpoint holds, resuming to the bit, and a model of stock layers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from running import (
    TINY_MODEL,
    check_resuming,
    check_two_processes,
    merged,
    must_run,
    run_recipe,
    tiny_settings,
    write_settings,
)
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCTC

UPDATES, FROZEN, INTERRUPTED = 6, 2, 4


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    torch.manual_seed(3)
    settings = {key: value for key, value in TINY_MODEL.items() if key != "model_type"}
    AutoModelForCTC.from_config(AutoConfig.for_model("unispeech", vocab_size=7, **settings)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def straight(base: Path, tiny_speech: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The configuration and the folder of a finished run with a checkpoint in the middle."""
    folder = tmp_path_factory.mktemp("adapters")
    changes = {
        "adapter": {"kind": "lora", "rank": 4, "alpha": 8.0},
        "batch": {"seconds_per_update": 12.0},
        "schedule": {"updates": UPDATES, "freeze_encoder_updates": FROZEN},
        "evaluation": {"every_updates": 3},
        "checkpointing": {"every_updates": INTERRUPTED, "keep_last": 9},
        "training": {"ema_decay": 0.9},
    }
    settings = merged(tiny_settings(tiny_speech, folder), changes)
    settings["model"] = {"base": str(base), "layerdrop": 0.3}
    file = write_settings(folder / "adapters.yaml", settings)
    assert "adapters: 6 projections of rank 4; " in must_run("--config", file)
    return file, folder / "run"


def test_a_checkpoint_holds_what_trains(straight: tuple[Path, Path]) -> None:
    weights = torch.load(straight[1] / "checkpoints" / f"update-{UPDATES:06d}" / "model.pt", weights_only=True)
    adapters = [name for name in weights if "parametrizations" in name and "pos_conv" not in name]
    assert set(weights) == {*adapters, "lm_head.weight", "lm_head.bias"}
    assert {name.rpartition(".")[2] for name in adapters} == {"up", "down"}
    assert len(adapters) == 2 * 2 * 3
    assert all(weights[name].any() for name in adapters)


def test_the_encoder_waits_while_it_is_frozen(straight: tuple[Path, Path], tmp_path: Path) -> None:
    file, _ = straight
    must_run("--config", file, "--output_dir", tmp_path / "run", "--schedule.updates", str(FROZEN))
    weights = torch.load(tmp_path / "run" / "checkpoints" / f"update-{FROZEN:06d}" / "model.pt", weights_only=True)
    assert not any(tensor.any() for name, tensor in weights.items() if name.endswith(".up"))


def test_the_model_has_merged_weights(straight: tuple[Path, Path], base: Path) -> None:
    folder, best = straight[1] / "model", straight[1] / "checkpoints" / "best" / "model.pt"
    _, said = AutoModelForCTC.from_pretrained(folder, output_loading_info=True)
    assert not said["missing_keys"]
    assert not said["unexpected_keys"]
    found, before = load_file(folder / "model.safetensors"), load_file(base / "model.safetensors")
    learnt = torch.load(best, weights_only=True)
    assert found.keys() == before.keys()
    for name in found.keys() - {"lm_head.weight", "lm_head.bias"}:
        stem = f"{name.removesuffix('.weight')}.parametrizations.weight.0"
        added = 2.0 * learnt[f"{stem}.up"] @ learnt[f"{stem}.down"] if f"{stem}.up" in learnt else 0
        torch.testing.assert_close(found[name], before[name] + added, rtol=0, atol=1e-6)
    assert torch.equal(found["lm_head.weight"], learnt["lm_head.weight"])


def test_resuming_is_exact(straight: tuple[Path, Path], tmp_path: Path) -> None:
    check_resuming(*straight, tmp_path / "copy")


def test_two_processes_do_the_same(straight: tuple[Path, Path], tmp_path: Path) -> None:
    check_two_processes(*straight, tmp_path / "two")


@pytest.mark.long
@pytest.mark.parametrize(("key", "value"), [("rank", "8"), ("alpha", "4"), ("where", "[key]"), ("norms", "true")])
def test_a_checkpoint_of_other_adapters_is_refused(
    key: str, value: str, straight: tuple[Path, Path], tmp_path: Path
) -> None:
    checkpoint = straight[1] / "checkpoints" / f"update-{INTERRUPTED:06d}"
    words = ("--output_dir", tmp_path / "new", "--resume", checkpoint, f"--adapter.{key}", value)
    finished = run_recipe("--config", straight[0], *words)
    assert finished.returncode == 2
    assert "made with other" in finished.stderr
