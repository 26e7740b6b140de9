"""Simulated conversations: by name, known to the sample, and what they say of themselves is what is heard."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from unispeech_ft.config.labelled import AugmentationConfig, SimulationConfig
from unispeech_ft.data.simulate import Conversations, clips_by_speaker, speech_spans
from unispeech_ft.errors import UserError
from unispeech_ft.scoring.diarization import diarization_errors, segments_of


@dataclass(frozen=True)
class Tones:
    """Clips of half a second of tone within a second of silence; the speaker is the frequency."""

    count: int = 12
    key: str = "tones"

    @property
    def num_samples(self) -> np.ndarray:
        return np.full(self.count, 16_000)

    def waveform(self, row: int) -> np.ndarray:
        time_s = np.arange(16_000) / 16_000
        tone = 0.1 * np.sin(2 * np.pi * 200 * (1 + row % 4) * time_s) * ((time_s > 0.25) & (time_s < 0.75))
        return tone.astype(np.float32)

    def name(self, row: int) -> str:
        return f"t{row}"


def conversations(**changes: object) -> Conversations:
    settings = SimulationConfig(conversations=6, speakers=(2, 3), duration_s=6.0, pause_s=0.4)
    speakers = clips_by_speaker([f"s{row % 4}" for row in range(12)], range(12))
    return replace(Conversations(Tones(), speakers, "train", 6, settings, AugmentationConfig(), 1), **changes)


def test_the_loud_part_of_a_clip_is_speech() -> None:
    [(first, end)] = speech_spans(Tones().waveform(0))
    assert first / 16_000 == pytest.approx(0.25, abs=0.06)
    assert end / 16_000 == pytest.approx(0.75, abs=0.06)
    assert speech_spans(np.zeros(16_000, dtype=np.float32)) == []


@pytest.mark.parametrize("noise_db", [-60, -38, -32, -27])
def test_noise_around_a_word_is_no_speech(noise_db: int) -> None:
    clip = Tones().waveform(0)
    noise = np.random.default_rng(0).standard_normal(len(clip)) * np.abs(clip).max() / 2**0.5 * 10 ** (noise_db / 20)
    [(first, end)] = speech_spans((clip + noise).astype(np.float32))
    assert (first / 16_000, end / 16_000) == pytest.approx((0.25, 0.75), abs=0.06)


def test_a_steady_sound_is_speech_from_end_to_end() -> None:
    tone = np.sin(np.arange(16_000) / 5).astype(np.float32)
    assert speech_spans(tone) == [(0, 16_000)]


def test_too_short_for_speech() -> None:
    assert speech_spans(np.zeros(10, dtype=np.float32)) == []


def test_a_conversation_is_a_function_of_seed_split_and_number() -> None:
    first, again = conversations(), conversations()
    for row in range(6):
        assert np.array_equal(first.waveform(row), again.waveform(row))
        assert first.segments(row) == again.segments(row)
    assert not np.array_equal(first.waveform(0), first.waveform(1))
    assert not np.array_equal(first.waveform(0), conversations(seed=2).waveform(0))
    assert not np.array_equal(first.waveform(0), conversations(name_of_all="test").waveform(0))
    keys = {first.key, conversations(seed=2).key, conversations(name_of_all="test").key, conversations(num=5).key}
    assert len(keys) == 4


def test_speakers_speak_where_it_is_said() -> None:
    made = conversations()
    for row in range(6):
        voices, sources = made.voices(row), made.sources(row)
        assert len(set(voices)) == len(voices) == len(sources)
        np.testing.assert_allclose(sources.sum(axis=0), made.waveform(row), atol=1e-6)
        for voice, alone in zip(voices, sources, strict=True):
            said = np.zeros(len(alone), dtype=bool)
            for segment in made.segments(row):
                if segment.speaker == voice:
                    said[round(segment.start_s * 16_000) : round(segment.end_s * 16_000)] = True
            assert not alone[~said].any() or float(np.abs(alone[~said]).max()) < 0.1 * float(np.abs(alone).max())
    assert {len(made.voices(row)) for row in range(40)} == {2, 3}


def test_frames_of_activity_are_the_segments() -> None:
    made = conversations()
    for row in range(6):
        active = made.activity(row, (np.arange(600) + 0.5) * 0.01, 3)
        found = segments_of(active, ["1", "2", "3"], 0.01)
        errors = diarization_errors(made.segments(row), found)
        assert errors.rate is not None
        assert errors.rate < 0.02


def test_rooms_and_noise_are_heard(tmp_path: object) -> None:
    import soundfile

    random = np.random.default_rng(0)
    for name, sound in (("noise", random.normal(0, 0.1, 8_000)), ("rooms", 0.9 ** np.arange(800))):
        (tmp_path / name).mkdir()  # type: ignore[attr-defined]
        soundfile.write(tmp_path / name / "one.wav", sound.astype(np.float32), 16_000)  # type: ignore[operator]
    sounds = AugmentationConfig(noise=str(tmp_path / "noise"), rooms=str(tmp_path / "rooms"), snr_db=(5, 5))  # type: ignore[operator]
    noisy, plain = conversations(sounds=sounds), conversations()
    for row in range(3):
        assert noisy.segments(row) == plain.segments(row)
        speech = noisy.sources(row).sum(axis=0)
        rest = noisy.waveform(row) - speech
        assert 10 * np.log10(np.mean(speech**2) / np.mean(rest**2)) == pytest.approx(5, abs=0.1)


def test_too_few_speakers_are_refused() -> None:
    with pytest.raises(UserError, match="1 speakers, and a conversation needs 2"):
        conversations(speakers={"only": [0, 1]})
