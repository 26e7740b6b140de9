"""The learning rate over the updates: the published tri-stage schedule, and the others."""

from __future__ import annotations

import math

import pytest

from unispeech_ft.config.sections import ScheduleConfig
from unispeech_ft.training.schedule import is_frozen, lr_scale

PUBLISHED = ScheduleConfig()


@pytest.mark.parametrize(
    ("done", "lr"),
    [
        (0, 2e-7),  # 0.01 × 2e-5
        (1_000, 1.01e-5),  # half of the warm-up
        (2_000, 2e-5),
        (6_000, 2e-5),
        (10_000, 2e-5),
        (15_000, 2e-5 * math.sqrt(0.05)),  # half of an exponential decay
        (20_000, 1e-6),  # 0.05 × 2e-5
        (50_000, 1e-6),
    ],
)
def test_the_published_tri_stage(done: int, lr: float) -> None:
    assert 2e-5 * lr_scale(done, PUBLISHED) == pytest.approx(lr, rel=1e-12)


def test_tri_stage_decays_by_the_same_factor_at_every_update() -> None:
    factors = [lr_scale(done + 1, PUBLISHED) / lr_scale(done, PUBLISHED) for done in range(10_000, 19_999, 777)]
    assert factors == pytest.approx([0.05 ** (1 / 10_000)] * len(factors), rel=1e-12)


def test_tri_stage_without_decay() -> None:
    flat = PUBLISHED.model_copy(update={"final_scale": 1.0})
    assert lr_scale(15_000, flat) == 1.0
    to_zero = PUBLISHED.model_copy(update={"final_scale": 0.0})
    assert lr_scale(10_001, to_zero) == 0.0
    steep = PUBLISHED.model_copy(update={"decay": 0})
    assert [lr_scale(done, steep) for done in (9_999, 10_000)] == [1.0, 0.05]


SHORT = {"updates": 110, "warmup": 10, "init_scale": 0.1, "final_scale": 0.2}


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("linear", {0: 0.1, 5: 0.55, 10: 1.0, 60: 0.6, 110: 0.2, 200: 0.2}),
        ("cosine", {0: 0.1, 5: 0.55, 10: 1.0, 35: 0.2 + 0.8 * (1 + math.sqrt(0.5)) / 2, 60: 0.6, 110: 0.2, 200: 0.2}),
        ("constant", {0: 0.1, 5: 0.55, 10: 1.0, 60: 1.0, 110: 1.0}),
    ],
)
def test_the_other_shapes(name: str, values: dict[int, float]) -> None:
    schedule = ScheduleConfig.model_validate({"name": name, **SHORT})
    assert [lr_scale(done, schedule) for done in values] == pytest.approx(list(values.values()))


@pytest.mark.parametrize("name", ["tri_stage", "linear", "cosine", "constant"])
def test_without_warmup_the_first_update_has_the_full_rate(name: str) -> None:
    schedule = ScheduleConfig.model_validate({"name": name, "warmup": 0, "hold": 5})
    assert lr_scale(0, schedule) == 1.0


def test_the_encoder_is_frozen_for_exactly_that_many_updates() -> None:
    assert [is_frozen(done, PUBLISHED) for done in (0, 1_999, 2_000)] == [True, True, False]
    assert not is_frozen(0, PUBLISHED.model_copy(update={"freeze_encoder_updates": 0}))
