"""Lists of other toolkits and hands: names of time columns, Kaldi's folders, cuts of lhotse."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from unispeech_ft.config.sections import DataConfig
from unispeech_ft.data.prepare import prepare_audio
from unispeech_ft.data.sources.manifest import list_manifest
from unispeech_ft.data.utterances import SPLITS, Corpus
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


def two_channels(path: Path) -> None:
    """One tone in the left channel, twice as loud a one in the right."""
    tone = 0.1 * np.sin(np.arange(64_000) / 10)
    soundfile.write(path, np.stack((tone, 2 * tone), axis=1), 16_000)


def loudness(corpus: Corpus, tmp_path: Path) -> dict[str, float]:
    """The highest sample of each utterance of training, by its text."""
    audio = prepare_audio(corpus, "train", tmp_path / "cache", num_workers=0, show_progress=False)
    return {str(item.text): float(np.abs(audio.waveform(audio.rows[item.id])).max()) for item in corpus.splits["train"]}


def test_each_supervision_of_a_cut_has_its_own_channel(root: Path, tmp_path: Path) -> None:
    two_channels(root / "a.wav")
    files = {"type": "file", "channels": [0, 1], "source": "a.wav"}
    alone = {"type": "file", "channels": [2], "source": "b.wav"}
    cuts = [
        {
            "start": 1.0, "duration": 2.0, "channel": channel, "split": "train",
            "recording": {"sources": sources}, "supervisions": [{"start": 0, "duration": 2, "text": text} | own],
        }
        for channel, own, sources, text in (
            (0, {}, [files], "left"), ([0, 1], {"channel": 1}, [files], "right"), ([0, 1], {}, [files], "both"),
            (2, {}, [files, alone], "alone"), (5, {}, [files], "none"),
        )
    ]  # fmt: skip
    lines = "".join(json.dumps(cut) + "\n" for cut in cuts)
    (root / "cuts.jsonl").write_text(lines, encoding="utf-8")
    corpus = list_manifest(
        DataConfig(source="manifest", root=str(root), train="cuts.jsonl", validation="cuts.jsonl"), ("train",)
    )
    loud = loudness(corpus, tmp_path)
    assert loud == pytest.approx({"left": 0.1, "right": 0.2, "both": 0.15, "alone": 0.1, "none": 0.15}, abs=1e-3)


@pytest.mark.parametrize(
    ("names", "expected"),
    [("12", (0.1, 0.2)), ("01", (0.1, 0.2)), ("BA", (0.2, 0.1)), ("lr", (0.1, 0.2)), ("11", (0.15, 0.15))],
)
def test_a_column_of_channels(names: str, expected: tuple[float, float], root: Path, tmp_path: Path) -> None:
    two_channels(root / "a.wav")
    text = "".join(f"a.wav,{name},{word},train\n" for name, word in zip(names, ("one", "two"), strict=True))
    corpus = listed(root, "list.csv", f"path,Channel,text,split\n{text}")
    assert tuple(loudness(corpus, tmp_path).values()) == pytest.approx(expected, abs=1e-3)


def test_a_column_of_channels_that_are_files_of_their_own(root: Path, tmp_path: Path) -> None:
    corpus = listed(root, "list.csv", "path,channel,text,split\na.wav,1,one,train\nb.wav,2,two,train\n")
    assert loudness(corpus, tmp_path) == pytest.approx({"one": 0.1, "two": 0.1}, abs=1e-3)


@pytest.mark.parametrize("header", ["partition", "Set", "data split"])
def test_a_column_that_names_splits_under_another_name(header: str, root: Path) -> None:
    corpus = listed(root, "list.csv", f"path,text,{header}\na.wav,one,Train\nb.wav,two,development\n")
    assert [len(corpus.splits[split]) for split in SPLITS] == [1, 1, 0]
    corpus = listed(root, "list.csv", f"path,text,{header}\na.wav,one,A\nb.wav,two,B\n")
    assert any("without a split column" in note for note in corpus.notes)


def test_a_column_that_stands_twice_is_refused(root: Path) -> None:
    with pytest.raises(UserError, match="several columns path"):
        listed(root, "list.tsv", "path\ttext\tpath\na.wav\tone\tb.wav\n")


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf_16_without_a_mark_in_another_script(encoding: str, root: Path) -> None:
    (root / "list.tsv").write_bytes(("path\ttext\na.wav\t" + "Привет мир " * 20 + "\n").encode(encoding))
    corpus = list_manifest(DataConfig(source="manifest", root=str(root), train="list.tsv"))
    assert sum(map(len, corpus.splits.values())) == 1


def test_who_are_heard_in_one_recording_are_held_out_together(root: Path) -> None:
    rows = [(f"r{n // 2}.wav", n, n + 1, f"s{n % 40}") for n in range(80)]
    lines = "".join(f"{path},{start},{end},text {start},{who}\n" for path, start, end, who in rows)
    corpus = listed(root, "list.csv", f"path,start,end,text,speaker\n{lines}")
    for of in ("path", "speaker"):
        parts = [{getattr(item, of) for item in corpus.splits[split]} for split in SPLITS]
        assert all(parts)
        assert sum(map(len, parts)) == len(set.union(*parts))
    assert corpus.notes == [
        "one manifest without a split column: 10 % each were set aside for validation and test by speaker"
    ]
    lines = "".join(f"r{n // 2}.wav,{n},{n + 1},text {n},{'asks' if n % 2 else f's{n}'}\n" for n in range(80))
    corpus = listed(root, "list.csv", f"path,start,end,text,speaker\n{lines}")
    parts = [{item.path for item in corpus.splits[split]} for split in SPLITS]
    assert sum(map(len, parts)) == len(set.union(*parts))
    assert "by recording" in corpus.notes[0]


def test_a_recording_of_two_sentences_without_times_stands_in_one_split(root: Path) -> None:
    lines = "".join(f"{n // 2}.wav,text {n}\n" for n in range(60))
    corpus = listed(root, "list.csv", f"path,text\n{lines}")
    parts = [{item.path for item in corpus.splits[split]} for split in SPLITS]
    assert all(parts)
    assert sum(map(len, parts)) == len(set.union(*parts))


def test_what_stands_twice_in_a_kaldi_folder_is_reported(root: Path) -> None:
    (root / "kaldi").mkdir()
    for name, text in {"wav.scp": "a a.wav\nb b.wav\na b.wav\n", "text": "a one\nb two\na three\n"}.items():
        (root / "kaldi" / name).write_text(text, encoding="utf-8")
    corpus = list_manifest(DataConfig(source="manifest", root=str(root), train=str(root / "kaldi")))
    found = {item.text: item.path for split in SPLITS for item in corpus.splits[split]}
    assert found == {"one": root / "a.wav", "two": root / "b.wav"}
    assert [item.id for item in corpus.rejected] == ["wav.scp:3", "text:3"]
