"""The folder for sherpa-onnx: what is in it, that the program reads it, and what 8 bits change."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import soundfile
from running import REPOSITORY

import unispeech_ft
import unispeech_ft.hub.sherpa as sherpa
from unispeech_ft.data.audio import read_audio
from unispeech_ft.errors import UserError
from unispeech_ft.models.saved import load_saved
from unispeech_ft.phonemes.tokenizer import PhoneTokenizer
from unispeech_ft.runs.shipped import config_file

ELSEWHERE = REPOSITORY / "docs" / "elsewhere.md"


def test_tokens_hold_phones_with_a_space_and_the_blank():
    transformers = PhoneTokenizer.from_inventory(["SIL", "tS"], "transformers")
    assert sherpa.tokens_text(transformers) == "<blk> 0\n<s> 1\n</s> 2\n<unk> 3\n▁SIL 4\n▁tS 5\n"
    original = PhoneTokenizer.from_inventory(["a"], "original")
    assert sherpa.tokens_text(original) == "▁a 0\n<blk> 1\n<pad> 2\n</s> 3\n<unk> 4\n"


def test_8_bits_a_row():
    weight = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32) * np.array([[[1]], [[0]], [[100]]])
    rounded, scale = sherpa.int8_rows(weight.astype(np.float32))
    assert rounded.dtype == np.int8
    assert np.abs(rounded).max() == 127
    error = np.abs(rounded * scale[:, None, None] - weight).reshape(3, -1).max(axis=1)
    assert (error <= scale / 2 + 1e-6).all()
    assert error[1] == 0


@pytest.fixture(scope="module")
def model(spoken_corpus, tmp_path_factory) -> Path:
    """The packaged model after some updates: it says something, of the size that the demo has."""
    folder = tmp_path_factory.mktemp("sherpa")
    changes = {
        "data.root": str(spoken_corpus),
        "data.cache_dir": str(folder / "cache"),
        "output_dir": str(folder / "run"),
    }
    few = {"schedule.updates": 60, "schedule.warmup": 6, "evaluation.every_updates": 60, "tracking.trackers": []}
    return unispeech_ft.train(config_file("demo"), changes | few).model_dir


@pytest.mark.long
def test_sherpa_onnx_hears_what_we_hear(model, spoken_corpus, tmp_path, monkeypatch, capsys):
    facts = sherpa.export_sherpa(model, tmp_path / "folder")
    assert {path.name for path in (tmp_path / "folder").iterdir()} == {"model.onnx", "model.int8.onnx", "tokens.txt"}
    assert facts.max_difference < 1e-4
    assert facts.size_ratio < 0.3
    clips = sorted((spoken_corpus / "ky" / "clips").glob("*.mp3"))[:8]
    waveforms = [sherpa.normalised(read_audio(path)) for path in clips]
    whole, small = (
        [session.run(None, {"x": clip[None]})[0][0].argmax(axis=-1) for clip in waveforms]
        for session in (onnxruntime.InferenceSession(str(tmp_path / "folder" / name)) for name in sherpa.GRAPHS)
    )
    agreeing = [np.mean(one == other) for one, other in zip(whole, small, strict=True)]
    assert np.mean(agreeing) > 0.95
    assert len({row for rows in whole for row in rows}) > 5, "it says more than blanks"

    program = pytest.importorskip("sherpa_onnx")
    files = {"model": str(tmp_path / "folder" / "model.onnx"), "tokens": str(tmp_path / "folder" / "tokens.txt")}
    recognizer = program.OfflineRecognizer.from_omnilingual_asr_ctc(**files)
    ours = [[item.phone for item in found.phones] for found in unispeech_ft.transcribe(model, *clips)]
    theirs = []
    for path in clips:
        stream = recognizer.create_stream()
        stream.accept_waveform(16_000, read_audio(path))
        recognizer.decode_stream(stream)
        theirs.append(stream.result.text.split())
    assert sum(map(len, ours)) > 20
    assert unispeech_ft.score(dict(enumerate(ours)), dict(enumerate(theirs))).per < 0.02

    (tmp_path / "ky-phones").symlink_to(tmp_path / "folder")
    soundfile.write(tmp_path / "clip.wav", read_audio(clips[0]), 16_000)
    monkeypatch.chdir(tmp_path)
    [example] = re.findall(r"```python\n(.*?)```", ELSEWHERE.read_text(encoding="utf-8"), flags=re.DOTALL)
    exec(example, {})
    heard = capsys.readouterr().out.split()
    assert unispeech_ft.score({"clip": ours[0]}, {"clip": heard}).per < 0.2


def test_what_cannot_be_written(small_run, command, tmp_path, monkeypatch):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine", encoding="utf-8")
    status, _, said = command("export", small_run.model_dir, "--sherpa", tmp_path / "full")
    assert (status, said.count("\n")) == (2, 1)
    assert "is there already: name a new folder" in said
    saved = load_saved(small_run.model_dir, stock=True)
    front_end = replace(saved.built.front_end, normalize=False)
    unlike = replace(saved, built=replace(saved.built, front_end=front_end))
    monkeypatch.setattr(sherpa, "load_saved", lambda *_, **__: unlike)
    with pytest.raises(UserError, match=r"hands over normalised ones: use --onnx, or train with data\.normalize true"):
        sherpa.export_sherpa(small_run.model_dir, tmp_path / "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full"]
