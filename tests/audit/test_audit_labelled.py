"""`unispeech-ft audit` on labelled clips: sound ones pass, and each planted fault is found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from running import REPOSITORY
from voices import buzz, write_voices

from unispeech_ft.audit.findings import Audit
from unispeech_ft.audit.labelled import audit_labelled
from unispeech_ft.cli import main
from unispeech_ft.config.sections import DataConfig
from unispeech_ft.data.sources.labelled import LabelSource

CLASSES = LabelSource("label", "audio_classification.label_column", 0.1)
SPEAKERS = LabelSource(None, "speaker_verification.label_column", 0.1, speakers=True)


def voice(speaker: int, duration_s: float, seed: int) -> np.ndarray:
    return buzz(100.0 * 1.2**speaker, duration_s, seed)


@pytest.fixture
def corpus(tmp_path: Path) -> Callable[..., Audit]:
    """Audits three words of six people, two of them in test; `change` is made to rows (path, speaker, label, split)."""
    root = write_voices(tmp_path / "voices", 6, 15, voice)

    def audited(change: Callable[[list[list[str]]], object] = len, labels: LabelSource = CLASSES) -> Audit:
        rows = [
            [f"v{speaker:02d}/{n}.wav", f"v{speaker:02d}", f"w{n % 3}", "test" if speaker > 3 else "train"]
            for speaker in range(6)
            for n in range(15)
        ]
        change(rows)
        lines = [["path", "speaker", "label", "split"], *rows]
        (root / "list.tsv").write_text("".join("\t".join(line) + "\n" for line in lines), encoding="utf-8")
        data = DataConfig(source="manifest", root=str(root), train="list.tsv", cache_dir=str(tmp_path / "cache"))
        return audit_labelled(data, labels)

    return audited


def found(audit: Audit) -> list[tuple[str, str]]:
    return [(finding.name, finding.level) for finding in audit.findings]


@pytest.mark.parametrize("labels", [CLASSES, SPEAKERS])
def test_sound_clips_pass(corpus: Callable[..., Audit], labels: LabelSource) -> None:
    audit = corpus(labels=labels)
    assert found(audit) == []
    assert (audit.splits["train"]["clips"], audit.splits["test"]["speakers"]) == (60, 2)


def test_a_class_of_test_alone(corpus: Callable[..., Audit]) -> None:
    def change(rows: list[list[str]]) -> None:
        for row in rows[-9:]:
            row[2] = "new"

    assert found(corpus(change)) == [("unknown_classes", "serious")]


def test_a_rare_class(corpus: Callable[..., Audit]) -> None:
    audit = corpus(lambda rows: rows[0].__setitem__(2, "rare"))
    assert found(audit) == [("rare_class", "warning"), ("lopsided", "note")]


def test_one_class(corpus: Callable[..., Audit]) -> None:
    audit = corpus(lambda rows: [row.__setitem__(2, "one") for row in rows])
    assert found(audit) == [("one_class", "serious")]


def test_a_speaker_of_training_in_test(corpus: Callable[..., Audit]) -> None:
    assert found(corpus(lambda rows: rows[-1].__setitem__(1, "v00"))) == [("shared_speakers", "serious")]


def test_one_test_speaker_makes_no_trials(corpus: Callable[..., Audit]) -> None:
    audit = corpus(lambda rows: rows.__delitem__(slice(75, 90)), labels=SPEAKERS)
    assert found(audit) == [("no_trials", "serious")]


def test_one_sound_under_two_names_and_labels(corpus: Callable[..., Audit], tmp_path: Path) -> None:
    samples, rate = soundfile.read(tmp_path / "voices" / "v00" / "0.wav")
    soundfile.write(tmp_path / "voices" / "v05" / "14.wav", samples, rate)
    assert found(corpus()) == [("same_sound", "serious"), ("contradiction", "warning")]


def test_recordings_that_cannot_be_used(corpus: Callable[..., Audit], tmp_path: Path) -> None:
    (tmp_path / "voices" / "v00" / "0.wav").write_bytes(b"RIFF")
    (tmp_path / "voices" / "v00" / "1.wav").unlink()
    for number in range(2, 10):
        soundfile.write(tmp_path / "voices" / "v04" / f"{number}.wav", np.zeros(16_000), 16_000)
    levels = found(corpus())
    assert ("left_out", "warning") in levels
    assert ("left_out", "serious") in levels


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_voices(tmp_path / "voices", 10, 4, voice)
    yaml = REPOSITORY / "configs" / "speaker_verification" / "words.yaml"
    words = ["audit", str(yaml), "--data.root", str(root), "--data.cache_dir", str(tmp_path / "cache")]
    with pytest.raises(SystemExit) as ended:
        main(words)
    said = capsys.readouterr().out
    assert ended.value.code == 0, said
    assert "train: 24 clips" in said
    assert "6 of 6 have fewer than 5 clips" in said
