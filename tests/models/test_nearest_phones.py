"""Phones that the head of the base model lacks start from their nearest one."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from running import TINY_MODEL
from transformers import AutoConfig, AutoModelForCTC

from unispeech_ft.config.sections import DataConfig, HeadConfig, MaskConfig, ModelConfig
from unispeech_ft.errors import UserError
from unispeech_ft.models.build import BuiltModel, build_model
from unispeech_ft.models.families import backbone
from unispeech_ft.models.nearest_phones import nearest_phones
from unispeech_ft.phonemes.tokenizer import PhoneTokenizer, save_tokenizer
from unispeech_ft.tasks.ctc_phoneme.config import CtcPhonemeConfig

pytest.importorskip("panphon")

OLD, NEW = ["a", "b", "i", "s", "t", "n"], ["a", "aː", "d[", "e", "ŋ", "z", "˥"]
NEAREST = HeadConfig(new_phones="nearest")


def test_what_is_nearest() -> None:
    found = nearest_phones(["aː", "d[", "ŋ", "z", "p", "tʃ", "˥", "5"], OLD)
    assert found == {"aː": "a", "d[": "t", "ŋ": "n", "z": "s", "p": "b", "tʃ": "t"}
    assert nearest_phones(["ɑ"], ["˥"]) == {}
    assert nearest_phones(["aː"], []) == {}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    torch.manual_seed(3)
    settings = {key: value for key, value in TINY_MODEL.items() if key != "model_type"}
    config = AutoConfig.for_model(TINY_MODEL["model_type"], vocab_size=len(OLD) + 4, **settings)
    network = AutoModelForCTC.from_config(config)
    with torch.no_grad():
        network.lm_head.bias.normal_()
    network.save_pretrained(folder)
    save_tokenizer(PhoneTokenizer.from_inventory(OLD, "transformers"), folder)
    return folder


def built(folder: Path, head: HeadConfig) -> BuiltModel:
    tokenizer = PhoneTokenizer.from_inventory(NEW, "original")
    return build_model(ModelConfig(base=str(folder)), MaskConfig(), DataConfig(), tokenizer, 5, head)


def test_rows_start_from_the_nearest(base: Path) -> None:
    model, plain = built(base, NEAREST), built(base, HeadConfig())
    before = AutoModelForCTC.from_pretrained(base).lm_head
    old = PhoneTokenizer.from_inventory(OLD, "transformers").ids
    new = PhoneTokenizer.from_inventory(NEW, "original").ids
    expected = {"a": "a", "aː": "a", "d[": "t", "e": "i", "ŋ": "n", "z": "s"}
    for phone, other in expected.items():
        torch.testing.assert_close(model.model.lm_head.weight[new[phone]], before.weight[old[other]], rtol=0, atol=0)
        torch.testing.assert_close(model.model.lm_head.bias[new[phone]], before.bias[old[other]], rtol=0, atol=0)
    assert torch.equal(model.model.lm_head.weight[new["˥"]], plain.model.lm_head.weight[new["˥"]])
    assert (plain.kept_rows, plain.fresh_rows, plain.nearest) == (1 + 3, 7, {})
    assert (model.kept_rows, model.fresh_rows) == (1 + 3, 2)
    assert model.head_line().endswith("5 as the nearest phone: aː from a, d[ from t, e from i, ŋ from n, z from s")
    assert plain.head_line() == "head: 4 rows taken over from the base model, 7 fresh"


def test_a_base_without_phones(base: Path, tmp_path: Path) -> None:
    backbone(AutoModelForCTC.from_pretrained(base)).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="no CTC head with a vocabulary"):
        built(tmp_path, NEAREST)


def test_without_panphon(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "panphon", None)
    with pytest.raises(UserError, match="needs panphon"):
        built(base, NEAREST)


def test_a_head_that_starts_at_random_anyway() -> None:
    settings = {"model": {"from_scratch": True, "config": TINY_MODEL}, "head": {"new_phones": "nearest"}}
    found = CtcPhonemeConfig.model_validate(settings)
    assert [what for wrong, what, _ in found.checks() if wrong and "but the head starts at random" in what]
