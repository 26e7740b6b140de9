"""Folders of recordings with texts beside them: times and phones are not read aloud, and nothing vanishes unsaid."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from unispeech_ft.config.sections import DataConfig
from unispeech_ft.data.sources.folders import list_folder_of_audio, text_beside
from unispeech_ft.data.utterances import Utterance
from unispeech_ft.errors import UserError

Found = tuple[list[Utterance], list[tuple[str, str]]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two recordings, of which `b` has a plain sentence beside it."""
    for name in "ab":
        soundfile.write(tmp_path / f"{name}.wav", 0.1 * np.random.default_rng(0).normal(size=16_000), 16_000)
    (tmp_path / "b.txt").write_text("2 3 times")
    return tmp_path


def listed(folder: Path, **keys: str) -> Found:
    return list_folder_of_audio(folder, folder, DataConfig(source="manifest", root=str(folder), **keys), "data.train")


def said(folder: Path, **keys: str) -> list[tuple[str | None, float | None, float | None, str | None]]:
    return [(item.text, item.start_s, item.end_s, item.speaker) for item in listed(folder, **keys)[0]][:-1]


@pytest.mark.parametrize("ending", [".txt", ".lab"])
def test_a_label_track_of_audacity_is_segments(ending: str, folder: Path) -> None:
    (folder / f"a{ending}").write_text("0.5\t1.5\thello you\n\\\t80.0\t900.0\n1,75\t2,000000\tthere\n2.5\t3\t\n")
    assert said(folder) == [("hello you", 0.5, 1.5, None), ("there", 1.75, 2.0, None)]
    assert text_beside(folder / "a.wav") == "hello you there"


def test_labels_of_htk_are_no_sentence(folder: Path) -> None:
    (folder / "a.lab").write_text("0 5000000 h\n5000000 7000000 @\n")
    found, rejected = listed(folder)
    assert [item.text for item in found] == ["2 3 times"]
    assert rejected == [("a", "a.lab cannot be read (HTK labels with times, not a sentence)")]
    with pytest.raises(UserError, match="HTK labels with times"):
        text_beside(folder / "a.wav")
