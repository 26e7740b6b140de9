"""Changed copies of labelled speech: named after their clip, with its phones, and none where it does not fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from unispeech_ft.config.labelled import AugmentationConfig
from unispeech_ft.config.sections import DataConfig, PhonemesConfig
from unispeech_ft.data.audio import SAMPLE_RATE_HZ
from unispeech_ft.data.augmentation import AugmentedAudio, at_speed
from unispeech_ft.data.speech import Speech, open_speech
from unispeech_ft.tasks.ctc_phoneme.config import CtcPhonemeConfig


@pytest.fixture(scope="module")
def data(tiny_speech: Path, tmp_path_factory: pytest.TempPathFactory) -> DataConfig:
    cache = str(tmp_path_factory.mktemp("cache"))
    return DataConfig(root=str(tiny_speech), language="ky", cache_dir=cache, num_workers=0, max_duration_s=6.0)


@pytest.fixture(scope="module")
def speech(data: DataConfig) -> Speech:
    return open_speech(data, PhonemesConfig())


def test_each_clip_at_each_speed(speech: Speech, data: DataConfig) -> None:
    settings = AugmentationConfig(speeds=(0.9, 1.0, 1.1))
    splits, lines = speech.splits_to_train_on(settings, 1, data.model_copy(update={"max_duration_s": 20.0}), None)
    before, after = speech.splits["train"], splits["train"]
    count = len(before)
    assert len(after) == 3 * count, "1.0 is the clip itself"
    assert after.ids[:count] == before.ids
    assert after.ids[count : 2 * count] == [f"{name}*0.9" for name in before.ids]
    assert after.ids[2 * count :] == [f"{name}*1.1" for name in before.ids]
    assert after.phones == 3 * before.phones
    assert after.speakers == 3 * before.speakers
    slow = after.waveform(f"{before.ids[1]}*0.9")
    np.testing.assert_array_equal(slow, at_speed(before.waveform(before.ids[1]), 0.9))
    assert len(slow) == after.num_samples[count + 1]
    assert isinstance(after.audio, AugmentedAudio)
    assert after.audio.key != before.audio.key, "their features must not be taken for the clips'"
    assert splits["validation"] is speech.splits["validation"]
    assert splits["test"] is speech.splits["test"]
    assert lines == [f"train: {2 * count} changed copies beside its {count} clips, together {after.hours:.2f} h"]


def test_copies_that_do_not_fit(speech: Speech, data: DataConfig) -> None:
    train = speech.splits["train"]
    longest_s = float(train.num_samples.max()) / SAMPLE_RATE_HZ
    strict = data.model_copy(update={"max_duration_s": longest_s})
    splits, lines = speech.splits_to_train_on(AugmentationConfig(speeds=(0.5, 2.0)), 1, strict, lambda n: n // 640)
    kept = splits["train"]
    assert set(train.ids) <= set(kept.ids), "the clips themselves stay"
    assert len(kept) < 3 * len(train)
    assert kept.num_samples.max() <= longest_s * SAMPLE_RATE_HZ
    assert "copies left out: too long, or too short for their phones" in lines[1]
    short = AugmentationConfig(speeds=(2.0,))
    splits, _ = speech.splits_to_train_on(short, 1, data, lambda n: 1 if n < train.num_samples.min() else n // 320)
    assert set(splits["train"].ids) >= set(train.ids)
    assert len(splits["train"]) < 2 * len(train)


def test_nothing_asked_for_changes_nothing(speech: Speech, data: DataConfig) -> None:
    for settings in (AugmentationConfig(), AugmentationConfig(speeds=(1.0,))):
        splits, lines = speech.splits_to_train_on(settings, 1, data, None)
        assert splits["train"] is speech.splits["train"]
        assert lines == []


@pytest.mark.parametrize(
    ("augmentation", "said"),
    [
        ({"speeds": [0.9, 0.9]}, "names a speed twice"),
        ({"speeds": [9]}, "holds one that cannot be made"),
        ({"speeds": [0.937]}, "holds one that cannot be made"),
        ({"copies": 1}, "without noise or rooms"),
    ],
)
def test_faults(augmentation: dict[str, object], said: str) -> None:
    settings = {"model": {"base": "x"}, "data": {"root": "x", "language": "ky"}, "augmentation": augmentation}
    found = CtcPhonemeConfig.model_validate(settings)
    assert [what for wrong, what, _ in found.checks() if wrong and said in what]
