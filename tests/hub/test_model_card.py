"""The model card: what the Hub's own reader finds in it, and that it claims nothing that nobody knows."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from hub.publishing import REPO, read_summary
from huggingface_hub import ModelCard
from running import REPOSITORY

from unispeech_ft.errors import UserError
from unispeech_ft.hub.base_license import base_license
from unispeech_ft.hub.card import (
    commonest_errors,
    duration,
    hours,
    metadata,
    model_card,
    snippets,
    stated,
)
from unispeech_ft.hub.card_header import split_card
from unispeech_ft.hub.stage import sentences_of
from unispeech_ft.models.families import ILS_HUBERT
from unispeech_ft.runs.evidence import Evidence, OnnxFacts, read_evidence
from unispeech_ft.scoring import score

DEMO = REPOSITORY / "runs" / "demo"


@pytest.fixture
def evidence(published: Path) -> Evidence:
    return read_evidence(published)


def changed(evidence: Evidence, section: str, **values: object) -> Evidence:
    part = getattr(evidence.config, section).model_copy(update=values)
    return replace(evidence, config=evidence.config.model_copy(update={section: part}))


def test_the_hub_reads_the_results(published, evidence):
    results = ModelCard.load(published / "README.md").data.eval_results
    assert [result.dataset_split for result in results] == ["test", "validation"]
    summary = read_summary(published / "eval" / "test")
    result = results[0]
    assert (result.metric_type, result.metric_value) == ("per", round(100 * summary.per, 2))
    assert result.metric_args["fraction"] == summary.per
    assert result.metric_args["unit"] == "percent"
    assert result.metric_args["ci95_percent"] == [round(100 * value, 2) for value in summary.per_ci95]
    assert result.dataset_args["reference_sha256"] == summary.reference_sha256
    assert result.task_type == "automatic-speech-recognition"


def test_the_text_names_everything(published, evidence):
    text = (published / "README.md").read_text(encoding="utf-8")
    summary, training = evidence.summaries["test"], evidence.training
    low, high = summary.per_ci95
    assert f"| test | {100 * summary.per:.2f} % | {100 * low:.2f}–{100 * high:.2f} %, by utterance | 6 |" in text
    for split in ("train", "validation", "test"):
        assert training.splits[split].reference_sha256 in text
    for expected in (
        "Synthetic speech: trained and scored on what espeak-ng spoke",
        "accelerate launch recipes/ctc_phoneme.py --config config.yaml",
        f"unispeech-ft verify {REPO} --config config.yaml",
        f"Device: {evidence.environment.device}",
        "espeak-ng 1.",
        "torch 2.",
        "Updates: 2; exported: update 2",
        "from random weights",
        "not a phonetician's transcription",
        "What fails most often on test:",
        "The author has named no licence.",
        " ".join(training.phones),
    ):
        assert expected in text
    assert "published split" not in text
    assert "Common Voice is CC0" not in text
    assert text.endswith("\n")


def test_the_same_evidence_gives_the_same_card(published, evidence):
    assert model_card(evidence) == (published / "README.md").read_text(encoding="utf-8")


def test_a_published_split_is_named_only_where_it_is_one(evidence):
    human = {
        split: replace(summary, synthetic=None, published_split=split == "test")
        for split, summary in evidence.summaries.items()
    }
    text = model_card(replace(evidence, summaries=human))
    assert "| test (published split) |" in text
    assert "| validation |" in text
    assert "Synthetic" not in text
    assert "Common Voice is CC0-1.0." in text
    assert "published 1-hour split" in text


def test_base_model_and_licence(evidence):
    tuned = changed(evidence, "model", from_scratch=False, base="microsoft/unispeech-large-1500h-cv", config=None)
    assert metadata(tuned)["base_model"] == "microsoft/unispeech-large-1500h-cv"
    assert "The licence of the base model `microsoft/unispeech-large-1500h-cv` applies as well: " in model_card(tuned)
    local = changed(evidence, "model", from_scratch=False, base="my-model", config=None)
    assert "base_model" not in metadata(local)
    assert metadata(evidence)["license"] == "unknown"
    assert metadata(changed(evidence, "hub", license="apache-2.0"))["license"] == "apache-2.0"


@pytest.mark.parametrize("labels", ["espeak", "lexicon", "column", "published"])
def test_what_the_references_are(labels, evidence):
    assert "The references are " in model_card(changed(evidence, "phonemes", labels=labels))


def test_what_is_not_known_is_not_claimed(evidence):
    summary = replace(evidence.summaries["test"], per=None, per_ci95=None, bootstrap_unit=None, per_shuffled=None)
    training = replace(evidence.training, seconds=None, best_update=None)
    text = model_card(
        replace(evidence, training=training, summaries={"test": summary}, scores={"test": evidence.scores["test"]})
    )
    assert "| test | unknown | unknown |" in text
    assert "unknown (it was resumed)" in text
    assert "Guessing" not in text
    assert "flatters" not in text
    unscored = model_card(replace(evidence, summaries={}, scores={}))
    assert "Nothing was scored." in unscored
    assert stated(split_card(unscored)[0]) == {}


def test_group_norm_and_onnx_are_told(evidence):
    group = replace(evidence, training=replace(evidence.training, group_norm=True))
    assert "transcribe clips one by one" in model_card(group)
    onnx = replace(evidence, onnx=OnnxFacts(1.2e-6, [[16000]], 18, {}))
    assert "onnxruntime.InferenceSession" in model_card(onnx)
    assert "onnxruntime.InferenceSession" not in model_card(evidence)


def test_snippets_name_the_repository_and_stand_in_the_card(published, evidence):
    text = (published / "README.md").read_text(encoding="utf-8")
    programs = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    assert programs == snippets(evidence, REPO)
    assert all(REPO in program for program in programs)
    assert "unispeech_ft is not needed" in text


def test_an_encoder_that_transformers_lacks_needs_this_package(evidence):
    ours = replace(evidence, training=replace(evidence.training, model_type=ILS_HUBERT))
    assert all("import unispeech_ft" in program for program in snippets(ours, REPO))
    assert "unispeech_ft is needed" in model_card(ours)


def test_commonest_errors():
    scores = score({"1": ["a", "b", "c"], "2": ["a", "b"]}, {"1": ["a", "p", "c"], "2": ["s", "a", "p"]})
    assert commonest_errors(scores) == [("b → p", 2), ("s inserted", 1)]
    assert commonest_errors(score({"1": ["a", "b"]}, {"1": ["b"]})) == [("a deleted", 1)]


def test_durations():
    assert [duration(value) for value in (3, 600, 36_000)] == ["3 s", "10 min", "10.0 h"]
    assert [hours(value) for value in (1.0, 0.1, 0.005)] == ["1.00 h", "6 min", "18 s"]


def test_the_run_has_a_card_without_a_repository(small_run):
    text = (small_run.model_dir / "README.md").read_text(encoding="utf-8")
    assert "path/to/this/folder" in text
    assert "ran on this folder" not in text, "nothing ran before the run was published"


@pytest.mark.skipif(not (DEMO / "training.json").is_file(), reason="no demo run (make demo)")
def test_the_card_of_the_demo():
    text = (DEMO / "model" / "README.md").read_text(encoding="utf-8")
    summary = read_summary(DEMO / "eval" / "test")
    assert f"| test | {100 * summary.per:.2f} % |" in text
    assert "Synthetic speech" in text


@pytest.mark.parametrize(
    ("base", "stated", "header", "asked"),
    [
        ("microsoft/unispeech-large-1500h-cv", None, "cc-by-sa-3.0", ["Share-alike"]),
        ("microsoft/wavlm-large", None, "cc-by-sa-3.0", ["Share-alike"]),
        ("someone/encoder", "cc-by-nc-sa-4.0", "cc-by-nc-sa-4.0", ["Share-alike", "Non-commercial"]),
        ("someone/encoder", "agpl-3.0", "agpl-3.0", ["Share-alike"]),
        ("facebook/hubert-large-ll60k", "apache-2.0", "apache-2.0", []),
        ("packaged:demo", None, "mit", []),
        ("someone/encoder", None, "unknown", []),
    ],
)
def test_the_licence_of_the_base_model_is_inherited(base, stated, header, asked, evidence):
    tuned = changed(evidence, "model", from_scratch=False, base=base, config=None)
    tuned = changed(tuned, "hub", base_license=stated)
    text = model_card(tuned)
    assert metadata(tuned)["license"] == header
    loud = [line.strip("*").split(":")[0] for line in text.splitlines() if line.startswith("**") and header in line]
    assert loud == asked
    assert (f"`{header}`, which this model inherits" in text) is (header != "unknown")
    own = changed(tuned, "hub", license="mit")
    assert metadata(own)["license"] == "mit"
    assert [line for line in model_card(own).splitlines() if line.startswith("**") and header in line][
        : len(asked)
    ] == [line for line in text.splitlines() if line.startswith("**") and header in line], (
        "what the base asks for is said whatever its author chose"
    )


def test_a_licence_is_read_from_the_card_beside_the_base_model(tmp_path):
    assert base_license(None) is None
    assert base_license(str(tmp_path)) is None
    (tmp_path / "README.md").write_text("---\nlicense: cc-by-nc-4.0\n---\n# A model\n", encoding="utf-8")
    assert base_license(str(tmp_path)) == "cc-by-nc-4.0"
    (tmp_path / "README.md").write_text("---\nlicense: unknown\n---\n", encoding="utf-8")
    assert base_license(str(tmp_path)) is None


def test_sentences_of_a_release_that_was_fetched_are_not_published(evidence):
    with pytest.raises(UserError, match=r"the sentences of mdc:ky are not to be hosted anew.*leave --sentences out"):
        sentences_of(changed(evidence, "data", root="mdc:ky"), "test")
