"""The benchmark runs from end to end, and refuses a comparison of different work. It asserts no speed."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from benchmark.fairness import check_losses, is_fair, losses, trainer_share
from benchmark.measure import Block, Figure, alternate, ratio
from benchmark.run import recipe_hours
from benchmark.setting import PRESETS, Setting, write_model
from running import REPOSITORY
from warm import run_script

from unispeech_ft.data.batch_plan import BatchPlan
from unispeech_ft.errors import UserError

SMALL = {"num_hidden_layers": 2, "hidden_size": 96, "intermediate_size": 64, "conv_dim": [16] * 7}


def benchmark(*options: str) -> subprocess.CompletedProcess[str]:
    return run_script(REPOSITORY / "scripts" / "benchmark.py", *options)


@pytest.fixture
def small_preset(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Setting]:
    monkeypatch.setitem(PRESETS, "small", {**PRESETS["tiny"], **SMALL})
    setting = Setting("small", "cpu", "no", tmp_path, num_utterances=8, seconds_per_update=8.0)
    write_model(setting)
    return setting


def test_losses_agree_and_a_difference_is_refused(small_preset: Setting) -> None:
    from benchmark.ours import Ours, quiet_accelerator
    from benchmark.theirs import Theirs

    ours, theirs = Ours(small_preset, quiet_accelerator(small_preset)), Theirs(small_preset)
    mine, other = check_losses(ours, theirs)
    assert mine == pytest.approx(other, rel=1e-5)
    with torch.no_grad():
        next(theirs.model.unispeech.encoder.parameters()).add_(0.05)
    assert losses(ours, theirs)[1] != pytest.approx(mine, rel=1e-4)
    with pytest.raises(UserError, match="disagree on the loss"):
        check_losses(ours, theirs)


def test_both_sides_train_freeze_and_recognise(small_preset: Setting) -> None:
    from benchmark.ours import Ours, quiet_accelerator
    from benchmark.theirs import Theirs

    ours, theirs = Ours(small_preset, quiet_accelerator(small_preset)), Theirs(small_preset)

    def encoder(model: torch.nn.Module) -> torch.Tensor:
        return model.unispeech.encoder.layers[0].attention.q_proj.weight.detach().clone()

    for side, train in ((ours, ours.train), (theirs, theirs.train)):
        before = encoder(side.model)
        train(1, frozen=True)
        assert torch.equal(encoder(side.model), before), "frozen"
        train(1)
        assert not torch.equal(encoder(side.model), before)
    measured, bare = theirs.train(2)
    assert (measured.count, measured.audio_s) == (bare.count, bare.audio_s)
    assert ours.evaluate(first=True).count == theirs.evaluate(2).count == 8


def test_figures_come_from_the_rounds() -> None:
    order: list[str] = []

    def side(name: str, seconds: float) -> Block:
        order.append(name)
        return Block(seconds, 1, 10.0)

    blocks = alternate({"a": lambda: side("a", 1.0), "b": lambda: side("b", 4.0)}, 3)
    assert order == ["a", "b", "b", "a", "a", "b"]
    assert ratio(blocks["a"], blocks["b"]) == Figure(4.0, 4.0, 4.0)
    assert not is_fair(trainer_share([Block(2.0, 1, 10.0)], [Block(1.0, 1, 10.0)]))
    assert is_fair(trainer_share([Block(1.0, 1, 10.0)], [Block(0.95, 1, 10.0)]))


def test_both_sides_have_updates_of_the_same_size(tmp_path: Path) -> None:
    setting = Setting("tiny", "cpu", "no", tmp_path)
    plan = BatchPlan(setting.prepared().num_samples, setting.padded_s_per_update, setting.padded_s_per_update, seed=1)
    clips = [
        sum(len(micro_batch.clips) for micro_batch in update) for epoch in range(5) for update in plan.epoch(epoch)
    ]
    assert setting.clips_per_update == 6
    assert sum(clips) / len(clips) == pytest.approx(6, rel=0.05)


def test_the_recipes_hours_follow_from_both_phases() -> None:
    training, frozen = [Block(2.0, 1, 500.0)], [Block(1.0, 1, 1000.0)]
    assert recipe_hours(training, frozen) == pytest.approx((18_000 * 250 / 250 + 2_000 * 250 / 1000) / 3600)


@pytest.mark.long
def test_the_script_prints_json_with_the_ratios() -> None:
    few = ["--utterances", "8", "--seconds-per-update", "8", "--rounds", "1", "--updates", "1", "--trial-updates", "1"]
    done = benchmark(*few, "--evaluations", "1", "--json")
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert set(printed["ratio"]) == {"training", "frozen", "evaluation", "first_evaluation", "memory"}
    assert all(value > 0 for value in printed["ratio"].values())
    assert printed["trainer_arguments"]["per_device_train_batch_size"] == 2
    assert printed["recipe_hours"]["ours"] > 0
    assert printed["losses"][0] == pytest.approx(printed["losses"][1], rel=1e-4)


def test_a_wrong_key_of_our_side_is_told() -> None:
    done = benchmark("--training.turbo", "true")
    assert done.returncode == 2
    assert "training.turbo" in done.stderr
