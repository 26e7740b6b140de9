"""Noises and rooms that are made: of the seed alone, as they are described, and drawn for the copies of clips."""

from __future__ import annotations

import numpy as np
import pytest

from unispeech_ft.config.labelled import AugmentationConfig
from unispeech_ft.data import simulated_sounds as module
from unispeech_ft.data.augmentation import in_room, noises_and_rooms
from unispeech_ft.data.simulated_sounds import (
    DECAY_S,
    NOISE_S,
    NUM_SOUNDS,
    simulated_noise,
    simulated_noises,
    simulated_room,
    simulated_rooms,
)


def test_they_are_of_the_seed_alone() -> None:
    first, again, other = (simulated_rooms(seed) for seed in (1, 1, 2))
    assert len(first) == NUM_SOUNDS
    assert all(np.array_equal(one, two) for one, two in zip(first, again, strict=True))
    assert not any(np.array_equal(one, two) for one, two in zip(first, other, strict=True))
    assert len({room.tobytes() for room in first}) == NUM_SOUNDS


@pytest.mark.parametrize("steepest", [0.0, 2.0])
def test_the_power_of_a_noise_falls(steepest: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STEEPEST", steepest)
    monkeypatch.setattr(module, "GAIN_DB", 0.0)
    random = np.random.default_rng(3)
    noise = simulated_noise(random)
    assert noise.dtype == np.float32
    assert len(noise) == NOISE_S * 16_000
    assert np.abs(noise).max() == pytest.approx(1)
    power = np.abs(np.fft.rfft(noise)) ** 2
    falls_db = 10 * np.log10(power[5_000:10_000].mean() / power[40_000:80_000].mean())  # three octaves
    again = np.random.default_rng(3)
    again.normal(size=len(noise))
    assert falls_db == pytest.approx(9.03 * again.uniform(0, steepest), abs=0.5)


def test_a_room_is_its_direct_sound_and_echoes_that_fall(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GAIN_DB", 0.0)
    for seed in range(5):
        room = simulated_room(np.random.default_rng(seed))
        first = int(np.abs(room).argmax())
        assert room[first] == pytest.approx(1)
        assert np.abs(room[:first]).max() < 1e-6
        echoes = room[first + 1 :]
        assert DECAY_S[0] <= len(room) / 16_000 <= DECAY_S[1] + 0.01
        assert -15.01 <= 10 * np.log10(np.sum(echoes**2)) <= 0.01
        half = len(echoes) // 2
        fallen_db = 10 * np.log10(np.sum(echoes[:half] ** 2) / np.sum(echoes[half:] ** 2))
        assert fallen_db == pytest.approx(30, abs=3), "60 dB over the whole"


def test_the_copies_of_a_run_draw_from_them() -> None:
    settings = AugmentationConfig(copies=1, noise="simulated", rooms="simulated")
    assert not [what for wrong, what, _ in settings.checks() if wrong]
    noises, rooms = noises_and_rooms(settings, 5)
    assert all(np.array_equal(one, two) for one, two in zip(noises, simulated_noises(5), strict=True))
    speech = np.random.default_rng(0).normal(size=8_000).astype(np.float32) / 8
    heard = in_room(speech, rooms[0])
    assert len(heard) == len(speech)
    assert np.sqrt(np.mean(heard**2)) == pytest.approx(np.sqrt(np.mean(speech**2)), rel=1e-4)
    assert not np.allclose(heard, speech)
