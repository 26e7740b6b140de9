"""Decoding a split once: what is kept, when it is kept, and what becomes of clips that cannot be used."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from unispeech_ft.data import prepare
from unispeech_ft.data.audio import BadClip, read_audio
from unispeech_ft.data.labels import (
    LabelledSplit,
    check_bad_fraction,
    drop_infeasible,
    label_split,
    minimum_frames,
    summarize_rejected,
)
from unispeech_ft.data.prepare import PreparedAudio, prepare_audio
from unispeech_ft.data.sources import list_utterances
from unispeech_ft.data.utterances import Corpus, Rejected, Utterance
from unispeech_ft.errors import UserError
from unispeech_ft.tasks.ctc_phoneme.config import CtcPhonemeConfig

SENTENCES = ["Айран муздак экен", "Кубат базардан келди", "Жок", "Салам"]


@pytest.fixture
def corpus(tmp_path: Path, write_clip: Callable[..., Path]) -> Corpus:
    utterances = [
        Utterance(f"clip{number}", write_clip(tmp_path / f"clip{number}.wav", seconds=0.5 + number, seed=number), text)
        for number, text in enumerate(SENTENCES)
    ]
    return Corpus({"train": utterances, "validation": [], "test": []})


def prepared(corpus: Corpus, folder: Path, num_workers: int = 1) -> PreparedAudio:
    return prepare_audio(corpus, "train", folder / "cache", num_workers=num_workers, show_progress=False)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that are decoded from here on."""
    paths: list[str] = []

    def noting(path: Path | str, channel: int | None = None) -> Any:
        paths.append(Path(path).name)
        return read_audio(path)

    monkeypatch.setattr(prepare, "read_audio", noting)
    return paths


def test_waveforms_come_back_within_half_a_step_of_their_own_peak(corpus: Corpus, tmp_path: Path) -> None:
    quiet = tmp_path / "clip1.wav"
    samples, rate_hz = soundfile.read(quiet, dtype="float32")
    soundfile.write(quiet, samples * 1e-4, rate_hz, subtype="FLOAT")
    audio = prepared(corpus, tmp_path)
    assert list(audio.rows) == [f"clip{number}" for number in range(4)]
    for utterance in corpus.splits["train"]:
        row = audio.rows[utterance.id]
        expected = read_audio(str(utterance.path))
        found = audio.waveform(row)
        assert found.dtype == np.float32
        assert np.abs(found - expected).max() <= 0.51 * np.abs(expected).max() / 32767
        assert audio.num_samples[row] == len(expected)
        assert audio.duration_s(row) == len(expected) / 16_000
    stored = audio.dataset[0]["samples"]
    assert np.abs(np.frombuffer(stored, dtype="<i2")).max() == 32767


def test_nothing_is_decoded_twice(corpus: Corpus, tmp_path: Path, decoded: list[str]) -> None:
    first = prepared(corpus, tmp_path)
    assert len(decoded) == 4
    second = prepared(corpus, tmp_path)
    assert len(decoded) == 4
    assert second.folder == first.folder
    np.testing.assert_array_equal(first.waveform(2), second.waveform(2))


@pytest.mark.parametrize("what", ["time", "size", "gone", "fewer"])
def test_a_changed_file_is_decoded_again(what: str, corpus: Corpus, tmp_path: Path, decoded: list[str]) -> None:
    first = prepared(corpus, tmp_path)
    path = tmp_path / "clip2.wav"
    if what == "time":
        os.utime(path, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns + 1_000))
    elif what == "size":
        stat = path.stat()
        soundfile.write(path, np.full(3_000, 0.1), 16_000)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    elif what == "gone":
        path.unlink()
    else:
        corpus = Corpus({**corpus.splits, "train": corpus.splits["train"][:2]})
    decoded.clear()
    second = prepared(corpus, tmp_path)
    assert decoded
    assert second.folder != first.folder
    if what == "gone":
        assert second.faults == {"clip2": "no such file"}


def test_bad_clips_are_reported_by_id_with_the_reason(corpus: Corpus, tmp_path: Path) -> None:
    (tmp_path / "clip0.wav").write_bytes(b"")
    (tmp_path / "clip1.wav").write_bytes(b"a text, no audio" * 100)
    soundfile.write(tmp_path / "clip2.wav", np.zeros(16_000), 16_000)
    audio = prepared(corpus, tmp_path)
    assert list(audio.rows) == ["clip3"]
    assert audio.faults.keys() == {"clip0", "clip1", "clip2"}
    assert audio.faults["clip0"] == "the file is empty"
    assert "not audio" in audio.faults["clip1"]
    assert audio.faults["clip2"] == "digital silence"


def test_a_run_that_is_cut_short_leaves_nothing_half_made(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopping(path: Path | str, channel: int | None = None) -> Any:
        if "clip2" in str(path):
            raise KeyboardInterrupt
        return read_audio(path)

    with monkeypatch.context() as patch:
        patch.setattr(prepare, "read_audio", stopping)
        with pytest.raises(BaseException):  # noqa: B017, PT011 - datasets may wrap it
            prepared(corpus, tmp_path)
    assert list((tmp_path / "cache").rglob("*")) == []
    assert len(prepared(corpus, tmp_path).rows) == 4


def test_a_cache_that_cannot_be_written(corpus: Corpus, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file in the way")
    with pytest.raises(UserError, match=r"data\.cache_dir"):
        prepared(corpus, tmp_path)


def test_two_processes_decode_the_same(tmp_path: Path, write_clip: Callable[..., Path]) -> None:
    utterances = [
        Utterance(f"c{number}", write_clip(tmp_path / f"c{number}.wav", seconds=0.05 + number / 1_000, seed=number))
        for number in range(2 * prepare.CLIPS_PER_PROCESS + 7)
    ]
    (tmp_path / "c70.wav").write_bytes(b"")
    corpus = Corpus({"train": utterances, "validation": [], "test": []})
    one = prepare_audio(corpus, "train", tmp_path / "one", num_workers=1, show_progress=False)
    two = prepare_audio(corpus, "train", tmp_path / "two", num_workers=2, show_progress=False)
    assert len(list(one.folder.glob("*.arrow"))) == 1
    assert len(list(two.folder.glob("*.arrow"))) == 2
    assert one.rows == two.rows
    assert one.faults == two.faults == {"c70": "the file is empty"}
    assert one.dataset.to_dict() == two.dataset.to_dict()


# Labels and what is left out


def configured(**sections: Any) -> CtcPhonemeConfig:
    data = {"language": "ky", "root": "."} | sections.pop("data", {})
    return CtcPhonemeConfig.model_validate({"data": data, **sections})


def labelled(corpus: Corpus, folder: Path, config: CtcPhonemeConfig) -> tuple[LabelledSplit, list[Rejected]]:
    return label_split(corpus, "train", prepared(corpus, folder), config.data, config.phonemes)


def test_other_labels_do_not_decode_again(corpus: Corpus, tmp_path: Path, decoded: list[str]) -> None:
    plain, _ = labelled(corpus, tmp_path, configured())
    assert len(decoded) == 4
    stressed, _ = labelled(corpus, tmp_path, configured(phonemes={"stress": True}))
    russian, _ = labelled(corpus, tmp_path, configured(phonemes={"language": "ru"}))
    assert len(decoded) == 4
    assert plain.ids == stressed.ids == russian.ids
    assert plain.phones != russian.phones
    again, _ = labelled(corpus, tmp_path, configured())
    assert again.phones == plain.phones


def test_a_changed_sentence_is_labelled_anew_without_decoding(
    corpus: Corpus, tmp_path: Path, decoded: list[str]
) -> None:
    before, _ = labelled(corpus, tmp_path, configured())
    first, *others = corpus.splits["train"]
    changed = Corpus({**corpus.splits, "train": [Utterance(first.id, first.path, "Ооба"), *others]})
    after, _ = labelled(changed, tmp_path, configured())
    assert len(decoded) == 4
    assert after.phones[0] != before.phones[0]
    assert after.phones[1:] == before.phones[1:]


def test_length_limits_and_sentences_without_sounds(corpus: Corpus, tmp_path: Path) -> None:
    *rest, last = corpus.splits["train"]
    odd = Corpus({**corpus.splits, "train": [*rest, Utterance(last.id, last.path, "…")]})
    found, rejected = labelled(odd, tmp_path, configured(data={"min_duration_s": 0.6, "max_duration_s": 2.4}))
    assert found.ids == ["clip1"]
    assert found.num_samples.tolist() == [24_000]
    reasons = {item.id: item.reason for item in rejected}
    assert "0.50 s long" in reasons["clip0"]
    assert "2.50 s long" in reasons["clip2"]
    assert reasons.keys() == {"clip0", "clip2", "clip3"}
    check_bad_fraction(rejected, 4, "train", 0.25)
    with pytest.raises(UserError, match="1 of 4 utterances are bad"):
        check_bad_fraction(rejected, 4, "train", 0.2)


def test_labels_from_a_column(corpus: Corpus, tmp_path: Path) -> None:
    phones = [("a", "b"), ("tʃ", "aː"), None, ("a",)]
    utterances = [
        Utterance(item.id, item.path, None, said) for item, said in zip(corpus.splits["train"], phones, strict=True)
    ]
    with_phones = Corpus({**corpus.splits, "train": utterances})
    found, rejected = labelled(with_phones, tmp_path, configured(phonemes={"labels": "column"}))
    assert found.references == {"clip0": ["a", "b"], "clip1": ["tʃ", "aː"], "clip3": ["a"]}
    assert [(item.id, item.reason) for item in rejected] == [("clip2", "no column labels")]
    with pytest.raises(UserError, match=r"name the column or tier of phones in data\.phones_column"):
        check_bad_fraction(rejected, 4, "train", 0.05)


@pytest.mark.parametrize(("limit", "stops"), [(0.05, True), (0.0, True), (0.06, False), (1.0, False)])
def test_too_many_bad_clips_stop_the_run(limit: float, stops: bool) -> None:
    rejected = [Rejected("train", f"c{number}", "digital silence") for number in range(6)]
    rejected += [Rejected("train", "long", "filtered: 30.00 s long, outside 0.4 to 20 s")] * 50
    if not stops:
        check_bad_fraction(rejected, 100, "train", limit)
        return
    with pytest.raises(UserError) as refused:
        check_bad_fraction(rejected, 100, "train", limit)
    assert "6 of 100" in str(refused.value)
    assert "digital silence, for example c0" in str(refused.value)
    assert "data.max_bad_fraction" in refused.value.remedy


def test_what_was_left_out_is_counted_by_reason() -> None:
    rejected = [
        Rejected("train", f"c{number}", f"filtered: {number}.00 s long, outside 0.4 to 2 s") for number in range(5)
    ]
    rejected += [Rejected("train", "x", "no such file")]
    lines = summarize_rejected(rejected, 20, "train")
    assert lines[0] == "train: 6 of 20 utterances left out"
    assert lines[1].startswith("  5 × ")
    assert "c0, c1, c2 and 2 more" in lines[1]
    assert lines[2] == "  1 × no such file: x"
    assert summarize_rejected([], 20, "train") == []


@pytest.mark.parametrize(
    ("labels", "needed"), [("", 0), ("a", 1), ("a b", 2), ("a a", 3), ("a a a a a a a a", 15), ("a b b a a", 7)]
)
def test_frames_that_ctc_needs_count_repeats(labels: str, needed: int) -> None:
    assert minimum_frames(labels.split()) == needed


def test_infeasible_utterances_are_left_out_and_named(corpus: Corpus, tmp_path: Path) -> None:
    repeats = [Utterance(item.id, item.path, None, ("a",) * 8) for item in corpus.splits["train"]]
    found, _ = labelled(
        Corpus({**corpus.splits, "train": repeats}), tmp_path, configured(phonemes={"labels": "column"})
    )
    kept, rejected = drop_infeasible(found, lambda samples: samples // 2_000 + 8)
    assert found.num_samples.tolist() == [8_000, 24_000, 40_000, 56_000]
    assert kept.ids == ["clip1", "clip2", "clip3"]
    assert [(item.id, item.reason) for item in rejected] == [
        ("clip0", "infeasible for CTC: 15 frames needed for its phones, 12 there")
    ]


def test_a_release_is_prepared_end_to_end(tmp_path: Path) -> None:
    from unispeech_ft.testing.corpus import make_corpus

    root = make_corpus(tmp_path / "cv", ["ky"], train_hours=0.005, dev_hours=0.004, test_hours=0.004)
    config = configured(data={"root": str(root)})
    listed = list_utterances(config.data)
    found, rejected = labelled(listed, tmp_path, config)
    assert rejected == []
    assert found.ids == [item.id for item in listed.splits["train"]]
    assert all(found.phones)
    assert found.hours == pytest.approx(0.005, rel=0.5)


def test_a_channel_that_no_recording_has_is_what_is_to_be_mended(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.random.default_rng(0).normal(0, 0.1, (16_000, 2)), 16_000)
    with pytest.raises(BadClip) as bad:
        read_audio(path, 2)
    with pytest.raises(UserError, match="channel 2 is asked for, but the file has 2") as refused:
        check_bad_fraction([Rejected("train", "a", str(bad.value))], 1, "train", 0.0)
    assert refused.value.remedy == "set data.channel to one that the recordings have"
