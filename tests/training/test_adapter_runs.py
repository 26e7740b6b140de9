"""A run with adapters: what trains, what a checkpoint holds, resuming to the bit, and a model of stock layers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

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

from unispeech_ft.hub.verify import check_folder

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
    """The configuration and the folder of a finished run of LoRA with a checkpoint in the middle."""
    adapter = {"kind": "lora", "rank": 4, "alpha": 8.0}
    return finished(base, tiny_speech, tmp_path_factory.mktemp("adapters"), adapter, "6 projections of rank 4")


@pytest.fixture(scope="module")
def narrow(base: Path, tiny_speech: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same with bottlenecks."""
    adapter = {"kind": "bottleneck", "rank": 4}
    return finished(base, tiny_speech, tmp_path_factory.mktemp("narrow"), adapter, "3 bottlenecks of 4 channels")


@pytest.fixture(params=["straight", "narrow"])
def either(request: pytest.FixtureRequest) -> tuple[Path, Path]:
    found: tuple[Path, Path] = request.getfixturevalue(request.param)
    return found


def finished(base: Path, speech: Path, folder: Path, adapter: dict[str, Any], said: str) -> tuple[Path, Path]:
    changes = {
        "adapter": adapter,
        "batch": {"seconds_per_update": 12.0},
        "schedule": {"updates": UPDATES, "freeze_encoder_updates": FROZEN},
        "evaluation": {"every_updates": 3},
        "checkpointing": {"every_updates": INTERRUPTED, "keep_last": 9},
        "training": {"ema_decay": 0.9},
    }
    settings = merged(tiny_settings(speech, folder), changes)
    settings["model"] = {"base": str(base), "layerdrop": 0.3}
    file = write_settings(folder / "adapters.yaml", settings)
    assert f"adapters: {said}; " in must_run("--config", file)
    return file, folder / "run"


def test_a_checkpoint_holds_what_trains(straight: tuple[Path, Path]) -> None:
    weights = torch.load(straight[1] / "checkpoints" / f"update-{UPDATES:06d}" / "model.pt", weights_only=True)
    adapters = [name for name in weights if "lora_" in name]
    assert set(weights) == {*adapters, "lm_head.weight", "lm_head.bias"}
    assert {name.split(".")[-3] for name in adapters} == {"lora_A", "lora_B"}
    assert len(adapters) == 2 * 2 * 3
    assert all(weights[name].any() for name in adapters)


def test_the_encoder_waits_while_it_is_frozen(either: tuple[Path, Path], tmp_path: Path) -> None:
    file, _ = either
    must_run("--config", file, "--output_dir", tmp_path / "run", "--schedule.updates", str(FROZEN))
    weights = torch.load(tmp_path / "run" / "checkpoints" / f"update-{FROZEN:06d}" / "model.pt", weights_only=True)
    learnt = [
        tensor
        for name, tensor in weights.items()
        if name.endswith(("lora_B.default.weight", "adapter_layer.linear_2.weight"))
    ]
    assert learnt
    assert not any(tensor.any() for tensor in learnt)


def test_the_model_has_merged_weights(straight: tuple[Path, Path], base: Path) -> None:
    folder, best = straight[1] / "model", straight[1] / "checkpoints" / "best" / "model.pt"
    _, said = AutoModelForCTC.from_pretrained(folder, output_loading_info=True)
    assert not said["missing_keys"]
    assert not said["unexpected_keys"]
    found, before = load_file(folder / "model.safetensors"), load_file(base / "model.safetensors")
    learnt = torch.load(best, weights_only=True)
    assert found.keys() == before.keys()
    for name in found.keys() - {"lm_head.weight", "lm_head.bias"}:
        up, down = (learnt.get(f"{name.removesuffix('.weight')}.lora_{side}.default.weight") for side in "BA")
        added = 0 if up is None else 2.0 * up @ down
        torch.testing.assert_close(found[name], before[name] + added, rtol=0, atol=1e-6)
    assert torch.equal(found["lm_head.weight"], learnt["lm_head.weight"])


def test_bottlenecks_stay_in_the_model(narrow: tuple[Path, Path], base: Path) -> None:
    folder, best = narrow[1] / "model", narrow[1] / "checkpoints" / "best" / "model.pt"
    model, said = AutoModelForCTC.from_pretrained(folder, output_loading_info=True)
    assert not said["missing_keys"]
    assert not said["unexpected_keys"]
    assert model.config.adapter_attn_dim == 4
    found, before = load_file(folder / "model.safetensors"), load_file(base / "model.safetensors")
    learnt = torch.load(best, weights_only=True)
    assert all(torch.equal(found[name], learnt[name]) for name in learnt)
    rest = found.keys() - learnt.keys()
    assert all(torch.equal(found[name], before[name]) for name in rest)
    assert {name for name in learnt if "norm" not in name and "adapter_layer" not in name} == {
        "lm_head.weight",
        "lm_head.bias",
    }
    assert learnt["unispeech.encoder.layers.1.adapter_layer.linear_2.weight"].any()
    assert any(not torch.equal(learnt[name], before[name]) for name in learnt if name.endswith("final_layer_norm.bias"))


def test_a_model_with_bottlenecks_scores_as_its_run_did(narrow: tuple[Path, Path], tmp_path: Path) -> None:
    """In a process of its own, where plain Transformers made the layers."""
    words = ("evaluate", narrow[1] / "model", "--config", narrow[0], "--split", "test", "--output", tmp_path / "again")
    must_run(*words, script=("-m", "unispeech_ft.cli"))
    found = [folder / "hypotheses.jsonl" for folder in (narrow[1] / "eval" / "test", tmp_path / "again")]
    assert found[0].read_text(encoding="utf-8") == found[1].read_text(encoding="utf-8")


def test_the_card_says_what_trained(straight: tuple[Path, Path], narrow: tuple[Path, Path]) -> None:
    made = {
        straight: "low-rank products (LoRA, rank 4, alpha 8; query, value), merged and the head trained: ",
        narrow: "bottlenecks of 4 channels in each layer, the encoder's layer norms and the head trained: ",
    }
    for (_, run), said in made.items():
        facts = json.loads((run / "adapters.json").read_text(encoding="utf-8"))
        weights = torch.load(run / "checkpoints" / "best" / "model.pt", weights_only=True)
        assert facts["trained"] == sum(tensor.numel() for tensor in weights.values())
        assert f"- Adapters: {said}{facts['trained']:,} of {facts['weights']:,} weights (" in (
            run / "model" / "README.md"
        ).read_text(encoding="utf-8")
        assert check_folder(run).faults == []


def test_resuming_is_exact(either: tuple[Path, Path], tmp_path: Path) -> None:
    check_resuming(*either, tmp_path / "copy")


def test_two_processes_do_the_same(either: tuple[Path, Path], tmp_path: Path) -> None:
    check_two_processes(*either, tmp_path / "two")


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
