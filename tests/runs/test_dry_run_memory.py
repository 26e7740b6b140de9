"""What a dry run says of memory and disk: weights that train cost more than those that stay."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from running import TINY_MODEL, merged, must_run, run_recipe, tiny_settings, write_settings
from transformers import AutoConfig, PreTrainedConfig

from unispeech_ft.runs.dry_run import BYTES_A_TRAINED, BYTES_A_WEIGHT, count_weights, memory_lines
from unispeech_ft.runs.room import run_bytes
from unispeech_ft.tasks.ctc_phoneme.config import CtcPhonemeConfig

LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}


def shape(**changes: Any) -> PreTrainedConfig:
    settings = {key: value for key, value in merged(TINY_MODEL, changes).items() if key != "model_type"}
    return AutoConfig.for_model("unispeech", vocab_size=9, **settings)


def configured(**sections: Any) -> CtcPhonemeConfig:
    schedule = {"schedule": {"updates": 10, "freeze_encoder_updates": 2}}
    return CtcPhonemeConfig.model_validate(merged(schedule, sections))


def test_what_trains_is_counted() -> None:
    small = shape()
    whole = count_weights(configured(), small)
    extractor = 256 * 32 + 32 + 2 * 32 + 8 * 32 * 16 + 16 + 2 * 16
    assert whole.trained == whole.kept == whole.everything - extractor
    head = count_weights(configured(schedule={"freeze_encoder_updates": 10}), small)
    assert head == (whole.everything, whole.kept, 9 * 32 + 9)
    low = count_weights(configured(adapter={"kind": "lora", "rank": 4}), small)
    added = 3 * 2 * 2 * 4 * 32
    assert low == (whole.everything + added, added + 9 * 32 + 9, added + 9 * 32 + 9)
    waiting = {"adapter": {"kind": "lora", "rank": 4}, "schedule": {"freeze_encoder_updates": 10}}
    assert count_weights(configured(**waiting), small).trained == 9 * 32 + 9
    assert small.to_dict() == shape().to_dict(), "a bottleneck would stay in the configuration"


def gib_of(config: CtcPhonemeConfig, model: PreTrainedConfig) -> tuple[float, str]:
    lines = memory_lines(config, model, count_weights(config, model), 16_000 * 5)
    found = re.fullmatch(r"memory: about ([\d.]+) GiB on each device in float32 \(an estimate\)", lines[1])
    assert found
    return float(found[1]), lines[0]


@pytest.mark.parametrize("kind", ["lora", "bottleneck"])
def test_memory_of_adapters(kind: str) -> None:
    large = shape(**LARGE)
    plain, said = gib_of(configured(), large)
    adapted, of_them = gib_of(configured(adapter={"kind": kind}), large)
    weights = count_weights(configured(), large)
    saved = weights.trained * BYTES_A_TRAINED / 2**30
    assert plain - adapted == pytest.approx(saved, abs=0.15)
    assert plain > (weights.everything * BYTES_A_WEIGHT + weights.trained * BYTES_A_TRAINED) / 2**30
    assert said.endswith("M parameters")
    assert re.search(r" M parameters, of which [\d.]+ M train$", of_them)


def test_memory_of_a_frozen_encoder() -> None:
    """Nothing is kept for a backward pass through it."""
    large = shape(**LARGE)
    frozen, said = gib_of(configured(schedule={"freeze_encoder_updates": 10}), large)
    assert frozen < 0.5 * gib_of(configured(), large)[0]
    assert said.endswith("of which 9,225 train")


def test_disk() -> None:
    everything = 1_000_000
    assert run_bytes(everything, 2) == everything * (12 * 3 + 12)
    assert run_bytes(everything, 2, kept=10_000) == 10_000 * (12 * 3 + 8) + 4 * everything


def test_a_model_that_cannot_be_reached() -> None:
    [line] = memory_lines(configured(), None, None, 16_000)
    assert line.endswith("frames and memory are not estimated")


def test_a_dry_run_says_so_and_refuses_what_does_not_fit(tiny_speech: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    settings = merged(tiny_settings(tiny_speech, tmp_path), {"dry_run": True, "adapter": {"kind": "bottleneck"}})
    settings["model"] = {"base": str(base)}
    file = write_settings(tmp_path / "dry.yaml", settings)
    shape().save_pretrained(base)
    assert re.search(r"M parameters, of which [\d,]+ train", must_run("--config", file).replace("\n  ", " "))
    plain = {key: value for key, value in TINY_MODEL.items() if key != "model_type"}
    AutoConfig.for_model("wavlm", vocab_size=9, **plain).save_pretrained(base)
    refused = run_recipe("--config", file)
    assert refused.returncode == 2
    assert "adapter.kind is bottleneck, but Transformers has no place for one" in refused.stderr
    assert "Traceback" not in refused.stderr
