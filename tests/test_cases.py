"""Small inputs after public bug reports, each with the right value; the material lies beside the project."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from unispeech_ft.config.sections import DataConfig, PhonemesConfig
from unispeech_ft.data.audio import read_audio
from unispeech_ft.data.sources import list_utterances
from unispeech_ft.data.speech import list_corpus
from unispeech_ft.data.utterances import SPLITS, Corpus, Utterance
from unispeech_ft.errors import UserError
from unispeech_ft.transcription.transcripts import audio_files, transcribe_files

SHARED = Path(os.environ.get("UNISPEECH_FT_SHARED", Path(__file__).resolve().parents[1] / "../shared"))
CASES = SHARED / "cases"
pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason=f"no cases in {SHARED}")
Phonemize = Callable[..., tuple[list[str], str]]


@pytest.fixture
def phonemize(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Phonemize:
    """Words of `unispeech-ft phonemize` and the file on its stdin → lines and stderr."""
    from unispeech_ft import cli

    def run(file: str, *words: object) -> tuple[list[str], str]:
        stdin = io.TextIOWrapper(io.BytesIO((CASES / file).read_bytes()))
        monkeypatch.setattr(sys, "stdin", stdin)
        with pytest.raises(SystemExit) as ended:
            cli.main(["phonemize", *map(str, words)])
        out, err = capfd.readouterr()
        assert ended.value.code in (0, None), err
        return out.splitlines(), err

    return run


def manifest(case: str, train: str, **keys: Any) -> Corpus:
    return list_utterances(DataConfig(**({"source": "manifest", "root": str(CASES / case), "train": train} | keys)))


def used(corpus: Corpus) -> list[Utterance]:
    return [item for split in SPLITS for item in corpus.splits[split]]


@pytest.mark.parametrize(
    ("language", "expected"),
    [
        ("en", ["d oʊ n t", "ɪ t s dʒ ɑː n z", "θ ɹ iː p ɔɪ n t w ʌ n f ɔːɹ", "w ʌ n θ aʊ z ə n d",
                "f ɪ f t i p ɚ s ɛ n t"]),
        ("fr", ["l a m i", "s ɛ", "d ø v i ʁ ɡ y l s ɛ̃ k"]),
        ("uk", ["p j a t", "o b j ɛ k t̪"]),
        ("de", ["v ɔ ɾ t ɾ ə n ʊ ŋ", "v ɔ ɾ t ɾ ə n ʊ ŋ", "ɡ eː t s"]),
    ],
)  # fmt: skip
def test_apostrophe_and_marks(phonemize: Phonemize, language: str, expected: list[str]) -> None:
    assert phonemize(f"apostrophe_and_marks/{language}.txt", language)[0] == expected


def test_capitals(phonemize: Phonemize) -> None:
    capitals, small = phonemize("capitals/in.txt", "en")[0]
    assert capitals == small == "h iː s ɛ d ɪ t t ʊ ʌ s"


def test_fullwidth_digits(phonemize: Phonemize) -> None:
    wide, plain = phonemize("fullwidth_digits/in.txt", "zh-CN")[0]
    assert wide == plain
    assert len(plain.split()) > 20


def test_japanese_kanji(phonemize: Phonemize) -> None:
    lines, err = phonemize("japanese_kanji/in.txt", "ja")
    assert lines[:2] == ["", ""]
    assert lines[2].startswith("w ä t ä ɕ i")
    assert "cannot read: 私 学 生" in err
    assert "今 日 天 気" in err


def test_korean_long(phonemize: Phonemize) -> None:
    assert [len(line.split()) for line in phonemize("korean_long/in.txt", "ko")[0]] == [45, 360]


def test_lexicon_dead_entries(phonemize: Phonemize) -> None:
    lexicon = CASES / "lexicon_dead_entries" / "lex.tsv"
    for language in ("en", None):
        words = [word for word in (language, "--lexicon", lexicon) if word]
        assert phonemize("lexicon_dead_entries/in.txt", *words)[0] == [
            "aɪ d oʊ n t", "w ɛ l n oʊ n", "n j uː j ɔː k",
        ]  # fmt: skip


def test_lexicon_mfa_probabilities(phonemize: Phonemize) -> None:
    dictionary = CASES / "lexicon_mfa_probabilities" / "mfa.dict"
    assert phonemize("lexicon_mfa_probabilities/in.txt", "ru", "--lexicon", dictionary)[0] == ["d o m k o t"]


def test_lexicon_turkish_i(phonemize: Phonemize) -> None:
    lines, err = phonemize("lexicon_turkish_i/in.txt", "tr", "--lexicon", CASES / "lexicon_turkish_i" / "tr.lex")
    assert lines == ["ɯ l ɯ k"] * 3 + ["i s t a n b u l", "ɯ ʃ ɯ k"]
    assert not err


def test_manifest_offset_duration() -> None:
    corpus = manifest("manifest_offset_duration", "manifest.jsonl", audio_column="audio_filepath")
    assert len(used(corpus)) == 12
    assert all(float(item.end_s or 0) - float(item.start_s or 0) == 4.0 for item in used(corpus))
    recordings = [{item.path for item in corpus.splits[split]} for split in SPLITS]
    assert sum(map(len, recordings)) == len(set.union(*recordings)) == 4


@pytest.mark.parametrize("name", ["open.csv", "unclosed.csv"])
def test_manifest_csv_open_quote(name: str) -> None:
    corpus = manifest("manifest_csv_open_quote", name)
    assert len(used(corpus)) == 5
    assert [item.id for item in corpus.rejected] == [f"{name}:3"]


def test_manifest_split_column_ignored() -> None:
    corpus = manifest("manifest_split_column_ignored", "all.tsv", validation="all.tsv", test="all.tsv")
    assert [[item.id for item in corpus.splits[split]] for split in SPLITS] == [["a", "b"], ["c", "d"], ["e", "f"]]


@pytest.mark.parametrize("name", ["json_array.json", "utf16.tsv", "nfd.tsv", "duplicates.tsv"])
def test_manifest_dialects(name: str) -> None:
    corpus = manifest("manifest_dialects", name)
    [item] = used(corpus)
    assert item.text == "hola amigo"
    assert item.path is not None
    assert item.path.is_file()
    assert len(corpus.rejected) == (2 if name == "duplicates.tsv" else 0)


def test_phones_with_word_marks(tmp_path: Path) -> None:
    from unispeech_ft.data.labels import label_utterances

    data = DataConfig(source="manifest", root=str(CASES / "phones_with_word_marks"), train="m.tsv")
    phonemes = PhonemesConfig(labels="column")
    corpus = list_corpus(data, phonemes)
    assert any("| (6 ×)" in note for note in corpus.notes)
    assert {tuple(item.phones) for item in label_utterances(used(corpus), data, phonemes)} == {tuple("olamundo")}


def test_score_header_row(command: Callable[..., Any]) -> None:
    folder = CASES / "score_header_row"
    _, out, _ = command("score", folder / "ref.tsv", folder / "hyp.tsv", "--json")
    summary = json.loads(out)
    assert (summary["per"], summary["reference_phones"], summary["deletions"]) == (0.5, 4, 2)


def test_spontaneous_speech_layout() -> None:
    root = str(CASES / "spontaneous_speech_layout")
    corpus = list_utterances(DataConfig(source="common_voice", language="es", root=root))
    assert [[item.text for item in corpus.splits[split]] for split in SPLITS] == [
        ["hola amigo"], ["la casa"], ["el perro"],
    ]  # fmt: skip
    assert [(item.id, item.reason) for item in corpus.rejected] == [("ss-corpus-es.tsv:5", "filtered: not transcribed")]


@pytest.mark.parametrize(
    ("file", "seconds"),
    [
        ("mp3_without_xing/vbr_noxing.mp3", 9.0),
        ("joined_streams/joined.ogg", 6.0),
        ("wav_from_sox_pipe/sox_pipe.wav", 5.0),
    ],
)
def test_whole_clips_whatever_the_header_says(file: str, seconds: float, small_model: Any) -> None:
    assert len(read_audio(CASES / file)) / 16_000 == pytest.approx(seconds, abs=0.1)
    [transcript] = transcribe_files(small_model, [CASES / file])
    assert transcript.duration_s == pytest.approx(seconds, abs=0.1)


def test_folder_skips_files(small_model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    files, faults = audio_files([CASES / "folder_skips_files"])
    assert [file.name for file in files] == ["a.m4a", "c.wav"]
    assert not faults
    monkeypatch.setitem(sys.modules, "av", None)
    first, second = transcribe_files(small_model, files)
    assert isinstance(first, UserError)
    assert "unispeech-ft[av]" in str(first)
    assert second.duration_s == pytest.approx(2.0)


def test_m4a_is_read_where_a_decoder_is_installed() -> None:
    pytest.importorskip("av")
    assert len(read_audio(CASES / "folder_skips_files" / "a.m4a")) / 16_000 == pytest.approx(2.0, abs=0.1)
