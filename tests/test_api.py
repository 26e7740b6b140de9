"""The Python API: light to import, and the same results as the commands."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import unispeech_ft
from unispeech_ft.config.sections import PhonemesConfig
from unispeech_ft.errors import UserError, UserErrors
from unispeech_ft.tasks.ctc_phoneme.config import load_config

HEAVY = {"torch", "numpy", "transformers", "datasets", "pydantic", "yaml", "soundfile"}


def test_import_is_light():
    code = "import sys, unispeech_ft; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert not HEAVY & set(modules)


def test_phonemize():
    plain = unispeech_ft.phonemize(["hola", "", "el mundo"], "es")
    assert [len(phones) > 0 for phones in plain] == [True, False, True]
    stressed = unispeech_ft.phonemize(["hola"], "es", PhonemesConfig(stress=True))
    assert any("ˈ" in phone for phone in stressed[0])


def test_score():
    summary = unispeech_ft.score({"1": ["a", "b"], "2": ["c"]}, {"1": ["a"], "2": ["c", "c"]})
    assert (summary.per, summary.deletions, summary.insertions) == (2 / 3, 1, 1)


def test_prepare(small_config):
    data = unispeech_ft.prepare(small_config, {"data.max_duration_s": 4.0})
    assert list(data.splits) == ["train", "validation", "test"]
    assert max(data.splits["train"].durations_s.values()) <= 4.0
    config = load_config(small_config)
    assert len(unispeech_ft.prepare(config).splits["train"]) > len(data.splits["train"])
    with pytest.raises(TypeError, match="model_copy"):
        unispeech_ft.prepare(config, {"data.max_duration_s": 4.0})


def test_train_leaves_a_run(small_run):
    assert [summary.split for summary in small_run.summaries] == ["validation", "test"]
    for name in (
        "config.yaml",
        "environment.json",
        "metrics.jsonl",
        "model/model.safetensors",
        "eval/test/report.html",
    ):
        assert (small_run.output_dir / name).is_file(), name
    assert small_run.model_dir == small_run.output_dir / "model"
    stored = json.loads((small_run.output_dir / "eval" / "test" / "summary.json").read_text(encoding="utf-8"))
    assert stored["per"] == small_run.summaries[-1].per


def test_train_refuses_faulty_configurations(small_config):
    with pytest.raises(UserError, match=r"optimizer\.lr"):
        unispeech_ft.train(small_config, {"optimizer.lr": -1})
    with pytest.raises(UserError, match="dry_run"):
        unispeech_ft.train(small_config, {"dry_run": True})
    config = load_config(small_config)
    without_root = config.model_copy(update={"data": config.data.model_copy(update={"root": None})})
    with pytest.raises(UserError, match=r"data\.root is missing"):
        unispeech_ft.train(without_root)


def test_evaluate_and_compare(small_run, small_config, tmp_path):
    summary = unispeech_ft.evaluate(small_run.model_dir, small_config, "test", output=tmp_path / "again")
    assert summary.per == small_run.summaries[-1].per
    assert (tmp_path / "again" / "report.html").is_file()
    same = unispeech_ft.compare(small_run.output_dir, tmp_path / "again")
    assert same.difference == 0
    assert (
        unispeech_ft.evaluate(small_run.model_dir, load_config(small_config), output=tmp_path / "b").per == summary.per
    )
    with pytest.raises(UserError, match="no hypotheses"):
        unispeech_ft.compare(small_run.output_dir, tmp_path)


def test_reprs_fit_a_screen(small_run, small_model, small_config, spoken_corpus):
    clip = next((spoken_corpus / "ky" / "clips").iterdir())
    (transcript,) = unispeech_ft.transcribe(small_model, clip)
    speech = unispeech_ft.prepare(small_config)
    said = [small_run, small_run.summaries[0], small_model, transcript, speech, speech.splits["train"]]
    said.append(unispeech_ft.pronounce(small_model, clip, [item.phone for item in transcript.phones][:3]))
    for value in said:
        assert repr(value).startswith(type(value).__name__)
        assert len(repr(value)) < 400, value


def test_a_fault_is_one_line_in_a_notebook():
    fault = UserError("data.root is missing", remedy="name one")
    assert fault._render_traceback_() == ["error: data.root is missing: name one"]
    assert UserErrors([fault, fault])._render_traceback_() == fault._render_traceback_() * 2


def test_transcripts_come_as_they_are_there(small_model, spoken_corpus):
    clips = sorted((spoken_corpus / "ky" / "clips").iterdir())[:1]
    found = unispeech_ft.transcribe(small_model, *clips, "missing.wav")
    assert next(found).path == str(clips[0])
    with pytest.raises(UserError, match=r"missing\.wav"):
        next(found)


def test_transcribe(small_run, small_model, spoken_corpus):
    clips = sorted((spoken_corpus / "ky" / "clips").iterdir())[:2]
    by_path = list(unispeech_ft.transcribe(small_run.model_dir, *clips))
    assert by_path == list(unispeech_ft.transcribe(small_model, *clips))
    assert [transcript.path for transcript in by_path] == [str(clip) for clip in clips]
    with pytest.raises(UserErrors) as raised:
        list(unispeech_ft.transcribe(small_model, "one.wav", clips[0], "two.wav"))
    assert len(raised.value.lines) == 2
