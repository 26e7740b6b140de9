"""Synthetic speech: reproducible, timed, and clear about what it cannot do."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest

from unispeech_ft.errors import UserError
from unispeech_ft.testing.speech import Speaker, Voice, speak, variants

SENTENCE = "Салам, дос! Бүгүн күн ачык."


def test_speak_returns_a_reproducible_waveform() -> None:
    waveform, sample_rate_hz = speak(SENTENCE, "ky", variant="f2", words_per_minute=150, pitch=40)
    again, _ = speak(SENTENCE, "ky", variant="f2", words_per_minute=150, pitch=40)
    assert sample_rate_hz == 22_050
    assert waveform.dtype == np.float32
    assert 1.0 < len(waveform) / sample_rate_hz < 5.0
    assert 0.05 < np.abs(waveform).max() <= 1.0
    np.testing.assert_array_equal(waveform, again)


def test_the_same_calls_in_the_same_order_give_the_same_samples() -> None:
    with Speaker("ky") as first, Speaker("ky") as second:
        for voice in (Voice("m3"), Voice("f2", 180, 60), Voice("m3")):
            np.testing.assert_array_equal(first.say(SENTENCE, voice).waveform, second.say(SENTENCE, voice).waveform)


def test_speed_and_variant_are_heard() -> None:
    slow, _ = speak(SENTENCE, "ky", words_per_minute=120)
    fast, _ = speak(SENTENCE, "ky", words_per_minute=200)
    assert len(fast) < 0.75 * len(slow)
    low, _ = speak(SENTENCE, "ky", variant="m3")
    high, _ = speak(SENTENCE, "ky", variant="f2")
    assert not np.array_equal(low, high[: len(low)])


def test_phonemes_come_in_order_of_time() -> None:
    with Speaker("ky") as speaker:
        speech = speaker.say(SENTENCE)
    starts_s = [event.start_s for event in speech.events]
    assert starts_s == sorted(starts_s)
    assert 0 <= starts_s[0] < starts_s[-1] <= speech.duration_s
    assert [event.phoneme.strip("ˈˌ") for event in speech.events[:5]] == ["s", "ɑ", "l", "ɑ", "m"]


def test_long_names_of_languages_work() -> None:
    np.testing.assert_array_equal(speak("bonjour", "fr-fr")[0], speak("bonjour", "fr")[0])


def test_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    speak("бир", "ky")
    with pytest.raises(UserError):
        Speaker("xx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("voice", "message"),
    [
        (Voice("nobody"), "nobody"),
        (Voice(words_per_minute=20), "words_per_minute is 20"),
        (Voice(pitch=101), "pitch is 101"),
    ],
)
def test_an_impossible_voice_is_told(voice: Voice, message: str) -> None:
    with Speaker("ky") as speaker, pytest.raises(UserError, match=message):
        speaker.say(SENTENCE, voice)


def test_unknown_language_empty_text_and_closed_speaker_are_told() -> None:
    with pytest.raises(UserError, match="no language 'xx'"):
        Speaker("xx")
    speaker = Speaker("ky")
    with pytest.raises(UserError, match="nothing to say"):
        speaker.say("  ")
    speaker.close()
    with pytest.raises(UserError, match="closed"):
        speaker.say(SENTENCE)


def test_variants_are_listed() -> None:
    assert {"m3", "f2"} <= set(variants())
