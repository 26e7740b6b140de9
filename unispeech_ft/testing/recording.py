"""From sentences to clips: speak, add what a recording has, write MP3. Shapes: ``S`` samples."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from unispeech_ft.testing.prompts import Split
from unispeech_ft.testing.speech import Speaker, Voice
from unispeech_ft.testing.voices import client_id

CLIP_SAMPLE_RATE_HZ = 48_000

_TYPICAL_CLIP_S = 3.2


@dataclass(frozen=True)
class VoiceList:
    """The sentences that one voice speaks, until ``max_seconds`` are reached."""

    language: str
    split: Split
    voice: Voice
    seed: int
    max_seconds: float
    numbered_sentences: tuple[tuple[int, str], ...]


@dataclass(frozen=True)
class Clip:
    """A written clip: its file name, who said what, and for how long."""

    language: str
    split: Split
    path: str
    client_id: str
    sentence: str
    duration_ms: int


def record(voice_list: VoiceList, clips_folder: Path) -> list[Clip]:
    """Speak and write the clips of one voice list as MP3, 48 kHz, mono."""
    clips = []
    seconds_left = voice_list.max_seconds
    with Speaker(voice_list.language) as speaker:
        for number, sentence in voice_list.numbered_sentences:
            if seconds_left <= _TYPICAL_CLIP_S / 2:
                break
            random = np.random.default_rng([voice_list.seed, number])
            speech = speaker.say(sentence, _vary(voice_list.voice, random))
            waveform = as_recorded(speech.waveform, speech.sample_rate_hz, random)
            path = f"synthetic_{voice_list.language}_{number:06d}.mp3"
            soundfile.write(clips_folder / path, waveform, CLIP_SAMPLE_RATE_HZ, format="MP3")
            duration_s = len(waveform) / CLIP_SAMPLE_RATE_HZ
            seconds_left -= duration_s
            clips.append(
                Clip(
                    language=voice_list.language,
                    split=voice_list.split,
                    path=path,
                    client_id=client_id(voice_list.voice),
                    sentence=sentence,
                    duration_ms=round(duration_s * 1000),
                )
            )
    return clips


def _vary(voice: Voice, random: np.random.Generator) -> Voice:
    """The same voice, a little faster or slower, higher or lower from sentence to sentence."""
    return replace(
        voice,
        words_per_minute=voice.words_per_minute + int(random.integers(-6, 7)),
        pitch=voice.pitch + int(random.integers(-2, 3)),
    )


def silences(sample_rate_hz: int, random: np.random.Generator) -> tuple[int, int]:
    """Samples of silence before and after the speech, 0.1 to 0.4 s each."""
    before, after = (random.uniform(0.1, 0.4, size=2) * sample_rate_hz).astype(int)
    return int(before), int(after)


def as_recorded(waveform: NDArray[np.float32], sample_rate_hz: int, random: np.random.Generator) -> NDArray[np.float32]:
    """Make a spoken waveform look like a recording: silence around it, a level, a little noise, 48 kHz.

    Args:
        waveform: float32 ``[S]`` at ``sample_rate_hz``.
        sample_rate_hz: of the waveform given.
        random: decides silences (0.1 to 0.4 s), peak (0.3 to 0.9) and noise (30 to 50 dB below the speech).

    Returns:
        float32 ``[S]`` at 48,000 Hz, within −1…1.
    """
    before, after = silences(sample_rate_hz, random)
    level = random.uniform(0.3, 0.9) / max(float(np.abs(waveform).max()), 1e-3)
    padded = np.pad(waveform * np.float32(level), (before, after))
    speech_rms = math.sqrt(float(np.mean(np.square(padded, dtype=np.float64))))
    noise_rms = speech_rms * 10 ** (-random.uniform(30, 50) / 20)
    noisy = padded + random.normal(0, noise_rms, len(padded)).astype(np.float32)
    resampled = soxr.resample(noisy, sample_rate_hz, CLIP_SAMPLE_RATE_HZ, quality="HQ")
    clipped: NDArray[np.float32] = np.clip(resampled, -1, 1).astype(np.float32)
    return clipped
