"""Listing speech: Common Voice releases, manifests and Hub datasets, with their unusable rows reported."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from unispeech_ft.config.sections import DataConfig
from unispeech_ft.data.prepare import prepare_audio
from unispeech_ft.data.shards import read_units
from unispeech_ft.data.sources import list_utterances
from unispeech_ft.data.utterances import FILTERED, Corpus, Split
from unispeech_ft.errors import UserError, UserErrors
from unispeech_ft.testing.corpus import make_corpus

SPLITS: tuple[Split, ...] = ("train", "validation", "test")
SHARED = Path(os.environ.get("UNISPEECH_FT_SHARED", Path(__file__).resolve().parents[2] / "../shared"))


def ids(corpus: Corpus, split: Split = "train") -> list[str]:
    return [utterance.id for utterance in corpus.splits[split]]


def reasons(corpus: Corpus) -> list[tuple[str, str]]:
    return [(item.id, item.reason) for item in corpus.rejected]


def refusal(**data: Any) -> str:
    with pytest.raises(UserError) as refused:
        list_utterances(DataConfig(**data))
    assert len(refused.value.lines) == 1
    assert refused.value.remedy
    return str(refused.value)


# Common Voice


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release of two languages, in a folder of its own as the archives unpack it."""
    root = tmp_path_factory.mktemp("cv") / "cv-corpus-25.0"
    return make_corpus(root, ["ky", "it"], train_hours=0.004, dev_hours=0.004, test_hours=0.004)


@pytest.fixture(scope="module")
def archive(release: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("archive") / "cv-corpus-25.0-ky.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        tar.add(release, release.name)
    return path


def test_a_release_folder_a_language_folder_and_an_archive_list_alike(
    release: Path, archive: Path, tmp_path: Path
) -> None:
    with (release / "ky" / "train.tsv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    for root in (release, release.parent, release / "ky", archive):
        corpus = list_utterances(DataConfig(root=str(root), language="ky", cache_dir=str(tmp_path)))
        assert ids(corpus) == [row["path"].removesuffix(".mp3") for row in rows]
        assert [item.text for item in corpus.splits["train"]] == [row["sentence"] for row in rows]
        assert [item.speaker for item in corpus.splits["train"]] == [row["client_id"] for row in rows]
        assert all(item.path.is_file() for split in SPLITS for item in corpus.splits[split])
        assert all(corpus.splits[split] for split in SPLITS)
        assert not corpus.rejected
        assert corpus.synthetic is True


def test_an_archive_is_unpacked_once_and_only_its_language(archive: Path, tmp_path: Path) -> None:
    data = DataConfig(root=str(archive), language="ky", cache_dir=str(tmp_path))
    first = list_utterances(data).splits["train"][0].path
    stamp = first.stat().st_mtime_ns, first.stat().st_ino
    again = list_utterances(data).splits["train"][0].path
    assert again == first
    assert (again.stat().st_mtime_ns, again.stat().st_ino) == stamp
    assert not list(tmp_path.rglob("it/clips"))
    assert not list(tmp_path.rglob(".partial-*"))


def test_an_archive_cut_short(archive: Path, tmp_path: Path) -> None:
    half = tmp_path / "half.tar.gz"
    half.write_bytes(archive.read_bytes()[: archive.stat().st_size // 2])
    assert "cannot be unpacked" in refusal(root=str(half), language="ky", cache_dir=str(tmp_path / "cache"))
    assert not list((tmp_path / "cache").rglob("*.tsv"))


def test_an_archive_cannot_write_outside_the_cache(release: Path, tmp_path: Path) -> None:
    evil = tmp_path / "evil.tar.gz"
    with tarfile.open(evil, "w:gz") as tar:
        tar.add(release / "ky", "cv/ky")
        member = tarfile.TarInfo("cv/ky/../../../../../escaped.tsv")
        member.size = 3
        tar.addfile(member, io.BytesIO(b"bad"))
    with pytest.raises(UserError):
        list_utterances(DataConfig(root=str(evil), language="ky", cache_dir=str(tmp_path / "deep" / "cache")))
    assert not list(tmp_path.rglob("escaped.tsv"))


def test_wrong_roots(release: Path, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "no such folder" in refusal(root=str(tmp_path / "none"), language="ky")
    monkeypatch.chdir(tmp_path)
    assert "unispeech-ft demo" in refusal(root="data/demo", language="ky")
    assert "it holds it, ky" in refusal(root=str(release), language="fr")
    assert "holds no folder fr" in refusal(root=str(archive), language="fr", cache_dir=str(tmp_path))
    text = tmp_path / "notes.txt"
    text.write_text("hello")
    assert "not a .tar.gz" in refusal(root=str(text), language="ky")
    assert "has no nope.tsv" in refusal(root=str(release), language="ky", train="nope")
    noise = tmp_path / "noise.tar.gz"
    noise.write_bytes(b"no archive at all" * 50)
    assert "cannot be unpacked" in refusal(root=str(noise), language="ky", cache_dir=str(tmp_path))


def test_another_split_by_name(release: Path) -> None:
    corpus = list_utterances(DataConfig(root=str(release), language="ky", train="validated", validation="test.tsv"))
    assert set(ids(corpus)) > set(ids(corpus, "test"))
    assert ids(corpus, "validation") == ids(corpus, "test")


def language_folder(root: Path, train: bytes) -> DataConfig:
    """A release with the given train.tsv and small but sound other tables."""
    folder = root / "ky"
    (folder / "clips").mkdir(parents=True)
    (folder / "train.tsv").write_bytes(train)
    for name in ("dev", "test"):
        (folder / f"{name}.tsv").write_text("client_id\tpath\tsentence\na\tx.mp3\tсалам\n", encoding="utf-8")
    return DataConfig(root=str(root), language="ky")


def test_rows_that_cannot_be_used_are_reported_by_line_and_the_others_go_on(tmp_path: Path) -> None:
    lines = [
        b"client_id\tpath\tsentence",
        b"a\tone.mp3\tfine",
        b"a\ttwo.mp3",
        b"a\tthree.mp3\tone\ttoo many",
        b"a\tfour.mp3\t\xff\xfe bad",
        b"a\t../../etc/passwd\tescape",
        b"a\t\tno path",
        b"a\tlast.mp3\tfine too",
    ]
    corpus = list_utterances(language_folder(tmp_path, b"\n".join(lines)))
    assert ids(corpus) == ["one", "last"]
    found = dict(reasons(corpus))
    assert sorted(found) == [f"train.tsv:{line}" for line in (3, 4, 5, 6, 7)]
    assert "2 columns where the header has 3" in found["train.tsv:3"]
    assert "4 columns" in found["train.tsv:4"]
    assert "not UTF-8" in found["train.tsv:5"]
    assert "../../etc/passwd" in found["train.tsv:6"]
    assert {item.split for item in corpus.rejected} == {"train"}


def test_bom_crlf_and_quotes(tmp_path: Path) -> None:
    train = '\ufeffclient_id\tpath\tsentence\r\na\tone.mp3\t"Жок, деди\r\nb\ttwo.mp3\tал "бүгүн" келди\r\n\r\n'
    corpus = list_utterances(language_folder(tmp_path, train.encode()))
    assert [item.text for item in corpus.splits["train"]] == ['"Жок, деди', 'ал "бүгүн" келди']
    assert [item.speaker for item in corpus.splits["train"]] == ["a", "b"]
    assert not corpus.rejected


def test_unusual_line_separators_within_a_sentence_do_not_cut_it(tmp_path: Path) -> None:
    train = "client_id\tpath\tsentence\na\tone.mp3\tone\u2028two\x85three\x0cfour\n"
    corpus = list_utterances(language_folder(tmp_path, train.encode()))
    assert ids(corpus) == ["one"]
    assert not corpus.rejected


def test_a_clip_listed_twice_keeps_both_rows_apart(tmp_path: Path) -> None:
    train = b"client_id\tpath\tsentence\na\tone.mp3\tfirst\na\tone.mp3\tsecond\na\told\tno ending\n"
    corpus = list_utterances(language_folder(tmp_path, train))
    assert ids(corpus) == ["one", "one#2", "old"]
    assert [item.path.name for item in corpus.splits["train"]] == ["one.mp3", "one.mp3", "old.mp3"]


def test_a_table_without_the_columns(tmp_path: Path) -> None:
    data = language_folder(tmp_path, b"clip\ttext\none.mp3\tx\n")
    assert "has no column path" in refusal(**data.model_dump())
    (tmp_path / "ky" / "train.tsv").write_bytes(b"")
    assert "holds no rows" in refusal(**data.model_dump())


# Manifests


@pytest.fixture
def folder(tmp_path: Path, write_clip: Callable[..., Path]) -> Path:
    root = tmp_path / "speech"
    for number in range(4):
        write_clip(root / "wavs" / f"clip{number}.wav", seed=number)
    write_clip(tmp_path / "outside.wav")
    return root


ROWS = [
    {"path": "wavs/clip0.wav", "sentence": 'he said "no", twice', "speaker": "anna"},
    {"path": "wavs/clip1.wav", "sentence": "tab less", "speaker": ""},
    {"path": "wavs/clip2.wav", "sentence": "дүйнө", "speaker": "bo"},
]


def write_manifest(path: Path, rows: list[dict[str, Any]]) -> Path:
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    elif path.suffix == ".csv":
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    else:
        lines = ["\t".join(rows[0]), *("\t".join(map(str, row.values())) for row in rows)]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def manifest(root: Path, **keys: Any) -> DataConfig:
    return DataConfig(**({"source": "manifest", "root": str(root), "train": "m.tsv", "validation": "v.tsv"} | keys))


@pytest.mark.parametrize("kind", ["tsv", "csv", "jsonl"])
def test_the_three_kinds_of_manifest_say_the_same(kind: str, folder: Path) -> None:
    write_manifest(folder / f"m.{kind}", ROWS)
    write_manifest(folder / f"v.{kind}", [{"path": "wavs/clip3.wav", "text": "x"}])
    corpus = list_utterances(manifest(folder, train=f"m.{kind}", validation=str(folder / f"v.{kind}")))
    assert ids(corpus) == ["wavs/clip0", "wavs/clip1", "wavs/clip2"]
    assert [item.text for item in corpus.splits["train"]] == [row["sentence"] for row in ROWS]
    assert [item.speaker for item in corpus.splits["train"]] == ["anna", None, "bo"]
    assert ids(corpus, "validation") == ["wavs/clip3"]
    assert list(corpus.splits["test"]) == []
    assert all(item.path.is_file() for item in corpus.splits["train"])


@pytest.mark.parametrize("kind", ["tsv", "csv", "jsonl"])
def test_phones_instead_of_sentences(kind: str, folder: Path) -> None:
    phones = ["tʃ", "aː", "n"]
    value: Any = phones if kind == "jsonl" else " ".join(phones)
    write_manifest(folder / f"m.{kind}", [{"audio": "wavs/clip0.wav", "phones": value}])
    write_manifest(folder / "v.tsv", ROWS)
    corpus = list_utterances(manifest(folder, train=f"m.{kind}"))
    assert corpus.splits["train"][0].phones == tuple(phones)
    assert corpus.splits["train"][0].text is None


def test_columns_by_name(folder: Path) -> None:
    write_manifest(folder / "m.tsv", [{"f": "wavs/clip0.wav", "said": "a", "who": "w", "ipa": "x y"}])
    names = {"audio_column": "f", "text_column": "said", "speaker_column": "who", "phones_column": "ipa"}
    only = list_utterances(manifest(folder, validation=None, **names)).splits
    found = [item for split in SPLITS for item in only[split]]
    assert [(item.id, item.text, item.speaker, item.phones) for item in found] == [("wavs/clip0", "a", "w", ("x", "y"))]
    wanted = manifest(folder, validation=None, **(names | {"text_column": "nope"}))
    said = refusal(**wanted.model_dump())
    assert "data.text_column" in said
    assert "it has f, said, who, ipa" in said


def test_a_split_column(folder: Path) -> None:
    rows = [row | {"split": name} for row, name in zip(ROWS, ["Train", "dev", "TEST "], strict=True)]
    write_manifest(folder / "m.tsv", rows)
    corpus = list_utterances(manifest(folder, validation=None))
    assert [ids(corpus, split) for split in SPLITS] == [["wavs/clip0"], ["wavs/clip1"], ["wavs/clip2"]]
    write_manifest(folder / "m.tsv", [rows[0], rows[1] | {"split": "holdout"}, rows[2] | {"split": "eval"}])
    with pytest.raises(UserErrors) as refused:
        list_utterances(manifest(folder, validation=None))
    assert len(refused.value.lines) == 2
    assert "holdout" in str(refused.value)


def test_one_manifest_alone_is_divided_by_what_is_said(folder: Path) -> None:
    rows = [{"path": f"wavs/c{number}.wav", "sentence": f"sentence {number % 500}"} for number in range(1_000)]
    write_manifest(folder / "m.tsv", rows)
    corpus = list_utterances(manifest(folder, validation=None))
    said = {split: {item.text for item in corpus.splits[split]} for split in SPLITS}
    assert not said["train"] & said["test"]
    assert not said["train"] & said["validation"]
    assert not said["validation"] & said["test"]
    shares = [len(corpus.splits[split]) / 1_000 for split in SPLITS]
    assert shares == pytest.approx([0.8, 0.1, 0.1], abs=0.05)
    assert sum(len(corpus.splits[split]) for split in SPLITS) == 1_000
    assert any("hash" in note for note in corpus.notes)
    write_manifest(folder / "m.tsv", rows[:100])
    fewer = list_utterances(manifest(folder, validation=None))
    assert set(ids(fewer, "test")) <= set(ids(corpus, "test"))


@pytest.mark.parametrize(
    "escape", ["../outside.wav", "../../../../../../etc/passwd", "/etc/passwd", "wavs/../../outside.wav"]
)
@pytest.mark.parametrize("kind", ["tsv", "jsonl"])
def test_paths_outside_the_root_are_refused(kind: str, escape: str, folder: Path) -> None:
    write_manifest(folder / f"m.{kind}", [*ROWS[:1], {"path": escape, "sentence": "x", "speaker": ""}])
    write_manifest(folder / "v.tsv", ROWS)
    corpus = list_utterances(manifest(folder, train=f"m.{kind}"))
    assert ids(corpus) == ["wavs/clip0"]
    [(place, reason)] = reasons(corpus)
    assert place.startswith(f"m.{kind}:")
    assert escape in reason
    assert "outside data.root" in reason


def test_a_manifest_in_a_folder_of_its_own_beside_the_audio(folder: Path) -> None:
    (folder / "lists").mkdir()
    write_manifest(folder / "lists" / "m.tsv", [{"path": "../wavs/clip0.wav", "sentence": "a"}])
    write_manifest(folder / "v.tsv", ROWS)
    corpus = list_utterances(manifest(folder, train="lists/m.tsv"))
    assert [item.path for item in corpus.splits["train"]] == [(folder / "wavs" / "clip0.wav").resolve()]


def test_duplicates_and_clips_of_one_name_in_two_folders(folder: Path) -> None:
    rows = [{"path": path, "sentence": "a"} for path in ("wavs/clip0.wav", "wavs/clip0.wav", "more/clip0.wav")]
    write_manifest(folder / "m.tsv", rows)
    write_manifest(folder / "v.tsv", ROWS)
    corpus = list_utterances(manifest(folder))
    assert ids(corpus) == ["wavs/clip0", "more/clip0"]
    assert reasons(corpus) == [("m.tsv:3", "filtered: the same as line 2")]


def test_lines_of_jsonl_that_cannot_be_used(folder: Path) -> None:
    lines = [json.dumps(ROWS[0]), "{broken", "[1, 2]", '{"sentence": "no path"}', json.dumps(ROWS[1])]
    (folder / "m.jsonl").write_text("\n".join(lines), encoding="utf-8")
    write_manifest(folder / "v.tsv", ROWS)
    corpus = list_utterances(manifest(folder, train="m.jsonl"))
    assert ids(corpus) == ["wavs/clip0", "wavs/clip1"]
    assert [place for place, _ in sorted(reasons(corpus))] == ["m.jsonl:2", "m.jsonl:3", "m.jsonl:4"]


def test_wrong_manifests(folder: Path) -> None:
    write_manifest(folder / "v.tsv", ROWS)
    assert "no file m.tsv" in refusal(**manifest(folder).model_dump())
    (folder / "m.xlsx").write_bytes(b"x")
    assert "neither .tsv, .csv nor .jsonl" in refusal(**manifest(folder, train="m.xlsx").model_dump())
    write_manifest(folder / "m.tsv", [{"file_": "a.wav", "sentence": "x"}])
    assert "no column of audio paths" in refusal(**manifest(folder).model_dump())
    write_manifest(folder / "m.tsv", [{"path": "a.wav", "lyrics": "x"}])
    assert "neither a column of sentences nor of phones" in refusal(**manifest(folder).model_dump())
    assert "no folder" in refusal(**manifest(folder / "none").model_dump())


# Hub


def tone(number: int) -> bytes:
    buffer = io.BytesIO()
    samples = 0.1 * np.random.default_rng(number).normal(size=4_000).clip(-3, 3)
    soundfile.write(buffer, samples, 16_000, format="FLAC")
    return buffer.getvalue()


@pytest.fixture
def parquet(tmp_path: Path) -> Path:
    from datasets import Audio, Dataset

    root = tmp_path / "parquet"
    (root / "data").mkdir(parents=True)
    number = 0
    for split, count in (("train", 5), ("validation", 2), ("test", 2)):
        rows = range(number, number + count)
        names = [f"clip{row}.flac" if row != 1 else "clip0.flac" for row in rows]
        audio = [{"bytes": tone(row), "path": name} for row, name in zip(rows, names, strict=True)]
        columns = {
            "audio": audio,
            "sentence": [f"said {row} " for row in rows],
            "client_id": [f"s{row}" for row in rows],
        }
        table = Dataset.from_dict(columns).cast_column("audio", Audio(decode=False))
        table.to_parquet(str(root / "data" / f"{split}-00000-of-00001.parquet"))
        number += count
    return root


def hub(root: Path, **keys: Any) -> DataConfig:
    return DataConfig(source="hub", root=str(root), language="ky", **keys)


def test_a_folder_of_parquet_files(parquet: Path, tmp_path: Path) -> None:
    corpus = list_utterances(hub(parquet))
    assert ids(corpus) == ["clip0", "clip0#2", "clip2", "clip3", "clip4"]
    assert [len(corpus.splits[split]) for split in SPLITS] == [5, 2, 2]
    assert corpus.splits["train"][1].text == "said 1"
    assert corpus.splits["test"][0].speaker == "s7"
    assert corpus.splits["train"][0].path is None
    audio = prepare_audio(corpus, "train", tmp_path / "cache", num_workers=1, show_progress=False)
    assert list(audio.rows) == ids(corpus)
    for number, name in enumerate(ids(corpus)):
        expected, _ = soundfile.read(io.BytesIO(tone(number)), dtype="float32")
        apart = np.abs(audio.waveform(audio.rows[name]) - expected).max()
        assert apart <= np.abs(expected).max() / 32767


def test_a_changed_parquet_file_is_read_again(parquet: Path, tmp_path: Path) -> None:
    first = prepare_audio(list_utterances(hub(parquet)), "train", tmp_path / "c", num_workers=1, show_progress=False)
    os.utime(parquet / "data" / "train-00000-of-00001.parquet", ns=(1, 1))
    second = prepare_audio(list_utterances(hub(parquet)), "train", tmp_path / "c", num_workers=1, show_progress=False)
    assert first.folder != second.folder


def test_wrong_parquet_folders(parquet: Path, tmp_path: Path) -> None:
    assert "has no split evaluation" in refusal(**hub(parquet, test="evaluation").model_dump())
    assert "data.text_column" in refusal(**hub(parquet, text_column="nope").model_dump())
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "no .parquet files" in refusal(**hub(empty).model_dump())


def test_parquet_rows_name_files_below_the_root_and_no_others(tmp_path: Path) -> None:
    import pyarrow.parquet

    root = tmp_path / "root"
    (root / "clips").mkdir(parents=True)
    for path in (root / "clips" / "in.flac", tmp_path / "out.flac"):
        path.write_bytes(tone(1))
    names = ["clips/in.flac", str(root / "clips" / "in.flac"), "../out.flac", str(tmp_path / "out.flac"), "/etc/passwd"]
    audio = [{"bytes": None, "path": name} for name in names]
    rows = {"audio": audio, "sentence": [f"said {row}" for row in range(len(names))]}
    pyarrow.parquet.write_table(pyarrow.table(rows), root / "train-0.parquet")
    prepared = prepare_audio(
        list_utterances(hub(root)), "train", tmp_path / "cache", num_workers=1, show_progress=False
    )
    assert list(prepared.rows) == ["in", "in#2"]
    assert all("outside data.root" in reason for reason in prepared.faults.values())
    streamed = list(read_units([(str(root / "train-0.parquet"), 0, 1)], "parquet", "audio"))
    assert [item["path"] for item in streamed] == [str(root / "clips" / "in.flac")] * 2 + [""] * 3


@pytest.mark.parametrize("damage", ["half", "noise", "none"])
def test_a_broken_parquet_file_is_one_line(damage: str, parquet: Path) -> None:
    path = parquet / "data" / "train-00000-of-00001.parquet"
    content = path.read_bytes()
    path.write_bytes(
        {"half": content[: len(content) // 2], "noise": b"PAR1" + bytes(500) + b"PAR1", "none": b""}[damage]
    )
    assert "cannot be" in refusal(**hub(parquet).model_dump())
    with pytest.raises(UserError, match="cannot be read"):
        list(read_units([(str(path), 0, 1)], "parquet", "audio"))


@pytest.mark.parametrize("source", ["release", "manifest", "folder", "parquet"])
def test_a_split_that_nobody_asks_for_need_not_be_there(source: str, request: pytest.FixtureRequest, tmp_path: Path):
    if source == "release":
        root = Path(shutil.copytree(request.getfixturevalue("release") / "ky", tmp_path / "ky"))
        (root / "train.tsv").unlink()
        (root / "dev.tsv").write_text("no\tcolumns\n")
        data = DataConfig(root=str(root), language="ky")
    elif source == "parquet":
        root = request.getfixturevalue("parquet")
        (root / "data" / "train-00000-of-00001.parquet").unlink()
        data = hub(root, validation="elsewhere")
    else:
        root = request.getfixturevalue("folder")
        write_manifest(root / "t.tsv", [{**row, "split": ""} for row in ROWS])
        if source == "folder":
            (root / "m").mkdir()
        data = manifest(root, train="m" if source == "folder" else "m.tsv", test="t.tsv")
    corpus = list_utterances(data, wanted=("test",))
    assert ids(corpus, "test")
    assert [ids(corpus, split) for split in SPLITS[:2]] == [[], []]
    assert [note.split(" (")[0] for note in corpus.notes] == ["train is not read", "validation is not read"]
    refusal(**data.model_dump())


def test_a_manifest_that_is_divided_is_needed_for_each_part(folder: Path) -> None:
    write_manifest(folder / "m.tsv", ROWS)
    data = manifest(folder, validation=None)
    assert list_utterances(data, wanted=("test",)).splits == list_utterances(data).splits
    (folder / "m.tsv").unlink()
    with pytest.raises(UserError, match=r"no file m\.tsv"):
        list_utterances(data, wanted=("test",))


# Real recordings, where they are there


@pytest.mark.skipif(not (SHARED / "data/speech/cv_tsv/es.tsv").is_file(), reason=f"no speech in {SHARED}")
@pytest.mark.parametrize("language", ["es", "it", "tr"])
def test_shared_speech_lists_and_decodes_as_it_is(language: str, tmp_path: Path) -> None:
    root = SHARED / "data" / "speech"
    if not (root / "cv_tsv" / f"{language}.tsv").is_file():
        pytest.skip(f"no {language}.tsv in {root}")
    corpus = list_utterances(manifest(root, train=f"cv_tsv/{language}.tsv", validation=f"cv_tsv/{language}.tsv"))
    assert len(corpus.splits["train"]) > 0
    assert not corpus.rejected
    audio = prepare_audio(corpus, "train", tmp_path, num_workers=1, show_progress=False)
    assert audio.faults == {}
    assert audio.num_samples.min() > 1_000


@pytest.mark.skipif(not (SHARED / "data/speech/audio").is_dir(), reason=f"no speech in {SHARED}")
def test_every_format_of_the_shared_speech_decodes() -> None:
    from unispeech_ft.data.audio import read_audio

    clips: dict[str, list[Path]] = {}
    for path in sorted((SHARED / "data/speech/audio").rglob("*")):
        if path.suffix.lower() in (".mp3", ".ogg", ".oga", ".opus", ".flac", ".wav"):
            clips.setdefault(path.suffix.lower(), []).append(path)
    assert clips
    for paths in clips.values():
        for path in paths[:20]:
            assert len(read_audio(path)) > 1_000, path


def test_symbolic_links_within_the_root(folder: Path) -> None:
    shutil.move(folder / "wavs" / "clip0.wav", folder / "wavs" / "real.wav")
    (folder / "wavs" / "clip0.wav").symlink_to(folder / "wavs" / "real.wav")
    write_manifest(folder / "m.tsv", ROWS)
    write_manifest(folder / "v.tsv", ROWS)
    corpus = list_utterances(manifest(folder))
    assert len(corpus.splits["train"]) == 3
    assert not corpus.rejected


def test_a_row_of_spontaneous_speech_that_stands_twice_is_reported(tmp_path: Path) -> None:
    (tmp_path / "audios").mkdir()
    rows = ["x\ta.wav\tuno\tTrain", "x\ta.wav\tuno\tTrain", "x\tb.wav\tdos\t", "x\tc.wav\t\tdev", "y\tc.wav\ttres\tDev"]
    table = "client_id\taudio_file\ttranscription\tsplit\n" + "\n".join(rows)
    (tmp_path / "ss-corpus-es.tsv").write_text(table + "\n", encoding="utf-8")
    corpus = list_utterances(DataConfig(source="common_voice", root=str(tmp_path), language="es"))
    assert [[item.text for item in corpus.splits[split]] for split in SPLITS] == [["uno"], ["tres"], []]
    assert [(item.id, item.reason.removeprefix(FILTERED)) for item in corpus.rejected] == [
        ("ss-corpus-es.tsv:3", "the same as line 2"),
        ("ss-corpus-es.tsv:4", "its split is not named"),
        ("ss-corpus-es.tsv:5", "not transcribed"),
    ]
