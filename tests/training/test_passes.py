"""Micro-batches that share a pass, and computed instead of cached features: the same update either way."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from benchmark.setting import Setting, write_model

from unispeech_ft.data.batch_plan import BatchPlan, MicroBatch, passes


def micro_batch(index: int, clips: int, longest_s: float) -> MicroBatch:
    return MicroBatch(0, index, tuple(range(clips)), round(longest_s * 16_000) * clips)


def test_passes_hold_neighbours_in_length_within_the_limit() -> None:
    lengths_s = [3.0, 1.0, 2.9, 6.0, 1.1, 2.8]
    micro_batches = [micro_batch(index, 4, longest) for index, longest in enumerate(lengths_s)]
    assert passes(micro_batches, None) == [(item,) for item in micro_batches]
    groups = passes(micro_batches, 24.0)
    assert [[item.index for item in group] for group in groups] == [[3], [0, 2], [5, 4, 1]]
    assert sorted(item.index for group in groups for item in group) == list(range(6))
    for group in groups:
        padded_s = sum(item.padded_samples for item in group) / 16_000
        assert padded_s <= 24.0 or len(group) == 1


@pytest.mark.parametrize("seed", range(5))
def test_a_pass_is_never_over_its_limit_and_nothing_is_lost(seed: int) -> None:
    random = np.random.default_rng(seed)
    plan = BatchPlan(random.integers(16_000, 100_000, 300), 100.0, 13.0, seed)
    for update in plan.updates(0, 20):
        for rank in (0, 1):
            share = update.share(rank, 2)
            groups = passes(share, 50.0)
            assert sorted(item.index for group in groups for item in group) == sorted(item.index for item in share)
            for group in groups:
                assert sum(item.padded_samples for item in group) <= 50 * 16_000


SWITCHES = {
    "shared passes": ("training.seconds_per_pass", "24"),
    "features computed each time": ("training.cache_features", "false"),
    "plain optimizer": ("training.fused_optimizer", "false"),
    "compiled layers": ("training.compile_layers", "true"),
}
NO_DROPOUT = [
    (f"model.{kind}_dropout", "0") for kind in ("hidden", "attention", "activation", "feature_projection", "final")
]


@pytest.fixture(scope="module")
def losses(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[tuple[float, float]]]:
    """Loss and gradient norm of a few updates at a high learning rate, by what was switched."""
    from benchmark.ours import Ours, quiet_accelerator

    from unispeech_ft.tasks.ctc_phoneme.task import ctc_phoneme_task
    from unispeech_ft.training.step import run_update

    found = {}
    for name, switch in {"none": None, **SWITCHES}.items():
        overrides = (*NO_DROPOUT, ("optimizer.lr", "1e-3"), *([switch] if switch else []))
        folder = tmp_path_factory.mktemp("setting")
        setting = Setting("tiny", "cpu", "no", folder, 24, 16.0, 4.0, overrides=overrides)
        object.__setattr__(setting, "waveforms", [clip[: len(clip) // 3] for clip in setting.waveforms])
        write_model(setting)
        ours = Ours(setting, quiet_accelerator(setting))
        config = setting.config()
        task = ctc_phoneme_task(config, ours.built, setting.tokenizer, {"train": ours.features}, ours.accelerator)
        ours.model.train()
        results = [
            run_update(task, ours.optimizer, share, config.optimizer, 1e-3, config.seed, ours.accelerator)
            for share in task.updates(0, 3, None)
        ]
        found[name] = [(float(result.loss), float(result.grad_norm)) for result in results]
    return found


@pytest.mark.parametrize("switch", SWITCHES)
def test_a_switch_changes_how_an_update_is_computed_and_not_what(
    switch: str, losses: dict[str, list[tuple[float, float]]]
) -> None:
    torch.testing.assert_close(losses[switch], losses["none"], rtol=2e-4, atol=0)
    torch.testing.assert_close(losses[switch][0], losses["none"][0], rtol=1e-5, atol=0)
