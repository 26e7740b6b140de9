"""The base model before it has heard the hour: its own head, folded to the inventory, beside the PER."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from running import TINY_MODEL, events, merged, must_run, tiny_settings, write_settings
from transformers import AutoConfig, AutoModelForCTC

from unispeech_ft.hub.stage import stage
from unispeech_ft.hub.verify import check_folder
from unispeech_ft.models.self_conditioned import self_conditioned_config
from unispeech_ft.phonemes.tokenizer import PhoneTokenizer, save_tokenizer
from unispeech_ft.tasks.ctc_phoneme import zero_shot
from unispeech_ft.tasks.ctc_phoneme.config import load_config
from unispeech_ft.tasks.ctc_phoneme.results import evaluate_saved
from unispeech_ft.tasks.ctc_phoneme.zero_shot import folded_to

# What the base model knows: phones of Kyrgyz, one of another notation, one longer, one that is nothing like any.
PHONES = ["a", "b", "d", "e", "g", "iː", "k", "s", "t", "ʘ"]


def test_folding_is_as_strict_as_it_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zero_shot, "has_features", lambda: False)
    inventory = ["a", "aː", "i", "t", "ɡ", "oː"]
    given = ["a", "aː", "iː", "tʰ", "g", "o", "ʘ"]
    expected = {"a": "a", "aː": "aː", "iː": "i", "tʰ": "t", "g": "ɡ", "o": "oː", "ʘ": "ʘ"}
    assert folded_to(inventory, given) == expected
    assert folded_to([], ["a"]) == {"a": "a"}


def test_what_no_rung_folds_is_the_nearest() -> None:
    pytest.importorskip("panphon")
    assert folded_to(["s", "i", "a"], ["z", "e", "a", "5"]) == {"z": "s", "e": "i", "a": "a", "5": "5"}


def base_model(folder: Path, *more: str, conditioned_layers: Sequence[int] = ()) -> Path:
    tokenizer = PhoneTokenizer((*PhoneTokenizer.from_inventory(PHONES, "transformers").tokens, *more), "<pad>")
    torch.manual_seed(3)
    settings: dict[str, Any] = {key: value for key, value in TINY_MODEL.items() if key != "model_type"}
    # A row more than the tokenizer names, as heads have whose rows are rounded up.
    config = AutoConfig.for_model("unispeech", vocab_size=len(tokenizer.tokens) + 1, **settings)
    network = AutoModelForCTC.from_config(self_conditioned_config(config, conditioned_layers, "base"))
    with torch.no_grad():
        network.lm_head.weight.normal_(0, 1)
        if conditioned_layers:
            network.conditioning.weight.normal_(0, 1)
    network.save_pretrained(folder)
    save_tokenizer(tokenizer, folder)
    (folder / "preprocessor_config.json").write_text('{"do_normalize": true, "normalize_eps": 1e-05}')
    return folder


def run_from(base: Path, corpus: Path, folder: Path, **loss: Any) -> tuple[str, Path]:
    settings = merged(tiny_settings(corpus, folder), {"loss": loss})
    settings["model"], settings["schedule"]["updates"] = {"base": str(base)}, 2
    return must_run("--config", write_settings(folder / "run.yaml", settings)), folder / "run"


def test_it_stands_beside_the_per(tiny_speech: Path, tmp_path: Path) -> None:
    base = base_model(tmp_path / "base")
    said, run = run_from(base, tiny_speech, tmp_path)
    found = re.search(r"test PER .*\n  zero-shot floor ([\d.]+) % \(the base model's own\s+head of 10 phones", said)
    assert found, said
    summary = json.loads((run / "zero_shot" / "test" / "summary.json").read_text(encoding="utf-8"))
    trained = json.loads((run / "eval" / "test" / "summary.json").read_text(encoding="utf-8"))
    assert f"{100 * summary['per']:.2f}" == found[1]
    assert summary["reference_sha256"] == trained["reference_sha256"]
    assert summary["model"] == str(base)
    assert summary["synthetic"] is True
    assert len(events(run)) == 2
    is_what_evaluate_says(base, run)
    stands_in_the_card(run, tmp_path / "published", f"Zero-shot floor of test: {found[1]} % (")


def is_what_evaluate_says(base: Path, run: Path) -> None:
    """`unispeech-ft evaluate` says the same of the saved base model, before phones are folded."""
    folder = run.with_name("evaluated")
    evaluate_saved(str(base), load_config(run.with_name("run.yaml")), "test", folder)
    inventory = json.loads((run / "training.json").read_text(encoding="utf-8"))["phones"]
    mapping = folded_to(inventory, PHONES)
    own, folded = hypotheses(folder), hypotheses(run / "zero_shot" / "test")
    assert any(own.values())
    assert folded == {name: [mapping[phone] for phone in phones] for name, phones in own.items()}


@pytest.mark.parametrize("before", [(), (1,)])
def test_the_runs_conditioning_is_not_the_base_models(before: Sequence[int], tiny_speech: Path, tmp_path: Path) -> None:
    base = base_model(tmp_path / "base", conditioned_layers=before)
    said, run = run_from(base, tiny_speech, tmp_path, intermediate_layers=[2], self_conditioned=True)
    assert "zero-shot floor" in said
    is_what_evaluate_says(base, run)


def stands_in_the_card(run: Path, published: Path, line: str) -> None:
    """The card states the floor, here and where the run is published; it follows from the files beside it."""
    published.mkdir()
    stage(run, published, repo="someone/phones")
    for folder, card in ((run, run / "model" / "README.md"), (published, published / "README.md")):
        assert line in card.read_text(encoding="utf-8")
        assert check_folder(folder).faults == []
    assert (
        json.loads((published / "zero_shot" / "test" / "summary.json").read_text(encoding="utf-8"))["model"] == "base"
    )
    file = published / "zero_shot" / "test" / "hypotheses.jsonl"
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    file.write_text("".join(lines[1:]), encoding="utf-8")
    assert {fault.name for fault in check_folder(published).faults} == {"references"}
    shutil.rmtree(published / "zero_shot")
    [fault] = check_folder(published).faults
    assert fault.found.startswith("it says “Zero-shot floor")


def hypotheses(folder: Path) -> dict[str, list[str]]:
    lines = (folder / "hypotheses.jsonl").read_text(encoding="utf-8").splitlines()
    return {item["id"]: item["hypothesis"] for item in map(json.loads, lines)}


def test_a_head_of_letters_or_none_has_no_floor(tiny_speech: Path, tmp_path: Path) -> None:
    said, run = run_from(base_model(tmp_path / "base", "|"), tiny_speech, tmp_path)
    assert "zero-shot" not in said
    assert not (run / "zero_shot").exists()
