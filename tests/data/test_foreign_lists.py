"""Lists of other toolkits and hands: names of time columns, Kaldi's folders, cuts of lhotse."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from unispeech_ft.config.sections import DataConfig
from unispeech_ft.data.sources.manifest import list_manifest
from unispeech_ft.data.utterances import Corpus
from unispeech_ft.errors import UserError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("a.wav", "b.wav"):
        soundfile.write(tmp_path / name, 0.1 * np.sin(np.arange(64_000) / 10), 16_000)
    return tmp_path


def listed(root: Path, name: str, text: str) -> Corpus:
    (root / name).write_text(text, encoding="utf-8")
    return list_manifest(DataConfig(source="manifest", root=str(root), train=str(root / name)))


def spans(corpus: Corpus) -> list[tuple[float | None, float | None]]:
    return sorted((item.start_s, item.end_s) for split in corpus.splits.values() for item in split)


@pytest.mark.parametrize(
    "header",
    ["begin_time,end_time", "Start Time,End Time", "start_sec,end_sec", "xmin,xmax", "from,to", "Onset,Offset"]
    + ["segment_start,segment-end", "START,STOP"],
)
def test_times_under_the_names_that_people_give_them(header: str, root: Path) -> None:
    corpus = listed(root, "list.csv", f"file,{header},text\na.wav,0.5,1.5,one\na.wav,2.5,3.5,two\n")
    assert spans(corpus) == [(0.5, 1.5), (2.5, 3.5)]


@pytest.mark.parametrize("header", ["startMs,endMs", "start_sample,end_sample", "start_frame,num_frames", "x,end"])
def test_times_that_cannot_be_read_are_refused_by_name(header: str, root: Path) -> None:
    with pytest.raises(UserError, match="says where a sentence stands"):
        listed(root, "list.csv", f"file,{header},text\na.wav,500,1500,one\n")


def test_every_line_of_a_kaldi_folder_is_used_or_reported(root: Path) -> None:
    files = {
        "wav.scp": "a a.wav\nb b.wav\n",
        "segments": "u1 a nan 3\nu2 a 0 1\nu3 a 1 2\nu3 a 2 3\nu4 a -1 2\nu5 b 0 -1\nu6 a 3 2\n",
        "text": "u1 one\nu2 two\nu3 three\nu4 four\nu6 six\n",
    }
    (root / "kaldi").mkdir()
    for name, text in files.items():
        (root / "kaldi" / name).write_text(text, encoding="utf-8")
    corpus = list_manifest(DataConfig(source="manifest", root=str(root), train=str(root / "kaldi")))
    assert spans(corpus) == [(0.0, 1.0), (1.0, 2.0)]
    said = " ".join(f"{item.id} {item.reason}" for item in corpus.rejected)
    for part in ("segments:1 ", "segments:4 u3 stands", "segments:5 ", "segments, u5", "segments:7 "):
        assert part in said


CUT = {"start": 1.0, "duration": 3.0, "recording": {"sources": [{"source": "a.wav"}]}}


@pytest.mark.parametrize(
    "supervisions", [["hi"], [{"start": "x", "text": "hi"}], [{"start": [1], "text": "hi"}], [None]]
)
def test_cuts_that_are_none_are_reported_by_line(supervisions: list[object], root: Path) -> None:
    good = {**CUT, "supervisions": [{"start": 0.5, "duration": 1.0, "text": "hi"}]}
    bad = {**CUT, "supervisions": supervisions}
    corpus = listed(root, "cuts.jsonl", json.dumps(good) + "\n" + json.dumps(bad) + "\n")
    assert spans(corpus) == [(1.5, 2.5)]
    assert [item.id for item in corpus.rejected] == ["cuts.jsonl:2"]


def test_an_audio_cell_of_datasets_names_its_path(root: Path) -> None:
    corpus = listed(root, "list.jsonl", json.dumps({"audio": {"path": "a.wav"}, "text": "one"}) + "\n")
    assert [item.id for split in corpus.splits.values() for item in split] == ["a"]


@pytest.mark.parametrize("separator", ["\u2028", "\u0085", "\x0c"])
def test_a_line_break_of_unicode_within_a_cell(separator: str, root: Path) -> None:
    corpus = listed(root, "list.csv", f"path,text\na.wav,one{separator}two\n")
    assert not corpus.rejected
    assert spans(corpus) == [(None, None)]
