"""Damaged and hostile inputs end in a fault that says what to do: no traceback, no hang, no prompt, no gigabytes."""

from __future__ import annotations

import json
import os
import shutil
import tarfile
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import soundfile
from benchmark.setting import Setting, write_model
from damage import Kind, limited, replaced, run_cases

from unispeech_ft.api import RunResult
from unispeech_ft.config.reading import read_configs
from unispeech_ft.config.sections import DataConfig
from unispeech_ft.data.audio import BadClip, decode_audio, read_audio
from unispeech_ft.data.shards import read_units
from unispeech_ft.data.sources import list_utterances
from unispeech_ft.errors import UserError, one_line
from unispeech_ft.hub.verify import check_folder
from unispeech_ft.models.saved import SavedModel, load_saved
from unispeech_ft.phonemes.lexicon import read_lexicon
from unispeech_ft.runs.compare import compare_runs
from unispeech_ft.scoring.beam import BeamSettings, load_search, write_settings
from unispeech_ft.scoring.compare import format_comparison
from unispeech_ft.scoring.files import read_phone_file
from unispeech_ft.scoring.ngram import arpa
from unispeech_ft.tasks.ctc_phoneme.config import FILE
from unispeech_ft.transcription.alignment import align_file


def yaml_file(folder: Path, content: bytes) -> None:
    file = folder / "run.yaml"
    file.write_bytes(content)
    read_configs(FILE, ["--config", str(file)])


def manifest(folder: Path, content: bytes, name: str) -> None:
    (folder / name).write_bytes(content)
    data = DataConfig(source="manifest", root=str(folder), train=str(folder / name))
    for split in list_utterances(data).splits.values():
        for utterance in split:
            if utterance.path is not None:
                read_audio(utterance.path)


def audio(folder: Path, content: bytes, name: str) -> None:
    (folder / name).write_bytes(content)
    read_audio(folder / name)


def model(folder: Path, content: bytes, name: str) -> None:
    with replaced(folder / "model" / name, content) as place:
        load_saved(place)


def lexicon(folder: Path, content: bytes) -> None:
    (folder / "lexicon.tsv").write_bytes(content)
    read_lexicon(folder / "lexicon.tsv")


def results(folder: Path, content: bytes, name: str) -> None:
    (folder / name).write_bytes(content)
    read_phone_file(folder / name)


def verified(folder: Path, content: bytes, name: str) -> None:
    with replaced(folder / "run" / name, content):
        [print(one_line(fault.found)) for fault in check_folder(folder / "run").faults]


def compared(folder: Path, content: bytes) -> None:
    name = "eval/test/hypotheses.jsonl"
    (folder / "other" / "eval" / "test").mkdir(parents=True, exist_ok=True)
    (folder / "other" / name).write_bytes((folder / "run" / name).read_bytes())
    with replaced(folder / "run" / name, content):
        found, notes = compare_runs(folder / "run", folder / "other")
        format_comparison(found, ("a", "b"), notes)


def aligned(saved: SavedModel, folder: Path, content: bytes) -> None:
    (folder / "sentence.wav").write_bytes(content)
    align_file(saved, folder / "sentence.wav", saved.tokenizer.phones[:3])


def beside(folder: Path, content: bytes, name: str) -> None:
    """A text beside a recording, or a list of Kaldi's."""
    with replaced(folder / name, content) as place:
        list_utterances(DataConfig(source="manifest", root=str(place), train=str(place)))


def published(folder: Path, content: bytes, name: str) -> None:
    with replaced(folder / "lists" / name, content) as place:
        list_utterances(DataConfig(language="ky", splits=str(place)), published_labels=True)


def archive(folder: Path, content: bytes, name: str) -> None:
    (folder / name).write_bytes(content)
    shutil.rmtree(folder / "cache", ignore_errors=True)
    with suppress(UserError):
        list(read_units([(str(folder / name), 0, 1)], "tar", "audio"))
    list_utterances(DataConfig(root=str(folder / name), language="ky", cache_dir=str(folder / "cache")))


def parquet(folder: Path, content: bytes) -> None:
    rows = folder / "rows"
    (rows / "train-0.parquet").write_bytes(content)
    with suppress(UserError):
        for example in read_units([(str(rows / "train-0.parquet"), 0, 1)], "parquet", "audio"):
            assert not example["path"] or Path(example["path"]).is_relative_to(rows)
    corpus = list_utterances(DataConfig(source="hub", root=str(rows), train="train"))
    assert corpus.read_rows is not None
    for _, held in corpus.read_rows("train"):
        if not isinstance(held, str):
            decode_audio(held)


def ngram(saved: SavedModel, folder: Path, content: bytes, name: str) -> None:
    rows = len(saved.tokenizer.tokens)
    with replaced(folder / "ngram" / name, content) as place:
        search, _ = load_search(place, saved.tokenizer)
        search(np.log(np.full((6, rows), 1 / rows, dtype=np.float32)))


MANIFEST_TSV = "path\tsentence\tspeaker\tstart\tend\na.wav\tone two\tx\t0.1\t0.5\nb.wav\tthree\ty\t\t\n"
MANIFEST_JSON = "".join(
    json.dumps({"audio_filepath": "a.wav", "text": "one two", "offset": 0.1, "duration": 0.4, "speaker": name}) + "\n"
    for name in "xyz"
)
CONFIG = """model: {base: some/model, layerdrop: 0.1}
data: {root: data/cv, language: ky, max_duration_s: 20.0}
batch: {seconds_per_update: 120.0}
optimizer: {lr: 3.0e-5}
seed: [1, 2]
"""
OF_A_RUN = ["config.yaml", "environment.json", "training.json", "eval/test/summary.json", "eval/test/hypotheses.jsonl"]
OF_A_RUN.append("model/README.md")
GRID = """File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0
xmax = 1
tiers? <exists>
size = 1
item []:
    item [1]:
        class = "IntervalTier"
        name = "words"
        xmin = 0
        xmax = 1
        intervals: size = 1
        intervals [1]:
            xmin = 0
            xmax = 1
            text = "one"
"""
ELAN = """<?xml version="1.0" encoding="UTF-8"?>
<ANNOTATION_DOCUMENT><TIME_ORDER><TIME_SLOT TIME_SLOT_ID="t1" TIME_VALUE="0"/>
<TIME_SLOT TIME_SLOT_ID="t2" TIME_VALUE="900"/></TIME_ORDER><TIER TIER_ID="x"><ANNOTATION>
<ALIGNABLE_ANNOTATION ANNOTATION_ID="a" TIME_SLOT_REF1="t1" TIME_SLOT_REF2="t2">
<ANNOTATION_VALUE>one</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION></TIER></ANNOTATION_DOCUMENT>
"""
TEXTS = {
    "grid/a.TextGrid": GRID,
    "elan/a.eaf": ELAN,
    "label/a.txt": "0.1\t0.5\tone\n0.5\t0.9\ttwo\n",
    "kaldi/wav.scp": "a a.wav\n",
    "kaldi/text": "a-1 one\na-2 two\n",
    "kaldi/segments": "a-1 a 0.1 0.5\na-2 a 0.5 0.9\n",
    "lists/phonesMatches_reduced.json": '{"a": 0, "": 1, "tS": 2}',
}
for stem in ("trainSeqs_1.0", "valSeqs_1.0", "testSeqs"):
    TEXTS[f"lists/{stem}_16k.tsv"] = "WAV_PATH\nx1.wav\t32000\t16000\nx2.wav\t32000\t16000\n"
    TEXTS[f"lists/{stem}.text"] = "x1\tone\nx2\ttwo\n"
    TEXTS[f"lists/{stem}_16k.id"] = "0 2 0 \n0 2\n"
PHONES_TSV = "a\ta b c\nb\ta c\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, small_run: RunResult) -> Path:
    folder = tmp_path_factory.mktemp("bad")
    tone = 0.1 * np.sin(np.arange(16_000) / 10)
    for name in ("a.wav", "b.wav", "a.flac"):
        soundfile.write(folder / name, tone, 16_000)
    soundfile.write(folder / "a.mp3", tone, 16_000)
    setting = Setting("tiny", "cpu", "no", folder / "setting", num_utterances=2)
    write_model(setting)
    shutil.copytree(setting.model_folder, folder / "model")
    shutil.copytree(small_run.output_dir, folder / "run", ignore=shutil.ignore_patterns("checkpoints"))
    with_texts(folder, tone)
    for name in ("cv/ky/clips/a.wav", "cv/ky/clips/b.wav"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / "a.wav", folder / name)
    for split in ("train", "dev", "test"):
        (folder / "cv" / "ky" / f"{split}.tsv").write_text("path\tsentence\na.wav\tone\nb.wav\ttwo\n", encoding="utf-8")
    for name, mode in (("cv.tar", "w"), ("cv.tar.gz", "w:gz")):
        with tarfile.open(folder / name, mode) as tar:  # type: ignore[call-overload]
            tar.add(folder / "cv", "cv")
    (folder / "rows").mkdir()
    held = [(folder / "a.flac").read_bytes(), None, None]
    audio = [
        {"bytes": content, "path": name} for content, name in zip(held, ("x.flac", "../a.flac", "/x"), strict=True)
    ]
    table = pyarrow.table({"audio": audio, "sentence": ["one", "two", "three"]})
    pyarrow.parquet.write_table(table, folder / "rows" / "train-0.parquet")
    (folder / "ngram").mkdir()
    said = [["a", "k", "a"], ["k", "a"]] * 4
    (folder / "ngram" / "phones.arpa").write_text(arpa(said, 3), encoding="utf-8")
    write_settings(folder / "ngram", BeamSettings(3, 0.5, 0.0))
    return folder


def with_texts(folder: Path, tone: Any) -> None:
    """Recordings with texts beside them, a folder of Kaldi's, and published lists."""
    for place in ("grid", "elan", "label", "kaldi", "lists"):
        (folder / place).mkdir()
        soundfile.write(folder / place / "a.wav", tone, 16_000)
    for name, text in TEXTS.items():
        (folder / name).write_text(text, encoding="utf-8")


def kinds(folder: Path, saved: SavedModel) -> list[Kind]:
    """Name, a sound input, and what reads a mutated one."""
    found: list[Kind] = [
        ("yaml", CONFIG.encode(), lambda content: yaml_file(folder, content)),
        ("tsv", MANIFEST_TSV.encode(), lambda content: manifest(folder, content, "list.tsv")),
        ("jsonl", MANIFEST_JSON.encode(), lambda content: manifest(folder, content, "list.jsonl")),
        ("lexicon", "one\tw ʌ n\ntwo\tt uː\n".encode(), lambda content: lexicon(folder, content)),
        ("phones.tsv", PHONES_TSV.encode(), lambda content: results(folder, content, "phones.tsv")),
    ]
    for name in ("a.wav", "a.flac", "a.mp3"):
        content = (folder / name).read_bytes()
        found.append((name, content, lambda content, name=name: audio(folder, content, f"bad-{name}")))  # type: ignore[misc]
    for file in sorted((folder / "model").iterdir()):
        read = lambda content, name=file.name: model(folder, content, name)  # type: ignore[misc]  # noqa: E731
        found.append((file.name, file.read_bytes(), read))
    groups: list[tuple[str, list[str], Callable[..., None]]] = [
        ("run/", OF_A_RUN, partial(verified, folder)),
        ("", [name for name in TEXTS if not name.startswith("lists/")], partial(beside, folder)),
        ("lists/", [name[6:] for name in TEXTS if name.startswith("lists/")], partial(published, folder)),
        ("", ["cv.tar", "cv.tar.gz"], partial(archive, folder)),
        ("ngram/", ["phones.arpa", "beam.json"], partial(ngram, saved, folder)),
    ]
    for place, names, read in groups:
        found += [(name, (folder / place / name).read_bytes(), partial(read, name=name)) for name in names]
    found.append(("compare", (folder / "run/eval/test/hypotheses.jsonl").read_bytes(), partial(compared, folder)))
    found.append(("align", (folder / "a.wav").read_bytes(), partial(aligned, saved, folder)))
    found.append(("parquet", (folder / "rows/train-0.parquet").read_bytes(), partial(parquet, folder)))
    return found


@pytest.mark.long
def test_two_hundred_mutated_inputs(folder: Path, small_model: SavedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("it asked"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for _, sound, read in kinds(folder, small_model)[1:]:
        read(sound)
    assert run_cases(kinds(folder, small_model), range(200)) == []


@pytest.mark.slow
def test_a_thousand_mutated_inputs(folder: Path, small_model: SavedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("it asked"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert run_cases(kinds(folder, small_model), range(200, 1200)) == []


@pytest.mark.parametrize("kind", ["fifo", "device", "folder", "loop", "empty", "none"])
def test_what_is_no_file(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "clip.wav"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    elif kind == "loop":
        path.symlink_to(path)
    elif kind == "empty":
        path.write_bytes(b"")
    with limited(), pytest.raises(BadClip):
        read_audio(path)


@pytest.mark.parametrize("rate_hz", [1, 100, 2**31 - 1])
def test_rates_that_no_recorder_has(rate_hz: int, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "clip.wav", np.full(20_000, 0.1), rate_hz)
    with limited(), pytest.raises(BadClip):
        read_audio(tmp_path / "clip.wav")


@pytest.mark.parametrize(
    "name", ["a\0.wav", ".", "..", "loop.wav", "\ud800.wav", "x" * 200_000, "~nosuchuser/a.wav", ""]
)
def test_paths_of_a_manifest_that_name_no_clip(name: str, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "good.wav", 0.1 * np.sin(np.arange(16_000) / 10), 16_000)
    (tmp_path / "loop.wav").symlink_to(tmp_path / "loop.wav")
    rows = [{"path": "good.wav", "sentence": "one"}, {"path": name, "sentence": "two"}]
    (tmp_path / "list.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    with limited():
        corpus = list_utterances(DataConfig(source="manifest", root=str(tmp_path), train=str(tmp_path / "list.jsonl")))
    assert [item.path.name for item in corpus.splits["train"] if item.path and item.path.is_file()] == ["good.wav"]
    for item in corpus.splits["train"]:
        if item.path and item.path.name != "good.wav":
            with pytest.raises(BadClip):
                read_audio(item.path)
