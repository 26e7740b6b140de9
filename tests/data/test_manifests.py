"""Lists as people write them: every row is used or reported with its line, whatever the dialect."""

from __future__ import annotations

import csv
import io
import json
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from unispeech_ft.config.sections import DataConfig
from unispeech_ft.data.prepare import prepare_audio
from unispeech_ft.data.sources import list_utterances
from unispeech_ft.data.utterances import SPLITS, Corpus, Utterance, hold_out
from unispeech_ft.errors import UserError

SENTENCES = ('he said "no", twice', "it's 5; or 6", "дүйнө", "a|b", "plain words", "l'été, là", 'open " quote')


def listed(root: Path, train: str, **keys: Any) -> Corpus:
    return list_utterances(DataConfig(**({"source": "manifest", "root": str(root), "train": train} | keys)))


def used(corpus: Corpus) -> list[Utterance]:
    return [item for split in SPLITS for item in corpus.splits[split]]


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("clips")
    random = np.random.default_rng(0)
    for number in range(8):
        soundfile.write(root / f"c{number}.wav", 0.1 * random.normal(size=16_000 * 6), 16_000)
    return root


def random_manifest(random: np.random.Generator) -> tuple[bytes, str, int]:
    """A table in some dialect with some damage: its content, its ending, and how many rows it has."""
    rows = []
    for number in range(int(random.integers(1, 12))):
        text = f"{SENTENCES[random.integers(len(SENTENCES))]} {number}"
        path = f"c{random.integers(8)}.wav" if random.random() < 0.9 else "" if random.random() < 0.5 else "../x.wav"
        rows.append({"path": path, "sentence": text if random.random() < 0.95 else "", "speaker": f"s{number % 3}"})
    kind = random.choice(["tsv", "quoted", "csv", "semicolon", "jsonl", "json", "pretty"])
    ends = str(random.choice(["\n", "\r\n", "\r"]))
    if kind in ("jsonl", "json", "pretty"):
        indent = int(random.integers(3)) if kind == "pretty" else None
        lines = [
            json.dumps(row, ensure_ascii=bool(random.random() < 0.5), indent=indent).replace("\n", ends) for row in rows
        ]
        if kind != "json" and random.random() < 0.3:
            lines[int(random.integers(len(lines)))] = str(random.choice(["{broken", "[1, 2]", "7", '"text"']))
        text = ends.join(lines) if kind != "json" else "[" + ("," + ends).join(lines) + "]"
    else:
        delimiter = {"tsv": "\t", "quoted": "\t", "csv": ",", "semicolon": ";"}[kind]
        file = io.StringIO()
        if kind == "tsv":
            file.write(ends.join(["path\tsentence\tspeaker", *("\t".join(row.values()) for row in rows)]))
        else:
            quoting = csv.QUOTE_ALL if kind == "quoted" else csv.QUOTE_MINIMAL
            writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter, lineterminator=ends, quoting=quoting)
            writer.writeheader()
            writer.writerows(rows)
        lines = file.getvalue().removesuffix(ends).split(ends)
        damaged = int(random.integers(1, len(lines)))
        if random.random() < 0.4:
            lines[damaged] = str(
                random.choice([lines[damaged] + delimiter * 2, "one cell", f'c1.wav{delimiter}"open{delimiter}s1'])
            )
        text = ends.join(lines) + (ends if random.random() < 0.5 else "")
        if ends == "\r" and len(lines) > 3 and random.random() < 0.5:
            text = text.replace("\r", "\r\n", 1)
    encoding = str(random.choice(["utf-8", "utf-8-sig", "utf-16", "utf-8"]))
    ending = {"tsv": "tsv", "quoted": "tsv", "jsonl": "jsonl", "json": "json", "pretty": "json"}.get(kind, "csv")
    return text.encode(encoding), ending, len(rows)


def test_rows_used_and_rows_reported_are_the_rows_of_the_file(clips: Path, tmp_path: Path) -> None:
    random = np.random.default_rng(7)
    refused = 0
    for number in range(300):
        content, ending, rows = random_manifest(random)
        path = tmp_path / f"m{number}.{ending}"
        path.write_bytes(content)
        try:
            corpus = listed(clips, str(path))
        except UserError:
            refused += 1
            continue
        assert len(used(corpus)) + len(corpus.rejected) == rows, (number, content, corpus.rejected)
    assert refused <= 15, "only a list without any row that can be read is refused"


def test_one_manifest_that_is_not_below_the_root_names_clips_below_it(clips: Path, tmp_path: Path) -> None:
    (tmp_path / "m.tsv").write_text("path\tsentence\nc0.wav\ta\n")
    assert [item.path for item in used(listed(clips, str(tmp_path / "m.tsv")))] == [clips / "c0.wav"]


def test_a_cell_with_line_breaks_is_one_row(clips: Path, tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text('path,sentence\nc0.wav,"first\nsecond"\nc1.wav,"an ""open"" one"\n')
    assert sorted(item.text or "" for item in used(listed(clips, str(tmp_path / "m.csv")))) == [
        'an "open" one', "first\nsecond",
    ]  # fmt: skip


@pytest.mark.parametrize("header", ['"path"\t"sentence"', "path\tsentence"])
def test_quotes_of_a_table_with_tabs_are_quotes_where_all_cells_have_them(
    header: str, clips: Path, tmp_path: Path
) -> None:
    rows = ['"c0.wav"\t"an ""open"" one"', '"c1.wav"\t"a\ttab"', '"c2.wav"\t"two']
    (tmp_path / "m.tsv").write_text("\n".join([header, *rows[:2]]) + "\n")
    corpus = listed(clips, str(tmp_path / "m.tsv"))
    assert sorted(item.text or "" for item in used(corpus)) == ["a\ttab", 'an "open" one']
    (tmp_path / "m.tsv").write_text("\n".join(["path\tsentence", 'c0.wav\t"said so"', "c1.wav\tan"]) + "\n")
    assert sorted(item.text or "" for item in used(listed(clips, str(tmp_path / "m.tsv")))) == ['"said so"', "an"]


def test_a_table_without_rows_is_empty_and_an_array_without_any_is_refused(clips: Path, tmp_path: Path) -> None:
    (tmp_path / "m.tsv").write_text("path\tsentence\n")
    assert used(listed(clips, str(tmp_path / "m.tsv"))) == []
    (tmp_path / "m.json").write_text("[]")
    with pytest.raises(UserError, match="holds no rows"):
        listed(clips, str(tmp_path / "m.json"))


def test_a_stray_cr_among_other_line_ends_is_named(clips: Path, tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_bytes(b"path,text\r\nc0.wav,a\r\nc1.wav,b\rc2.wav,c\r\n")
    corpus = listed(clips, str(tmp_path / "m.csv"))
    assert [item.text for item in used(corpus)] == ["a"]
    [stray] = corpus.rejected
    assert (stray.id, stray.reason) == ("m.csv:3", "a line break (CR) within the row that ends no row")


def test_objects_over_several_lines_and_what_is_wrong_with_one(clips: Path, tmp_path: Path) -> None:
    rows = [json.dumps({"path": f"c{number}.wav", "text": f"{number}"}, indent=2) for number in range(3)]
    rows[1] = rows[1].replace('",', '"')
    (tmp_path / "m.jsonl").write_text("\n".join([*rows, '{"path": "c3.wav", "text": "3"},', "no", "9" * 5000]))
    corpus = listed(clips, str(tmp_path / "m.jsonl"))
    assert sorted(item.text or "" for item in used(corpus)) == ["0", "2", "3"]
    assert [(item.id, item.reason) for item in corpus.rejected] == [
        ("m.jsonl:5", "not JSON (Expecting ',' delimiter)"),
        ("m.jsonl:14", "not JSON (Expecting value)"),
        ("m.jsonl:15", corpus.rejected[-1].reason),
    ]
    assert corpus.rejected[-1].reason.startswith("not JSON (Exceeds the limit")


@pytest.mark.parametrize("held", ['{"data": [%s]}', '{"c0": %s}', '{\n"path": {"0": "c0.wav"},\n"text": {"0": "a"}}'])
def test_one_object_that_holds_all_rows_is_refused(held: str, clips: Path, tmp_path: Path) -> None:
    (tmp_path / "m.json").write_text(held.replace("%s", '{"path": "c0.wav", "text": "a"}'))
    with pytest.raises(UserError, match="one object holds all rows: write an array of objects"):
        listed(clips, str(tmp_path / "m.json"))


def test_decomposed_names_and_backslashes(clips: Path, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    name = unicodedata.normalize("NFD", "canción.wav")
    (tmp_path / "sub" / name).write_bytes((clips / "c0.wav").read_bytes())
    for written in (
        "sub\\canción.wav",
        "C:\\users\\me\\sub\\canción.wav".replace("ó", "o\u0301"),
        "/home/me/sub/" + name,
    ):
        (tmp_path / "m.tsv").write_text(f"path\tsentence\n{written}\ta\n", encoding="utf-8")
        [item] = used(listed(tmp_path, "m.tsv"))
        assert item.path is not None
        assert item.path.is_file(), written


def test_a_root_that_holds_a_link_to_its_clips(clips: Path, tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "clips").symlink_to(clips)
    (tmp_path / "root" / "m.tsv").write_text("path\tsentence\nclips/c0.wav\ta\n")
    corpus = listed(tmp_path / "root", "m.tsv")
    assert [item.id for item in used(corpus)] == ["clips/c0"]


@pytest.mark.parametrize("columns", [("offset", "duration"), ("start", "end"), ("onset", "offset")])
def test_segments_are_cut_and_a_recording_stands_in_one_split(
    columns: tuple[str, str], clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [
        {"audio_filepath": f"c{clip}.wav", columns[0]: start, columns[1]: 2 if columns[1] == "duration" else start + 2,
         "text": f"sentence {clip} {start}"}
        for clip in range(5) for start in (0, 2, 4)
    ]  # fmt: skip
    path = tmp_path / "m.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    corpus = listed(clips, str(path))
    recordings = [{item.path for item in corpus.splits[split]} for split in SPLITS]
    assert all(recordings)
    assert sum(map(len, recordings)) == len(set.union(*recordings)) == 5
    opened: list[str] = []
    from unispeech_ft.data import audio

    native = audio.native_blocks
    monkeypatch.setattr(audio, "native_blocks", lambda *a, **k: opened.append(str(a[0])) or native(*a, **k))
    prepared = prepare_audio(corpus, "train", tmp_path / "cache", num_workers=1, show_progress=False)
    assert len(opened) == len(recordings[0])
    assert set(prepared.num_samples.tolist()) == {32_000}
    item = corpus.splits["train"][1]
    whole, _ = soundfile.read(str(item.path), dtype="float32")
    start = round(16_000 * float(item.start_s or 0))
    np.testing.assert_allclose(prepared.waveform(prepared.rows[item.id]), whole[start : start + 32_000], atol=1e-4)


def test_segments_that_cannot_be(clips: Path, tmp_path: Path) -> None:
    lines = [
        "path\tstart\tend\ttext",
        "c0.wav\t5\t9\tbeyond",
        "c0.wav\t3\t2\tback",
        "c0.wav\tx\t2\tno",
        "c0.wav\t\t\tall",
    ]
    (tmp_path / "m.tsv").write_text("\n".join(lines) + "\n")
    corpus = listed(clips, str(tmp_path / "m.tsv"))
    assert [item.id for item in corpus.rejected] == ["m.tsv:3", "m.tsv:4"]
    everything = Corpus({"train": used(corpus), "validation": [], "test": []})
    prepared = prepare_audio(everything, "train", tmp_path / "cache", num_workers=1, show_progress=False)
    [(name, reason)] = prepared.faults.items()
    assert name == "c0-0005000-0009000"
    assert "ends after 6.00 s" in reason


def test_kaldi_folders(clips: Path, tmp_path: Path) -> None:
    folder = tmp_path / "kaldi"
    folder.mkdir()
    (folder / "wav.scp").write_text(f"r0 {clips / 'c0.wav'}\nr1 {clips / 'c1.wav'}\nr2 sph2pipe x.sph |\n")
    (folder / "segments").write_text("a r0 0.0 2.0\nb r0 2.0 4.0\nc r1 0.0 1.5\nd r2 0 1\n")
    (folder / "text").write_text("a один\nb два слова\nc\nd три\n", encoding="utf-8")
    (folder / "utt2spk").write_text("a anna\nb anna\nc bo\n")
    corpus = listed(folder, ".")
    found = sorted(used(corpus), key=lambda item: item.id)
    assert [(item.id, item.text, item.start_s, item.end_s, item.speaker) for item in found] == [
        ("a", "один", 0.0, 2.0, "anna"), ("b", "два слова", 2.0, 4.0, "anna"),
    ]  # fmt: skip
    assert [item.id for item in corpus.rejected] == ["wav.scp:3", "text:3", "text:4"]


def test_cuts_of_lhotse(clips: Path, tmp_path: Path) -> None:
    cut = {
        "id": "c", "start": 1.0, "duration": 4.0,
        "recording": {"id": "r", "sources": [{"type": "file", "channels": [0], "source": str(clips / "c0.wav")}]},
        "supervisions": [
            {"start": 0.0, "duration": 1.5, "text": "eins", "speaker": "a"},
            {"start": 2.0, "duration": 1.0, "text": "zwei", "speaker": "b"},
        ],
    }  # fmt: skip
    (tmp_path / "cuts.jsonl").write_text(json.dumps(cut) + "\n")
    found = sorted(used(listed(clips, str(tmp_path / "cuts.jsonl"))), key=lambda item: item.start_s or 0)
    assert [(item.text, item.start_s, item.end_s, item.speaker) for item in found] == [
        ("eins", 1.0, 2.5, "a"), ("zwei", 3.0, 4.0, "b"),
    ]  # fmt: skip


def test_folders_with_a_text_beside_each_recording(clips: Path, tmp_path: Path) -> None:
    for number, speaker in enumerate("aabb"):
        (tmp_path / speaker).mkdir(exist_ok=True)
        (tmp_path / speaker / f"c{number}.wav").write_bytes((clips / f"c{number}.wav").read_bytes())
    (tmp_path / "a" / "c0.txt").write_text("in a text", encoding="utf-16")
    (tmp_path / "a" / "c1.lab").write_text("in a lab")
    (tmp_path / "b" / "c2.TextGrid").write_text(
        'File type = "ooTextFile"\nObject class = "TextGrid"\n\n0\n6\n<exists>\n1\n'
        '"IntervalTier"\n"utterances"\n0\n6\n3\n'
        '0\n1\n"one"\n1\n2\n""\n2\n6\n"two"\n'
    )
    (tmp_path / "b" / "c3.eaf").write_text(
        '<ANNOTATION_DOCUMENT><TIME_ORDER><TIME_SLOT TIME_SLOT_ID="t1" TIME_VALUE="500"/>'
        '<TIME_SLOT TIME_SLOT_ID="t2" TIME_VALUE="2500"/></TIME_ORDER><TIER TIER_ID="x" PARTICIPANT="eva"><ANNOTATION>'
        '<ALIGNABLE_ANNOTATION ANNOTATION_ID="a1" TIME_SLOT_REF1="t1" TIME_SLOT_REF2="t2"><ANNOTATION_VALUE>drei'
        "</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION></TIER></ANNOTATION_DOCUMENT>"
    )
    (tmp_path / "b" / "lonely.txt").write_text("x")
    found = sorted(used(corpus := listed(tmp_path, ".")), key=lambda item: item.id)
    assert [(item.text, item.start_s, item.end_s, item.speaker) for item in found] == [
        ("in a text", None, None, "a"), ("in a lab", None, None, "a"), ("one", 0.0, 1.0, "b"), ("two", 2.0, 6.0, "b"),
        ("drei", 0.5, 2.5, "eva"),
    ]  # fmt: skip
    assert [item.id for item in corpus.rejected] == ["b/lonely.txt"]


def test_no_voice_stands_in_two_parts_where_ten_are_known() -> None:
    many = [Utterance(f"u{n}", Path(f"{n}.wav"), f"text {n % 30}", None, f"s{n % 12}") for n in range(240)]
    parts, how = hold_out(many)
    voices = [{item.speaker for item in parts[split]} for split in SPLITS]
    assert all(voices)
    assert sum(map(len, voices)) == 12
    assert "by speaker" in how
    assert "hash of the sentence" in hold_out(many, "sentence")[1]
    assert "hash of the sentence" in hold_out(many[:9])[1]


def test_no_part_of_a_short_list_is_empty() -> None:
    for number in (3, 4, 5, 10, 15, 30):
        few = [Utterance(f"u{n}", Path(f"{n}.wav"), f"sentence {number} {n}", None, None) for n in range(number)]
        parts, how = hold_out(few)
        sizes = {split: len(part) for split, part in parts.items()}
        assert all(sizes.values()), sizes
        assert sum(sizes.values()) == number
        assert sizes["train"] > sizes["test"] + sizes["validation"] or number < 5
        assert "hash of the sentence" in how
        assert hold_out(few[::-1])[0]["test"] == parts["test"][::-1]
    two = [Utterance(f"u{n}", Path(f"{n}.wav"), f"sentence {n}", None, None) for n in range(2)]
    assert hold_out(two)[0]["train"]
    again = [Utterance(f"u{n}", Path(f"{n}.wav"), f"prompt {n % 3}", None, None) for n in range(90)]
    assert len(hold_out(again)[0]["train"]) >= 60, "three sentences are not taken away for their own sake"


def test_overlap_of_splits_is_said(clips: Path, tmp_path: Path) -> None:
    lines = "path\tsentence\tspeaker\nc0.wav\ta\tx\nc1.wav\tb\ty\n"
    (tmp_path / "m.tsv").write_text(lines)
    corpus = listed(clips, str(tmp_path / "m.tsv"), test=str(tmp_path / "m.tsv"))
    assert any(
        "2 recordings of train in test, 2 sentences of train in test, 2 speakers" in note for note in corpus.notes
    )


@pytest.mark.parametrize("names", [("TRAIN", "Dev", "test"), ("train ", "VALIDATION", " Test")])
def test_a_split_column_of_a_file_named_thrice(names: tuple[str, ...], clips: Path, tmp_path: Path) -> None:
    rows = [f"c{number}.wav\ttext {number}\t{name}" for number, name in enumerate([*names, "", names[0]])]
    (tmp_path / "m.tsv").write_text("path\tsentence\tSplit\n" + "\n".join(rows) + "\n")
    path = str(tmp_path / "m.tsv")
    for keys in ({}, {"validation": path, "test": path}):
        corpus = listed(clips, path, **keys)
        assert [[item.id for item in corpus.splits[split]] for split in SPLITS] == [["c0", "c4"], ["c1"], ["c2"]]
        assert len(corpus.rejected) == 1
