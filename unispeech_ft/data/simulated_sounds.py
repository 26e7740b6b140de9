"""Noises and rooms that are made instead of recorded, for who has no collection of them.

A noise is Gaussian, its power falling with a random power of the frequency, from white to brown. A room is its direct
sound and Gaussian echoes that fall by 60 dB in a random time. Both are heard by a microphone whose gain goes up and
down with the frequency.

`S` samples. Source of the room: Polack 1988, "La transmission de l'énergie sonore dans les salles", a random process
that decays exponentially.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from unispeech_ft.data.audio import SAMPLE_RATE_HZ, Waveform
from unispeech_ft.randomness import Stream, generator

SIMULATED = "simulated"
NUM_SOUNDS = 50
NOISE_S = 10.0
# Of the falling of power with frequency: 0 is white, 1 pink, 2 brown.
STEEPEST = 2.0
LOWEST_HZ, HIGHEST_HZ = 60.0, SAMPLE_RATE_HZ / 2
# Seconds until the echoes of a room have fallen by 60 dB, and by how much the direct sound is above all of them.
DECAY_S, DIRECT_DB = (0.1, 0.7), (0.0, 15.0)
FIRST_ECHO_S = 0.002
# A microphone's gain, between so many frequencies at equal steps of pitch.
GAIN_DB, NUM_GAINS = 6.0, 8
PRE_RINGING_S = 0.004


def _through_microphone(sound: npt.NDArray[np.float64], random: np.random.Generator) -> npt.NDArray[np.float64]:
    """`[S]` with a random gain at each frequency."""
    spectrum, hz = np.fft.rfft(sound), np.fft.rfftfreq(len(sound), 1 / SAMPLE_RATE_HZ)
    points = np.linspace(np.log(LOWEST_HZ), np.log(HIGHEST_HZ), NUM_GAINS)
    gain_db = np.interp(np.log(np.maximum(hz, 1)), points, random.uniform(-GAIN_DB, GAIN_DB, NUM_GAINS))
    return np.fft.irfft(spectrum * 10 ** (gain_db / 20), n=len(sound))


def _as_loud_as_one(sound: npt.NDArray[np.float64]) -> Waveform:
    return np.asarray(sound / np.abs(sound).max(), dtype=np.float32)


def simulated_noise(random: np.random.Generator) -> Waveform:
    """Ten seconds of a noise, `[S]`, float32."""
    size = round(NOISE_S * SAMPLE_RATE_HZ)
    spectrum, hz = np.fft.rfft(random.normal(size=size)), np.fft.rfftfreq(size, 1 / SAMPLE_RATE_HZ)
    falling = np.maximum(hz, LOWEST_HZ) ** (-random.uniform(0, STEEPEST) / 2)
    return _as_loud_as_one(_through_microphone(np.fft.irfft(spectrum * falling, n=size), random))


def simulated_room(random: np.random.Generator) -> Waveform:
    """The impulse response of a room, `[S]`, float32."""
    decay_s = random.uniform(*DECAY_S)
    time_s = np.arange(round(decay_s * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    echoes = random.normal(size=len(time_s)) * 10 ** (-3 * time_s / decay_s) * (time_s >= FIRST_ECHO_S)
    response = echoes * 10 ** (-random.uniform(*DIRECT_DB) / 20) / np.linalg.norm(echoes)
    response[0] = 1
    before = np.zeros(round(PRE_RINGING_S * SAMPLE_RATE_HZ))
    return _as_loud_as_one(_through_microphone(np.concatenate([before, response]), random))


def simulated_noises(seed: int) -> list[Waveform]:
    """The noises of a run."""
    return [simulated_noise(generator(seed, Stream.SIMULATED_NOISE, number)) for number in range(NUM_SOUNDS)]


def simulated_rooms(seed: int) -> list[Waveform]:
    """The rooms of a run."""
    return [simulated_room(generator(seed, Stream.SIMULATED_ROOM, number)) for number in range(NUM_SOUNDS)]
