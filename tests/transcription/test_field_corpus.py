"""From long recordings with ELAN files to a model, and back: what it hears is added, and all else stays."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from xml.etree.ElementTree import fromstring

import numpy as np
import pytest
import soundfile
from eaf_rules import faults
from running import tiny_settings, write_settings

import unispeech_ft
from unispeech_ft.data.audio import SAMPLE_RATE_HZ, read_audio
from unispeech_ft.data.sources.praat import read_grid
from unispeech_ft.models.saved import SavedModel
from unispeech_ft.transcription.spans import transcribe_spans
from unispeech_ft.transcription.textgrid import write_tiers
from unispeech_ft.transcription.timed import Transcript

Command = Callable[..., tuple[int | str | None, str, str]]
Spans = list[tuple[float, float, str]]
PAUSE_S = 0.5
EAF = """<?xml version="1.0" encoding="UTF-8"?>
<!-- recorded in the field -->
<ANNOTATION_DOCUMENT AUTHOR="K. M." DATE="2019-05-01T10:00:00+06:00" FORMAT="3.0" VERSION="3.0">
  <LICENSE LICENSE_URL="">only for research</LICENSE>
  <HEADER MEDIA_FILE="" TIME_UNITS="milliseconds">
    <MEDIA_DESCRIPTOR MEDIA_URL="file:///d:/field/{name}.wav" MIME_TYPE="audio/x-wav"\
 RELATIVE_MEDIA_URL="./{name}.wav"/>
    <PROPERTY NAME="lastUsedAnnotationId">500</PROPERTY>
  </HEADER>
  <TIME_ORDER>
{slots}  </TIME_ORDER>
  <TIER LINGUISTIC_TYPE_REF="utt" PARTICIPANT="Aida" TIER_ID="tx@Aida">
{said}  </TIER>
  <TIER DEFAULT_LOCALE="ky" LINGUISTIC_TYPE_REF="free" PARENT_REF="tx@Aida" TIER_ID="ft@Aida">
    <ANNOTATION>
      <REF_ANNOTATION ANNOTATION_ID="a400" ANNOTATION_REF="a1"><ANNOTATION_VALUE>she &lt;laughs&gt;</ANNOTATION_VALUE>
      </REF_ANNOTATION>
    </ANNOTATION>
  </TIER>
  <TIER LINGUISTIC_TYPE_REF="todo" PARTICIPANT="Bek" TIER_ID="later">
{todo}  </TIER>
  <LINGUISTIC_TYPE GRAPHIC_REFERENCES="false" LINGUISTIC_TYPE_ID="utt" TIME_ALIGNABLE="true"/>
  <LINGUISTIC_TYPE GRAPHIC_REFERENCES="false" LINGUISTIC_TYPE_ID="todo" TIME_ALIGNABLE="true"/>
  <LINGUISTIC_TYPE CONSTRAINTS="Symbolic_Association" GRAPHIC_REFERENCES="false" LINGUISTIC_TYPE_ID="free"\
 TIME_ALIGNABLE="false"/>
  <LOCALE COUNTRY_CODE="KG" LANGUAGE_CODE="ky"/>
  <CONSTRAINT DESCRIPTION="1-1 association with a parent annotation" STEREOTYPE="Symbolic_Association"/>
  <CONTROLLED_VOCABULARY CV_ID="none"/>
</ANNOTATION_DOCUMENT>
"""
SLOT = '    <TIME_SLOT TIME_SLOT_ID="ts{place}" TIME_VALUE="{ms}"/>\n'
ANNOTATION = (
    '    <ANNOTATION>\n      <ALIGNABLE_ANNOTATION ANNOTATION_ID="a{number}" TIME_SLOT_REF1="ts{first}"'
    ' TIME_SLOT_REF2="ts{last}">\n        <ANNOTATION_VALUE>{text}</ANNOTATION_VALUE>\n'
    "      </ALIGNABLE_ANNOTATION>\n    </ANNOTATION>\n"
)


def write_field_eaf(path: Path, spans: Spans, first_todo: int) -> None:
    """Sentences before `first_todo` are transcribed, the others only marked, on another tier."""
    edges = [edge for start_s, end_s, _ in spans for edge in (start_s, end_s)]
    slots = [SLOT.format(place=place, ms=round(1000 * edge)) for place, edge in enumerate(edges, start=1)]
    items = [
        ANNOTATION.format(number=n + 1, first=2 * n + 1, last=2 * n + 2, text=text if n < first_todo else "")
        for n, (_, _, text) in enumerate(spans)
    ]
    parts = {"slots": "".join(slots), "said": "".join(items[:first_todo]), "todo": "".join(items[first_todo:])}
    path.write_bytes(EAF.format(name=path.stem, **parts).encode())


@pytest.fixture(scope="module")
def field(tiny_speech: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recordings of five sentences each, of which four are transcribed."""
    folder = tmp_path_factory.mktemp("field")
    with (tiny_speech / "ky" / "train.tsv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    rng = np.random.default_rng(0)
    for number, group in groupby(enumerate(rows[:20]), key=lambda item: item[0] // 5):
        pieces, spans, place = [], [], 0
        for _, row in group:
            clip = read_audio(tiny_speech / "ky" / "clips" / row["path"])
            pieces += [rng.normal(0, 1e-3, round(PAUSE_S * SAMPLE_RATE_HZ)), clip]
            start_s = place / SAMPLE_RATE_HZ + PAUSE_S
            place += len(pieces[-2]) + len(clip)
            spans.append((start_s, place / SAMPLE_RATE_HZ, row["sentence"]))
        soundfile.write(folder / f"rec{number}.wav", np.concatenate(pieces), SAMPLE_RATE_HZ)
        write_field_eaf(folder / f"rec{number}.eaf", spans, first_todo=4)
    return folder


def values(content: bytes, tier: str) -> list[str]:
    (found,) = (item for item in fromstring(content).iter("TIER") if item.get("TIER_ID") == tier)
    return [item.text or "" for item in found.iter("ANNOTATION_VALUE")]


def lines_without_ours(content: bytes) -> list[str]:
    """The lines of a file but those of our tiers and types, of their slots, and of the number counted on."""
    text = content.decode()
    tiers = re.findall(r'  <TIER ANNOTATOR="unispeech-ft".*?</TIER>\n', text, re.DOTALL)
    slots = {slot for tier in tiers for slot in re.findall(r'SLOT_REF\d="(\w+)"', tier)}
    for tier in tiers:
        text = text.replace(tier, "")
    ours = re.compile(r'LINGUISTIC_TYPE_ID="unispeech-ft|STEREOTYPE="Included_In"|lastUsedAnnotationId')
    slot = re.compile(r'SLOT_ID="(\w+)"')
    lines = text.splitlines(keepends=True)
    return [
        line for line in lines if not ours.search(line) and not ((found := slot.search(line)) and found[1] in slots)
    ]


def test_a_field_corpus_trains_and_comes_back(field: Path, command: Command, tmp_path: Path) -> None:
    settings = tiny_settings(field, tmp_path)
    settings["data"] |= {"source": "manifest", "train": ".", "text_column": "utt", "hold_out": "sentence"}
    settings["schedule"]["updates"] = 3
    run = unispeech_ft.train(write_settings(tmp_path / "field.yaml", settings))
    before = {path: path.read_bytes() for path in sorted(field.iterdir())}
    words = ("transcribe", run.model_dir, field, "--tier", "later", "--eaf", field, "--json")
    status, out, _ = command(*words)
    assert status == 0
    heard = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    assert len(heard) == 4
    for item in heard:
        path = Path(item["path"]).with_suffix(".eaf")
        after = path.read_bytes()
        assert not faults(after)
        assert lines_without_ours(after) == lines_without_ours(before[path])
        assert values(after, "later transcript") == [" ".join(phone["phone"] for phone in item["phones"])]
        times = [round(1000 * phone["start_s"]) for phone in item["phones"]]
        assert all(1000 * item["start_s"] <= ms <= 1000 * (item["start_s"] + item["duration_s"]) for ms in times)
        assert item["start_s"] > 5
    once = {path: path.read_bytes() for path in before}
    assert command(*words)[0] == 0
    ids = re.compile(rb'(ANNOTATION_(ID|REF)=)"a\d+"|"lastUsedAnnotationId">\d+')
    assert {path: ids.sub(b"", path.read_bytes()) for path in before} == {p: ids.sub(b"", b) for p, b in once.items()}


@pytest.fixture
def one(field: Path, tmp_path: Path) -> Path:
    """A recording of the field alone, with its first state of annotation."""
    (tmp_path / "rec.wav").write_bytes((field / "rec0.wav").read_bytes())
    write_field_eaf(tmp_path / "rec.eaf", [(0.5, 2.0, "ал"), (2.5, 4.0, ""), (4.0, 5.25, "")], first_todo=1)
    return tmp_path / "rec.wav"


def test_intervals_are_heard_as_they_are_alone(one: Path, small_model: SavedModel) -> None:
    spans = [(0.5, 2.0), (0.75, 1.0), (2.5, 4.0)]
    found = list(transcribe_spans(small_model, one, spans))
    samples = read_audio(one)
    for (start_s, end_s), item in zip(spans, found, strict=True):
        soundfile.write(
            one.with_name("cut.wav"), samples[round(start_s * 16_000) : round(end_s * 16_000)], 16_000, "FLOAT"
        )
        (alone,) = unispeech_ft.transcribe(small_model, one.with_name("cut.wav"))
        assert isinstance(item, Transcript)
        assert [phone.phone for phone in item.phones] == [phone.phone for phone in alone.phones]
        starts = [phone.start_s - start_s for phone in item.phones]
        assert starts == pytest.approx([phone.start_s for phone in alone.phones])
        assert (item.start_s, item.duration_s) == (start_s, pytest.approx(end_s - start_s))


def test_known_texts_of_a_tier_are_aligned(one: Path, small_run, small_model: SavedModel, command: Command) -> None:
    first, second = small_model.tokenizer.phones[:2]
    one.with_name("lexicon").write_text(f"ба\t{first} {second}\nаб\t{second}\n", encoding="utf-8")
    write_field_eaf(one.with_suffix(".eaf"), [(0.5, 2.0, "ба аб"), (2.5, 4.0, ""), (4.0, 5.25, "аб")], first_todo=3)
    before = one.with_suffix(".eaf").read_bytes()
    words = ("transcribe", small_run.model_dir, one, "--tier", "utt", "--lexicon", one.with_name("lexicon"))
    status, out, _ = command(*words, "--eaf", one.parent, "--json")
    assert status == 0
    assert [len(json.loads(line)["phones"]) for line in out.splitlines()] == [3, 1]
    after = one.with_suffix(".eaf").read_bytes()
    assert not faults(after)
    assert lines_without_ours(after) == lines_without_ours(before)
    assert values(after, "tx@Aida words") == ["ба", "аб", "аб"]
    assert values(after, "tx@Aida phones") == [first, second, second, second]
    assert values(after, "tx@Aida transcript") == [f"{first} {second} {second}", second]
    starts = [phone["start_s"] for line in out.splitlines() for phone in json.loads(line)["phones"]]
    assert 0.5 <= starts[0] < starts[2] < 2.0
    assert 4.0 <= starts[3] < 5.25
    write_field_eaf(one.with_suffix(".eaf"), [(0.5, 2.0, "йо"), (4.0, 5.25, "аб")], first_todo=2)
    status, out, err = command(*words)
    assert (status, len(out.splitlines()), len(err.splitlines())) == (2, 1, 1), err


def test_a_whole_recording_goes_into_the_file_beside_it_or_named(one: Path, small_run, command: Command) -> None:
    before = one.with_suffix(".eaf").read_bytes()
    for place in (one.parent / "out", one.parent / "named.eaf"):
        status, out, _ = command("transcribe", small_run.model_dir, one, "--eaf", place)
        assert status == 0
        after = (place if place.suffix else place / "rec.eaf").read_bytes()
        assert not faults(after)
        assert lines_without_ours(after) == lines_without_ours(before)
        assert values(after, "phones") == out.rstrip("\n").split("\t")[1].split()
        assert len(values(after, "confidence")) == len(values(after, "phones"))
    assert one.with_suffix(".eaf").read_bytes() == before
    named = one.parent / "named.eaf"
    corrected = named.read_bytes().replace(b'PARTICIPANT="Bek"', b'PARTICIPANT="Bakyt"')
    named.write_bytes(corrected)
    assert command("transcribe", small_run.model_dir, one, "--eaf", named)[0] == 0
    assert lines_without_ours(named.read_bytes()) == lines_without_ours(corrected)
    one.with_suffix(".eaf").unlink()
    named.unlink()
    assert command("transcribe", small_run.model_dir, one, "--eaf", one.parent / "fresh")[0] == 0
    assert not faults((one.parent / "fresh" / "rec.eaf").read_bytes())


def test_words_are_looked_for_where_a_tier_has_no_texts(one: Path, small_run, command: Command) -> None:
    words = ("transcribe", small_run.model_dir, one, "--tier", "later")
    heard = [line.split("\t")[3].split() for line in command(*words)[1].splitlines()]
    assert min(map(len, heard)) > 1
    lexicon = one.with_name("lexicon")
    lexicon.write_text("".join(f"сөз{n}\t{' '.join(phones)}\n" for n, phones in enumerate(heard)), encoding="utf-8")
    status, out, err = command(*words, "--lexicon", lexicon, "--eaf", one.parent)
    assert (status, err) == (0, "")
    assert [line.split("\t")[3:] for line in out.splitlines()] == [
        [" ".join(phones), f"сөз{n}"] for n, phones in enumerate(heard)
    ]
    after = one.with_suffix(".eaf").read_bytes()
    assert not faults(after)
    assert values(after, "later words") == ["сөз0", "сөз1"]
    status, _, err = command(*words, "--phones")
    assert (status, len(err.splitlines())) == (2, 1)
    assert "no interval of tier later has a text: leave --language or --phones out" in err


def test_intervals_whose_boundary_has_no_time_are_heard(one: Path, small_run, command: Command) -> None:
    path = one.with_suffix(".eaf")
    text = path.read_text(encoding="utf-8").replace('REF1="ts5"', 'REF1="ts4"').replace(' TIME_VALUE="4000"', "")
    text = text.replace('    <TIME_SLOT TIME_SLOT_ID="ts5"/>\n', "")
    path.write_text(text, encoding="utf-8")
    words = ("transcribe", small_run.model_dir, one, "--tier", "later", "--eaf", one.parent, "--alternatives", 1)
    status, out, err = command(*words)
    assert (status, err) == (0, "")
    assert [line.split("\t")[1:3] for line in out.splitlines()] == [["2.500", "3.875"], ["3.875", "5.250"]]
    after = path.read_bytes()
    assert not faults(after)
    assert lines_without_ours(after) == lines_without_ours(text.encode())
    assert len(values(after, "later alternatives")) == len(values(after, "later phones"))


def test_a_fresh_textgrid_of_a_tier_is_as_long_as_the_recording(one: Path, small_run, command: Command) -> None:
    words = ("transcribe", small_run.model_dir, one, "--tier", "later", "--textgrid", one.parent / "new")
    assert command(*words)[::2] == (0, "")
    grid = read_grid((one.parent / "new" / "rec.TextGrid").read_bytes())
    info = soundfile.info(one)
    assert float(grid.ends_s[1]) == pytest.approx(info.frames / info.samplerate)
    assert [tier.name for tier in grid.tiers] == ["later transcript", "later confidence", "later phones"]


def test_remarks_beside_the_sentences_are_no_faults_of_a_corpus_that_is_aligned(
    one: Path, small_run, small_model: SavedModel, command: Command
) -> None:
    first, second = small_model.tokenizer.phones[:2]
    lexicon, path = one.with_name("lexicon"), one.with_suffix(".eaf")
    lexicon.write_text(f"ба\t{first} {second}\nаб\t{second}\n", encoding="utf-8")
    write_field_eaf(path, [(0.5, 2.0, "ба аб"), (2.5, 4.0, "a dog")], first_todo=1)
    path.write_bytes(path.read_bytes().replace(b'TIER_ID="later"', b'TIER_ID="Notes"'))
    keys = {"root": one.parent, "train": ".", "test": ".", "cache_dir": one.parent / "cache", "language": "ky"}
    words = ["align", small_run.model_dir, "--corpus", "configs/ctc_phoneme/manifest.yaml", "--split", "train"]
    words += [text for key, value in keys.items() for text in (f"--data.{key}", value)]
    words += ["--phonemes.labels", "lexicon", "--phonemes.lexicon", lexicon]
    status, out, err = command(*words)
    assert (status, len(out.splitlines())) == (0, 3), err
    assert "1 × a tier of remarks is not read; data.text_column can name it (Notes): rec" in err
    assert "error" not in err
    assert "filtered" not in err


def test_intervals_of_one_tier_that_overlap_are_said(one: Path, small_run, command: Command) -> None:
    write_field_eaf(one.with_suffix(".eaf"), [(0.5, 2.0, ""), (1.5, 4.0, ""), (4.0, 5.25, "")], first_todo=0)
    status, out, err = command("transcribe", small_run.model_dir, one, "--tier", "later")
    assert (status, len(out.splitlines()), len(err.splitlines())) == (0, 3, 1)
    assert "1 intervals of tier later begin before the one before them ends, the first at 1.500 s" in err


@pytest.mark.parametrize("verb", ["transcribe", "align"])
def test_an_annotation_that_links_the_recording_has_any_name(
    verb: str, one: Path, small_run, small_model, command: Command
) -> None:
    session = one.with_suffix(".eaf").rename(one.with_name("session 1.eaf"))
    before = session.read_bytes()
    phones = ["--phones", small_model.tokenizer.phones[0]] if verb == "align" else []
    words = (verb, small_run.model_dir, one, *phones, "--eaf")
    for place in (one.parent, one.parent / "out"):
        assert command(*words, place)[0] == 0
        after = (place / "session 1.eaf").read_bytes()
        assert not (place / "rec.eaf").exists()
        assert not faults(after)
        assert lines_without_ours(after) == lines_without_ours(before)
        assert "phones" in [item.get("TIER_ID") for item in fromstring(after).iter("TIER")]
    if verb == "transcribe":
        assert len(command(*words, one.parent, "--tier", "later")[1].splitlines()) == 2
    session.write_bytes(before.replace(b"rec.wav", b"else.wav"))
    assert command(*words, one.parent)[0] == 0
    assert values(one.with_suffix(".eaf").read_bytes(), "phones")
    assert lines_without_ours(session.read_bytes()) == lines_without_ours(before.replace(b"rec.wav", b"else.wav"))


def test_an_alignment_is_added_to_what_is_there(one: Path, small_run, small_model, command: Command) -> None:
    theirs = one.with_suffix(".TextGrid")
    write_tiers(theirs, 60.0, {"phones": [(0.5, 2.0, "by hand")], "Bek": [(2.5, 4.0, "sil"), (4.0, 5.25, "kin")]})
    theirs.write_bytes(theirs.read_text(encoding="utf-8").replace("\n \n", "\n\n", 1).encode("utf-16"))
    grid, eaf = read_grid(theirs.read_bytes()), one.with_suffix(".eaf").read_bytes()
    phones = small_model.tokenizer.phones[:3]
    words = ("align", small_run.model_dir, one, "--phones", " ".join(phones), "--textgrid", one.parent, "--eaf")
    for place in (one.parent, one.parent / "out", one.parent / "named.eaf"):
        status, out, err = command(*words, place)
        assert (status, err) == (0, "")
        assert [line.split("\t")[3] for line in out.splitlines()] == phones
        after = (place if place.suffix else place / "rec.eaf").read_bytes()
        assert not faults(after)
        assert lines_without_ours(after) == lines_without_ours(eaf)
        assert values(after, "phones") == phones
    after_grid = read_grid(theirs.read_bytes())
    assert (after_grid.codec, after_grid.tiers[:2]) == (grid.codec, grid.tiers)
    (added,) = (tier for tier in after_grid.tiers[2:] if tier.name.startswith("phones"))
    assert [label for _, _, label in added.intervals if label] == phones
    theirs.write_bytes(b"no TextGrid")
    status, out, err = command(*words, one.parent)
    assert (status, len(err.splitlines()), len(out.splitlines())) == (2, 1, 3)
    assert "not a TextGrid" in err or "cut off" in err


def test_textgrids_of_others_get_tiers_and_ours_are_written_anew(one: Path, small_run, command: Command) -> None:
    theirs = one.with_suffix(".TextGrid")
    write_tiers(theirs, 5.5, {"phones": [(0.5, 2.0, "by hand")], "Bek": [(2.5, 4.0, "sil"), (4.0, 5.25, "kin")]})
    theirs.write_bytes(theirs.read_text(encoding="utf-8").replace("\n \n", "\n\n", 1).encode("utf-16"))
    before = read_grid(theirs.read_bytes())
    words = ("transcribe", small_run.model_dir, one, "--textgrid", one.parent)
    for _ in range(2):
        assert command(*words)[0] == 0
        status, out, _ = command(*words, "--tier", "Bek")
        assert status == 0
        assert len(out.splitlines()) == 1
        assert out.split("\t")[1:3] == ["4.000", "5.250"]
    after = read_grid(theirs.read_bytes())
    assert after.codec == before.codec
    assert after.tiers[:2] == before.tiers
    mark = " (unispeech-ft)"
    added = ["phones", "confidence", "Bek transcript", "Bek confidence", "Bek phones"]
    assert {tier.name for tier in after.tiers[2:]} == {name + mark for name in added}
    theirs.unlink()
    for _ in range(2):
        assert command(*words)[0] == 0
        assert [tier.name for tier in read_grid(theirs.read_bytes()).tiers] == ["phones"]


def test_media_that_start_before_the_annotation(one: Path, small_run, command: Command) -> None:
    path = one.with_suffix(".eaf")
    linked = path.read_text().replace(
        'MEDIA_URL="file:///d:/field/rec.wav"', 'TIME_ORIGIN="750" MEDIA_URL="x\\rec.wav"', 1
    )
    video = '<MEDIA_DESCRIPTOR MEDIA_URL="file:///rec%20.mp4" MIME_TYPE="video/mp4" TIME_ORIGIN="9000"/>'
    path.write_text(linked.replace("    <PROPERTY", f"    {video}\n    <PROPERTY", 1))
    words = ("transcribe", small_run.model_dir, one, "--eaf", one.parent)
    status, out, _ = command(*words, "--tier", "tx@Aida")
    assert status == 0
    assert out.split("\t")[1:3] == ["1.250", "2.750"]
    assert command(*words)[0] == 0
    (whole,) = unispeech_ft.transcribe(small_run.model_dir, one)
    after = path.read_bytes()
    assert not faults(after)
    later = [phone for phone in whole.phones if phone.start_s >= 0.75]
    assert 0 < len(later) < len(whole.phones)
    assert values(after, "phones") == [phone.phone for phone in later]
    slots = [int(slot.get("TIME_VALUE", 0)) for slot in fromstring(after).iter("TIME_SLOT")]
    assert round(1000 * (later[-1].start_s - 0.75)) in slots


BOMB = '<!DOCTYPE a [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]><ANNOTATION_DOCUMENT>&b;</ANNOTATION_DOCUMENT>'
EXTERNAL = '<!DOCTYPE a [<!ENTITY a SYSTEM "file:///etc/hostname">]><ANNOTATION_DOCUMENT>&a;</ANNOTATION_DOCUMENT>'


@pytest.mark.parametrize(
    ("text", "words", "fault"),
    [
        (None, ["--tier", "nobody"], "rec.eaf: no tier nobody; it has tx@Aida, ft@Aida, later: check the file"),
        (BOMB, ["--tier", "tx"], "rec.eaf: it declares entities, which are not read"),
        (EXTERNAL, ["--eaf", "out"], "rec.eaf: it declares entities, which are not read: mend it, or move it away"),
        ("<ANNOTATION_DOCUMENT>", ["--eaf", "out"], "rec.eaf: not XML: no element found"),
        ("<ANNOTATION_DOCUMENT/>", ["--eaf", "out"], "rec.eaf: not an ELAN file"),
        ("", ["--tier", "tx", "--eaf", "out"], "rec.eaf: not XML"),
        (None, ["--tier", "later", "--phones", "a b", "--eaf", "out"], "--phones a b and --tier are both given"),
    ],
)
def test_faults_are_one_line(
    text: str | None, words: list[str], fault: str, one: Path, small_run, command: Command, monkeypatch
) -> None:
    monkeypatch.chdir(one.parent)
    if text is not None:
        one.with_suffix(".eaf").write_text(text)
    status, _, err = command("transcribe", small_run.model_dir, one, *words)
    assert status == 2
    assert fault in err
    assert len(err.splitlines()) == 1
    assert not Path("out/rec.eaf").exists()


def test_an_interval_behind_the_end_does_not_stop_the_others(one: Path, small_run, command: Command) -> None:
    write_field_eaf(one.with_suffix(".eaf"), [(0.5, 2.0, ""), (2.5, 4.0, ""), (900.0, 901.0, "")], first_todo=0)
    status, out, err = command("transcribe", small_run.model_dir, one, "--tier", "todo", "--eaf", one.parent)
    assert status == 2
    assert "an interval from 900.000 to 901.000 s cannot be transcribed" in err
    assert len(out.splitlines()) == len(values(one.with_suffix(".eaf").read_bytes(), "later transcript")) == 2
