"""The demo corpus: layout, disjoint voices and sentences, reproducible bytes, marked as synthetic."""

from __future__ import annotations

import csv
import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile

from unispeech_ft.errors import UserError
from unispeech_ft.testing.corpus import SPLITS, TSV_COLUMNS, CorpusParameters, make_corpus, plan
from unispeech_ft.testing.prompts import LANGUAGES, distinct_sentences, prompt_book
from unispeech_ft.testing.recording import as_recorded
from unispeech_ft.testing.voices import client_id, voices

TINY = {"train_hours": 0.015, "dev_hours": 0.005, "test_hours": 0.008}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_corpus(tmp_path_factory.mktemp("corpus") / "demo", ["ky", "it"], **TINY, processes=2)


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def digests(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def test_layout_of_a_common_voice_release(corpus: Path) -> None:
    for language in ("ky", "it"):
        folder = corpus / language
        tables = {split: read_rows(folder / f"{split}.tsv") for split in SPLITS}
        validated = read_rows(folder / "validated.tsv")
        durations = read_rows(folder / "clip_durations.tsv")
        assert [tuple(row) for row in validated] == [TSV_COLUMNS] * len(validated)
        assert tuple(durations[0]) == ("clip", "duration[ms]")
        assert sorted(row["path"] for table in tables.values() for row in table) == sorted(
            row["path"] for row in validated
        )
        clips = sorted(path.name for path in (folder / "clips").iterdir())
        assert clips == sorted(row["path"] for row in validated) == sorted(row["clip"] for row in durations)
        assert {row["locale"] for row in validated} == {language}


def test_clips_are_48_khz_mono_mp3_of_the_length_stated(corpus: Path) -> None:
    for row in read_rows(corpus / "ky" / "clip_durations.tsv"):
        info = soundfile.info(corpus / "ky" / "clips" / row["clip"])
        assert (info.format, info.samplerate, info.channels) == ("MP3", 48_000, 1)
        assert 1000 * info.duration == pytest.approx(int(row["duration[ms]"]), abs=60)
        assert 1.0 < info.duration < 9.0


def test_hours_are_about_as_asked(corpus: Path) -> None:
    duration_ms = {row["clip"]: int(row["duration[ms]"]) for row in read_rows(corpus / "ky" / "clip_durations.tsv")}
    for split in SPLITS:
        clips = [row["path"] for row in read_rows(corpus / "ky" / f"{split}.tsv")]
        asked_s = TINY[f"{split}_hours"] * 3600
        assert sum(duration_ms[clip] for clip in clips) / 1000 == pytest.approx(asked_s, rel=0.35)


def test_everything_is_marked_as_synthetic(corpus: Path) -> None:
    assert "Nothing in this folder is a human voice" in (corpus / "SYNTHETIC.md").read_text(encoding="utf-8")
    assert json.loads((corpus / "synthetic_corpus.json").read_text(encoding="utf-8"))["synthetic"] is True
    for row in read_rows(corpus / "it" / "validated.tsv"):
        assert re.fullmatch(r"synthetic_it_\d{6}\.mp3", row["path"])
        assert row["client_id"].startswith("synthetic-")
        assert row["accents"] == "synthetic (espeak-ng)"


def test_speakers_of_a_split_occur_in_no_other(corpus: Path) -> None:
    speakers = [{row["client_id"] for row in read_rows(corpus / "ky" / f"{split}.tsv")} for split in SPLITS]
    assert len(set.union(*speakers)) == sum(map(len, speakers))


def test_no_variant_is_shared_between_splits() -> None:
    variants = [[voice.variant for voice in voices(split)] for split in SPLITS]
    assert [len(names) for names in variants] == [40, 5, 12]
    assert len({name for names in variants for name in names}) == 57
    assert len({client_id(voice) for split in SPLITS for voice in voices(split)}) == 57


@pytest.mark.parametrize("language", LANGUAGES)
def test_frames_are_many_and_disjoint(language: str) -> None:
    book = prompt_book(language)
    frames = [book.frames(split) for split in SPLITS]
    assert len(frames[0]) >= (40 if language == "ky" else 25)
    assert len(frames[2]) >= 12
    assert len({frame for split in frames for frame in split}) == sum(map(len, frames))
    slots = {slot for split in frames for frame in split for slot in re.findall(r"\{(\w+)\}", frame)}
    assert slots <= set(book.words) | {"number", "hour", "year"}
    assert slots >= set(book.words)


@pytest.mark.parametrize("language", LANGUAGES)
def test_an_hour_of_sentences_repeats_none(language: str) -> None:
    sentences = distinct_sentences(prompt_book(language), "train", seed=3, count=1500)
    assert len(set(sentences)) == 1500
    assert sentences == distinct_sentences(prompt_book(language), "train", seed=3, count=1500)
    assert sentences != distinct_sentences(prompt_book(language), "train", seed=4, count=1500)
    assert not any(re.search(r"[{}_\t]|  ", sentence) for sentence in sentences)


def test_kyrgyz_letters_are_covered_in_train_and_test() -> None:
    for split in ("train", "test"):
        text = " ".join(distinct_sentences(prompt_book("ky"), split, seed=0, count=600)).lower()
        assert not set("абвгдеёжзийклмнңоөпрстуүфхцчшщыьэюя") - set(text)


def test_one_and_two_processes_write_the_same_bytes(corpus: Path, tmp_path: Path) -> None:
    alone = make_corpus(tmp_path / "alone", ["ky", "it"], **TINY, processes=1)
    assert digests(alone) == digests(corpus)


def test_another_seed_gives_other_sentences() -> None:
    plans = [plan(CorpusParameters(("ky",), 0.01, 0.01, 0.01, seed, ())) for seed in (0, 1)]
    assert plans[0] == plan(CorpusParameters(("ky",), 0.01, 0.01, 0.01, 0, ()))
    assert plans[0][0].numbered_sentences != plans[1][0].numbered_sentences


def test_an_identical_corpus_is_left_alone_and_another_replaced(tmp_path: Path) -> None:
    amounts = {"train_hours": 0.001, "dev_hours": 0.001, "test_hours": 0.001}
    root = make_corpus(tmp_path / "demo", ["ky"], **amounts)
    table = root / "ky" / "train.tsv"
    written_ns = table.stat().st_mtime_ns
    make_corpus(root, ["ky"], **amounts)
    assert table.stat().st_mtime_ns == written_ns
    make_corpus(root, ["it"], **amounts)
    assert not (root / "ky").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]


def test_a_folder_with_other_things_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match="something other"):
        make_corpus(tmp_path, ["ky"], **TINY)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(
    ("languages", "changes", "message"),
    [
        (["xx"], {}, "xx"),
        ([], {}, "no language"),
        (["ky"], {"train_hours": 0.0}, "train hours"),
        (["ky"], {"test_hours": float("nan")}, "test hours"),
        (["ky"], {"processes": 0}, "processes"),
    ],
)
def test_wrong_parameters_are_told(
    tmp_path: Path, languages: list[str], changes: dict[str, float], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        make_corpus(tmp_path / "demo", languages, **{**TINY, **changes})
    assert not list(tmp_path.iterdir())


def test_recording_keeps_within_full_scale() -> None:
    waveform = np.sin(np.arange(22_050, dtype=np.float32) / 10)
    recorded = as_recorded(waveform, 22_050, np.random.default_rng(0))
    assert recorded.dtype == np.float32
    assert 0.25 < np.abs(recorded).max() <= 1
    assert 48_000 * 1.2 <= len(recorded) <= 48_000 * 1.8
