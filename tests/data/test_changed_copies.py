"""Changed copies of clips: the bits are those that torchaudio makes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from unispeech_ft.config.labelled import AugmentationConfig
from unispeech_ft.data.augmentation import at_speed, in_room, noises_and_rooms, samples_at_speed, with_noise
from unispeech_ft.errors import UserError

F = pytest.importorskip("torchaudio.functional")


def sound(num_samples, seed=0):
    return np.random.default_rng(seed).normal(size=num_samples).astype(np.float32) / 8


@pytest.mark.parametrize("speed", [0.5, 0.9, 0.95, 1.03, 1.05, 1.1, 2.0])
@pytest.mark.parametrize("num_samples", [0, 1, 17, 16_001, 48_000])
def test_another_speed(speed, num_samples):
    waveform = sound(num_samples)
    changed = at_speed(waveform, speed)
    assert len(changed) == samples_at_speed(np.array([num_samples]), speed)[0]
    if num_samples:
        expected = F.resample(torch.from_numpy(waveform), round(16_000 * speed), 16_000).numpy()
        np.testing.assert_array_equal(changed, expected)


def test_a_room():
    waveform, impulse = sound(16_000), sound(900, seed=1) * np.exp(-np.arange(900) / 90).astype(np.float32)
    heard = F.fftconvolve(torch.from_numpy(waveform), torch.from_numpy(impulse[np.abs(impulse).argmax() :])).numpy()
    heard = heard[:16_000] * np.sqrt(np.mean(waveform**2)) / np.sqrt(np.mean(heard[:16_000] ** 2))
    np.testing.assert_allclose(in_room(waveform, impulse), heard, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("snr_db", [-5.0, 0.0, 12.5])
def test_a_noise(snr_db):
    waveform, noise = sound(16_000), sound(16_000, seed=1) * np.float32(3)
    expected = F.add_noise(torch.from_numpy(waveform), torch.from_numpy(noise), torch.tensor(snr_db)).numpy()
    np.testing.assert_array_equal(with_noise(waveform, noise, snr_db), expected)
    for nothing in (0, 1e-30):  # of which the square is nothing in float32
        assert with_noise(waveform, np.full_like(noise, nothing), snr_db) is waveform


def test_rooms_below_the_folder_of_noises_are_no_noises(tmp_path: Path) -> None:
    rooms = tmp_path / "noise" / "rir"
    rooms.mkdir(parents=True)
    for number, file in enumerate((rooms.parent / "hum.wav", rooms / "hall.wav"), start=1):
        soundfile.write(file, sound(100 * number), 16_000)
    found = noises_and_rooms(AugmentationConfig(copies=1, noise=str(rooms.parent), rooms=str(rooms)), 1)
    assert [[len(item) for item in sounds] for sounds in found] == [[100], [200]]
    same = noises_and_rooms(AugmentationConfig(copies=1, noise=str(rooms), rooms=str(rooms)), 1)
    assert [[len(item) for item in sounds] for sounds in same] == [[200], [200]]


def test_a_sound_that_cannot_be_read_is_named_and_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    soundfile.write(tmp_path / "hum.wav", sound(100), 16_000)
    (tmp_path / "text.wav").write_bytes(b"no sound")
    settings = AugmentationConfig(copies=1, noise=str(tmp_path))
    noises, _ = noises_and_rooms(settings, 1)
    assert [len(item) for item in noises] == [100]
    said = capsys.readouterr().err
    assert "1 of 2 files" in said
    assert "text.wav: " in said
    (tmp_path / "hum.wav").unlink()
    with pytest.raises(UserError, match=r"no audio of .* can be read \(text.wav: "):
        noises_and_rooms(settings, 1)
