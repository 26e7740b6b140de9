"""Pronunciation and learnt boundaries of recordings, by command and from Python."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import unispeech_ft
from unispeech_ft.cli import main
from unispeech_ft.errors import UserError
from unispeech_ft.models.saved import SavedModel, load_saved
from unispeech_ft.testing import learn_boundaries
from unispeech_ft.transcription.alignment import align_file


def said(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 0
    return capsys.readouterr().out


@pytest.fixture
def clip(spoken_corpus: Path) -> Path:
    return sorted((spoken_corpus / "ky" / "clips").glob("*.mp3"))[0]


def test_the_command(small_run: unispeech_ft.RunResult, clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["pronounce", str(small_run.model_dir), str(clip), "--phones", "b ɑ l ɑ"]
    lines = [line.split("\t") for line in said(words, capsys).splitlines()]
    phones = [line for line in lines if line[0]]
    assert [line[3] for line in phones] == ["b", "ɑ", "l", "ɑ"]
    assert all(0 <= float(line[2]) <= 1 for line in lines)
    found = json.loads(said([*words, "--json"], capsys))
    assert [item["phone"] for item in found["phones"]] == ["b", "ɑ", "l", "ɑ"]
    assert [f"{item['right']:.2f}" for item in found["phones"]] == [line[2] for line in phones]
    assert found["duration_s"] > found["phones"][-1]["end_s"] > found["phones"][0]["start_s"] >= 0


def test_from_python_it_is_the_same(small_model: SavedModel, clip: Path) -> None:
    found = unispeech_ft.pronounce(small_model, clip, ["b", "ɑ"])
    assert [item.phone for item in found.phones] == ["b", "ɑ"]
    assert {item.heard for item in found.phones} <= {*small_model.tokenizer.phones, ""}
    with pytest.raises(UserError, match="phones cannot be aligned"):
        unispeech_ft.pronounce(small_model, clip, ["b"] * 5_000)


@pytest.mark.parametrize(
    ("words", "reason"),
    [(["--text", "бала"], "--text needs --language"), (["--phones", "b", "--language", "ky"], "go with --text")],
)
def test_what_does_not_fit_is_said(words: list[str], reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["pronounce", "model", "clip.wav", *words])
    assert ended.value.code == 2
    assert reason in capsys.readouterr().err


def test_what_is_learnt_of_boundaries_lies_in_the_folder_and_is_used(
    small_run: unispeech_ft.RunResult,
    clip: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(learn_boundaries, "LEAST_BOUNDARIES", 10)
    monkeypatch.setattr(learn_boundaries, "UPDATES", 20)
    folder = Path(shutil.copytree(small_run.model_dir, tmp_path / "model"))
    (tmp_path / "text").write_text("ата бала\n\nала бала\n", encoding="utf-8")
    words = ["boundaries", str(folder), "--language", "ky", "--text", str(tmp_path / "text")]
    assert "boundaries.safetensors" in said(words, capsys)
    first = (folder / "boundaries.safetensors").read_bytes()
    said(words, capsys)
    assert (folder / "boundaries.safetensors").read_bytes() == first, "the same again, whatever the folder held"
    phones = ["b", "ɑ", "l", "ɑ"]
    plain = align_file(load_saved(small_run.model_dir), clip, phones)
    finer = align_file(load_saved(folder), clip, phones)
    assert [item.start_s for item in finer.phones] != [item.start_s for item in plain.phones]
    assert [item.posterior for item in finer.phones] == [item.posterior for item in plain.phones]
