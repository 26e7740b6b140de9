"""Further training speech: added to training alone, without anybody who is in validation or test."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest

from unispeech_ft.config.labelled import AugmentationConfig
from unispeech_ft.config.sections import DataConfig, PhonemesConfig
from unispeech_ft.data.audio import read_audio
from unispeech_ft.data.augmentation import at_speed
from unispeech_ft.data.prepare import pack, unpack
from unispeech_ft.data.speech import Speech, make_tokenizer, open_speech
from unispeech_ft.errors import UserError
from unispeech_ft.tasks.audio_classification.config import ClassifierConfig


@pytest.fixture
def data(tiny_speech: Path, tmp_path: Path) -> DataConfig:
    return DataConfig(root=str(tiny_speech), language="ky", cache_dir=str(tmp_path / "cache"), num_workers=0)


def clips_of(speech: Path, split: str) -> list[Path]:
    with (speech / "ky" / f"{split}.tsv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    return [speech / "ky" / "clips" / row["path"] for row in rows]


def opened(data: DataConfig, manifest: Path) -> Speech:
    return open_speech(data.model_copy(update={"further": str(manifest)}), PhonemesConfig())


def test_it_joins_training_alone(data: DataConfig, tiny_speech: Path, tmp_path: Path) -> None:
    plain = open_speech(data, PhonemesConfig())
    clips = clips_of(tiny_speech, "train")[:2]
    manifest = tmp_path / "further.tsv"
    lines = [f"{clips[0]}\tb a tʃ ˈa\tnew\t\t", f"{clips[1]}\ta b\tnew\t0.25\t1.5"]
    manifest.write_text("path\tphones\tspeaker\tstart\tend\n" + "\n".join(lines) + "\n", encoding="utf-8")
    speech = opened(data, manifest)
    train, before = speech.splits["train"], plain.splits["train"]
    count = len(before)
    assert train.ids[:count] == before.ids
    assert train.phones[:count] == before.phones
    assert train.phones[count:] == [["b", "a", "tʃ", "a"], ["a", "b"]]
    assert train.speakers[count:] == ["new", "new"]
    assert len(set(train.ids)) == len(train) == count + 2
    whole = read_audio(str(clips[1]))
    piece = train.waveform(train.ids[count + 1])
    assert len(piece) == train.num_samples[count + 1] == 20_000
    np.testing.assert_allclose(piece, unpack(*pack(whole[4_000:24_000])), atol=1e-4)
    np.testing.assert_array_equal(train.waveform(before.ids[3]), before.waveform(before.ids[3]))
    for split in ("validation", "test"):
        assert speech.splits[split].ids == plain.splits[split].ids
    assert "tʃ" in make_tokenizer(speech, data, PhonemesConfig()).phones
    assert any(line.startswith("train: 2 further clips") for line in speech.notes)
    assert len(speech.corpus.splits["train"]) == len(plain.corpus.splits["train"]) + 2
    assert train.audio.key != before.audio.key
    copied, _ = speech.splits_to_train_on(AugmentationConfig(speeds=(0.9,)), 1, data, None)
    slow = copied["train"].waveform(f"{train.ids[count + 1]}*0.9")
    np.testing.assert_array_equal(slow, at_speed(piece, 0.9))


def test_nobody_of_test_is_trained_on(data: DataConfig, tiny_speech: Path, tmp_path: Path) -> None:
    plain = open_speech(data, PhonemesConfig())
    stranger = next(name for name in plain.splits["test"].speakers if name)
    train, test = clips_of(tiny_speech, "train"), clips_of(tiny_speech, "test")
    manifest = tmp_path / "further.tsv"
    copy = shutil.copy(test[0], tmp_path / "mine.mp3")
    lines = [f"{train[0]}\ta b\tnew", f"{train[1]}\ta b\t{stranger}", f"{test[0]}\ta b\tnew", f"{copy}\ta b\tnew"]
    manifest.write_text("path\tphones\tspeaker\n" + "\n".join(lines) + "\n", encoding="utf-8")
    speech = opened(data, manifest)
    assert len(speech.splits["train"]) == len(plain.splits["train"]) + 1
    reasons = sorted(item.reason for item in speech.left_out)
    assert reasons == [
        "filtered: its recording is in validation or test",
        "filtered: its recording is in validation or test",
        "filtered: its speaker is in validation or test",
    ]
    manifest.write_text("path\tphones\tspeaker\n" + lines[2] + "\n", encoding="utf-8")
    with pytest.raises(UserError, match="no clip with phones that may be trained on"):
        opened(data, manifest)
    manifest.write_text(f"path\tphones\n{tmp_path / 'gone.wav'}\ta b\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"no clip that can be trained on \("):
        opened(data, manifest)


@pytest.mark.parametrize(
    ("text", "said"),
    [(None, "no file"), ("path\tphones\n", "further"), ("path\tsentence\nx.wav\thello\n", "phones")],
)
def test_a_manifest_that_is_none(text: str | None, said: str, data: DataConfig, tmp_path: Path) -> None:
    manifest = tmp_path / "further.tsv"
    if text is not None:
        manifest.write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as fault:
        opened(data, manifest)
    assert said in str(fault.value)


def test_other_tasks_refuse_it() -> None:
    for key, value in (("further", "x.tsv"), ("share", 0.5)):
        config = ClassifierConfig.model_validate({"model": {"base": "x"}, "data": {"root": "x", key: value}})
        assert [what for wrong, what, _ in config.checks() if wrong and what.startswith(f"data.{key}")]
