"""Folders of recordings with texts beside them: times and phones are not read aloud, and nothing vanishes unsaid."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import soundfile

from unispeech_ft.config.sections import DataConfig
from unispeech_ft.data.labels import summarize_rejected
from unispeech_ft.data.sources.folders import list_folder_of_audio, text_beside
from unispeech_ft.data.sources.tiers import ANNOTATOR
from unispeech_ft.data.utterances import FILTERED, Rejected, Utterance
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


def test_texts_may_be_phones(folder: Path) -> None:
    textgrid(folder / "a.TextGrid", words="hello|you", said="h e|j u")
    [named, _] = listed(folder, phones_column="said")[0][:2]
    assert (named.text, named.phones, named.end_s) == (None, ("h", "e"), 0.5)
    (folder / "a.TextGrid").unlink()
    assert [item.phones for item in listed(folder, phones_column="*")[0]] == [("2", "3", "times")]


def textgrid(path: Path, **tiers: str) -> None:
    """Tiers that cut 1 s into as many parts as they have labels; `_` in their names stands for `-`."""
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "0", "1", "<exists>", str(len(tiers))]
    for name, labels in tiers.items():
        marks = labels.split("|")
        lines += ['"IntervalTier"', f'"{name.replace("_", "-")}"', "0", "1", str(len(marks))]
        for place, label in enumerate(marks):
            lines += [str(place / len(marks)), str((place + 1) / len(marks)), f'"{label}"']
    path.write_text("\n".join(lines) + "\n")


def test_tiers_of_speakers_are_all_read(folder: Path) -> None:
    textgrid(folder / "a.TextGrid", Anna="good day||", Ortrud="|sil|how are you|", phones="g|d")
    assert said(folder) == [("good day", 0.0, 1 / 3, "Anna"), ("how are you", 0.5, 0.75, "Ortrud")]


@pytest.mark.parametrize("words", ["ORT_MAU", "words", "Anna_words"])
def test_phones_are_no_sentences_where_words_are_there(words: str, folder: Path) -> None:
    textgrid(folder / "a.TextGrid", MAU="h|@", KAN_MAU="h@", **{words: "<p:>|good|sp|<eps>|day|sil|spn"})
    assert said(folder) == [("good day", None, None, None)]


def test_a_tier_of_sentences_by_a_part_of_its_name(folder: Path) -> None:
    textgrid(folder / "a.TextGrid", phones="h|@", Anna_utts="good day|", words="good|day")
    assert said(folder) == [("good day", 0.0, 0.5, None)]


def test_textgrids_without_a_sentence_are_refused(folder: Path) -> None:
    textgrid(folder / "a.TextGrid", phones="h|@")
    assert listed(folder)[1][0][1].endswith("(no tier of sentences or words; it has phones)")
    textgrid(folder / "a.TextGrid", Anna_words="good|day", Ben_words="how|are")
    assert listed(folder)[1][0][1].endswith("(its tiers Anna-words, Ben-words are alike: name one in data.text_column)")


def test_an_annotation_without_a_time_is_reported(folder: Path) -> None:
    slots = "".join(
        f'<TIME_SLOT TIME_SLOT_ID="t{place}"{value}/>'
        for place, value in enumerate((' TIME_VALUE="0"', "", ' TIME_VALUE="900"'))
    )
    annotations = "".join(
        f'<ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a{start}" TIME_SLOT_REF1="t{start}" TIME_SLOT_REF2="t{end}">'
        f"<ANNOTATION_VALUE>{text}</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>"
        for start, end, text in ((0, 1, "one"), (1, 2, "two"), (0, 2, "three"))
    )
    (folder / "a.EAF").write_text(
        f"<ANNOTATION_DOCUMENT><TIME_ORDER>{slots}</TIME_ORDER>"
        f'<TIER TIER_ID="x">{annotations}</TIER></ANNOTATION_DOCUMENT>'
    )
    assert said(folder) == [("three", 0.0, 0.9, None)]
    assert [reason for _, reason in listed(folder)[1]] == [
        f"an annotation begins or ends at no known time: a{number} of tier x: a.EAF" for number in (0, 1)
    ]


def elan(path: Path, **tiers: tuple[str, list[tuple[str, str]]]) -> None:
    """Tiers of (parent, [(what it hangs on, text)]); what hangs on a number n lasts from n to n + 1 s."""
    slots = "".join(f'<TIME_SLOT TIME_SLOT_ID="t{n}" TIME_VALUE="{1000 * n}"/>' for n in range(5))
    lines = []
    for name, (parent, said) in tiers.items():
        above = f' PARENT_REF="{parent}"' if parent else ""
        lines.append(f'<TIER TIER_ID="{name}" PARTICIPANT="KM"{above}>')
        for place, (on, text) in enumerate(said):
            kind, where = "REF", f'ANNOTATION_REF="{on}"'
            if on.isdigit():
                kind, where = "ALIGNABLE", f'TIME_SLOT_REF1="t{on}" TIME_SLOT_REF2="t{int(on) + 1}"'
            lines.append(
                f'<ANNOTATION><{kind}_ANNOTATION ANNOTATION_ID="{name}{place}" {where}>'
                f"<ANNOTATION_VALUE>{text}</ANNOTATION_VALUE></{kind}_ANNOTATION></ANNOTATION>"
            )
        lines.append("</TIER>")
    path.write_text(f"<ANNOTATION_DOCUMENT><TIME_ORDER>{slots}</TIME_ORDER>{''.join(lines)}</ANNOTATION_DOCUMENT>")


NUMBERED = ("", [("0", "kin_001"), ("2", "kin_002")])


def test_sentences_that_hang_on_their_numbers(folder: Path) -> None:
    words = [("ref0", "kin"), ("ref0", "ta"), ("ref1", "moj")]
    morphs = [("mot0", "ki"), ("mot0", "n"), ("mot1", "ta"), ("mot2", "moj")]
    elan(folder / "a.eaf", ref=NUMBERED, mot=("ref", words), mb=("mot", morphs), notes=("", [("3", "a dog")]))
    (found, rejected) = listed(folder)
    assert [item.text for item in found] == ["2 3 times"]
    reason = "tier ref numbers the sentences: name theirs in data.text_column; it has ref, mot, mb, notes"
    assert rejected == [("a", f"a.eaf cannot be read ({reason})")]
    (folder / "b.wav").unlink()
    by_word = [(item.text, item.start_s, item.end_s, item.speaker) for item in listed(folder, text_column="mot")[0]]
    assert by_word == [("kin ta", 0.0, 1.0, "KM"), ("moj", 2.0, 3.0, "KM")]
    assert [item.text for item in listed(folder, text_column="mb")[0]] == ["ki n ta", "moj"]


def test_tiers_of_sentences_by_their_names_and_remarks_beside_them(folder: Path) -> None:
    said_of = ("ref", [("ref0", "kin ta"), ("ref1", "moj")])
    elan(folder / "a.eaf", ref=NUMBERED, KM_text=said_of, KM_gloss=("KM_text", [("KM_text0", "he goes")]))
    assert said(folder) == [("kin ta", 0.0, 1.0, "KM"), ("moj", 2.0, 3.0, "KM")]
    elan(folder / "a.eaf", KM=("", [("0", "kin ta")]), Notes=("", [("0", "a dog")]))
    assert said(folder) == [("kin ta", 0.0, 1.0, "KM")]
    assert listed(folder)[1] == [
        ("a", f"{FILTERED}a tier of remarks is not read; data.text_column can name it (Notes): a.eaf")
    ]
    elan(folder / "a.eaf", phones=("", [("0", "k")]), words=("", [("0", "kin"), ("2", "ta")]))
    assert said(folder) == [("kin ta", None, None, None)]
    (folder / "a.eaf").unlink()
    textgrid(folder / "a.TextGrid", Anna="good day|", comments="|dog")
    assert said(folder) == [("good day", 0.0, 0.5, None)]


def test_alike_faults_of_many_annotations_are_counted_together(folder: Path) -> None:
    (folder / "b.txt").unlink()
    for name in "ab":
        elan(folder / f"{name}.eaf", KM=("", [("0", "kin ta")]), Notes=("", [("0", "a dog")]))
    rejected = [Rejected("train", *item) for item in listed(folder)[1]]
    assert summarize_rejected(rejected, 4, "train") == [
        "train: 2 of 4 utterances left out",
        "  2 × a tier of remarks is not read; data.text_column can name it (Notes): a, b",
    ]


def test_a_participant_stands_for_what_they_say_and_not_for_what_hangs_on_it(folder: Path) -> None:
    hung = {"ft": ("tx", [("tx0", "he goes")]), "tx transcript": ("tx", [("tx0", "k")])}
    elan(folder / "a.eaf", tx=("", [("0", "kin ta")]), **hung, Notes=("", [("3", "a dog")]))
    text = (folder / "a.eaf").read_text()
    (folder / "a.eaf").write_text(text.replace('TIER_ID="tx t', f'ANNOTATOR="{ANNOTATOR}" TIER_ID="tx t'))
    assert said(folder, text_column="KM") == [("kin ta", 0.0, 1.0, "KM")]
    gloss = ("KM_text", [("KM_text0", "he goes")])
    elan(folder / "a.eaf", ref=NUMBERED, KM_text=("ref", [("ref0", "kin ta")]), KM_gloss=gloss)
    assert said(folder, text_column="KM") == [("kin ta", 0.0, 1.0, "KM")]


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("0.5 1.5 hello you\n1.75 2.0  there\n", [("hello you", 0.5, 1.5), ("there", 1.75, 2.0)]),
        ("5 6 hello you", [("5 6 hello you", None, None)]),
        ("2.5 3.5 7", [("7", 2.5, 3.5)]),
        ("at 10:30\nor 11:30", [("at 10:30 or 11:30", None, None)]),
        ("signal a\nnfields 1\n#\n  0.25 26 h#\n  0.5 26 a\n", "xwaves labels with times"),
        ("[00:01.00] hola\n[00:02.50] que\n", "lines that begin with times"),
    ],
)
def test_times_of_labels_are_not_read_aloud(
    content: str, found: list[tuple[str, float | None, float | None]] | str, folder: Path
) -> None:
    (folder / "a.lab").write_text(content)
    if isinstance(found, str):
        assert found in listed(folder)[1][0][1]
    else:
        assert [item[:3] for item in said(folder)] == found


def test_one_recording_and_one_text_of_a_name_are_used_and_the_others_said(folder: Path) -> None:
    for ending in (".flac", ".m4a", ".docx"):
        (folder / f"b{ending}").write_bytes(b"x")
    (folder / "a.TXT").write_text("one")
    (folder / "a.lab").write_text("two")
    (folder / "notes").write_text("x")
    (folder / "beside").mkdir()
    (folder / "beside" / "list.xlsx").write_bytes(b"x")
    found, rejected = listed(folder)
    assert [(item.id, item.path, item.text) for item in found] == [
        ("a", folder / "a.wav", "one"), ("b", folder / "b.flac", "2 3 times"),
    ]  # fmt: skip
    assert [(name, reason.removeprefix(FILTERED)) for name, reason in rejected] == [
        ("a.lab", "another text of the same name is read: a.TXT"),
        ("b.wav", "another recording of the same name is read: b.flac"),
        ("b.m4a", "another recording of the same name is read: b.flac"),
        (folder.name, "files whose endings are of no recording and no text (1 × .docx, 1 × without any)"),
    ]


def test_letters_composed_and_decomposed_are_one_name(folder: Path) -> None:
    (folder / "a.wav").rename(folder / unicodedata.normalize("NFD", "año.wav"))
    (folder / unicodedata.normalize("NFC", "año.txt")).write_text("good day")
    assert [item.text for item in listed(folder)[0]] == ["good day", "2 3 times"]


@pytest.mark.parametrize("ending", [".TXT", ".LAB", ".Txt"])
def test_endings_of_texts_without_case(ending: str, folder: Path) -> None:
    (folder / f"a{ending}").write_text("good day")
    assert said(folder) == [("good day", None, None, None)]
    assert ending == ".Txt" or text_beside(folder / "a.wav") == "good day"


@pytest.mark.parametrize(
    ("ending", "content", "why"),
    [
        (".txt", b"\xff\xffo", r" that can be used \(b.txt cannot be read \(not UTF-8\)\)$"),
        (".lab", b"0 5000000 h", r" that can be used \(b.lab cannot be read \(HTK labels .*\)\)$"),
        (".txt", b"", r" that can be used \(b.txt holds no sentence\)$"),
        (".doc", b"good day", "2 recordings, none with a text of the same name beside it$"),
    ],
)
def test_a_folder_of_which_no_text_can_be_used_says_why(ending: str, content: bytes, why: str, folder: Path) -> None:
    (folder / "b.txt").unlink()
    (folder / f"b{ending}").write_bytes(content)
    with pytest.raises(UserError) as refused:
        listed(folder)
    assert re.search(why, refused.value.what)


def test_the_sample_numbers_of_timit_are_not_read_aloud(folder: Path) -> None:
    (folder / "a.TXT").write_text("0 46797 She had your dark suit in greasy wash water all year.\n")
    assert said(folder) == [("She had your dark suit in greasy wash water all year.", None, None, None)]
