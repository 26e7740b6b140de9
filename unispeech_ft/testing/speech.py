"""Synthetic speech for tests and demos: espeak-ng through ctypes, no system package.

Shapes: ``S`` samples at ``SAMPLE_RATE_HZ``.

Nothing this module returns is a human voice. It is good for proving that a pipeline learns, not for
claims about recognition of people.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from unispeech_ft.errors import UserError
from unispeech_ft.testing.espeak import (
    PARAMETER_PITCH,
    PARAMETER_RANGE,
    PARAMETER_RATE,
    SAMPLE_RATE_HZ,
    Library,
    variants,
)

__all__ = ["PhonemeEvent", "SAMPLE_RATE_HZ", "Speaker", "Speech", "Voice", "speak", "variants"]

WORDS_PER_MINUTE_LIMITS = (80, 450)
PITCH_LIMITS = (0, 100)


@dataclass(frozen=True)
class Voice:
    """How a sentence is spoken.

    Attributes:
        variant: name of an espeak-ng variant such as ``m3`` or ``f2``; None is the plain voice.
        words_per_minute: speed, 80 to 450; espeak's own default is 175.
        pitch: 0 to 100 on espeak's scale; its default is 50.
        pitch_range: 0 (monotone) to 100; its default is 50.
    """

    variant: str | None = None
    words_per_minute: int = 160
    pitch: int = 50
    pitch_range: int = 50


@dataclass(frozen=True)
class PhonemeEvent:
    """One sound as espeak-ng produced it, from ``start_s`` on.

    ``phoneme`` is espeak's own notation with stress marks, empty for a pause. Italian doubled
    consonants come without their length mark.
    """

    phoneme: str
    start_s: float


@dataclass(frozen=True)
class Speech:
    """A spoken sentence: ``waveform`` float32 ``[S]`` in −1…1 at 22,050 Hz, and its phonemes in time."""

    waveform: NDArray[np.float32]
    events: tuple[PhonemeEvent, ...]
    sample_rate_hz: int = SAMPLE_RATE_HZ

    @property
    def duration_s(self) -> float:
        return len(self.waveform) / self.sample_rate_hz


class Speaker:
    """Speaks one language with a private copy of the espeak-ng library.

    The library keeps its state in global variables, and what it says depends a little on what it said
    before. So each speaker loads its own copy: the same calls in the same order on a fresh speaker
    give the same samples. A speaker is not to be shared between threads.

    Example:
        >>> with Speaker("ky") as speaker:
        ...     speech = speaker.say("Салам, дос!", Voice(variant="f2"))

    Args:
        language: espeak-ng's name of a language, such as ``ky`` or ``fr``.

    Raises:
        UserError: espeak-ng has no such language.
    """

    def __init__(self, language: str) -> None:
        self._library = Library()
        base_voice = self._library.voice_identifier(language)
        if base_voice is None:
            self.close()
            raise UserError(
                f"espeak-ng has no language {language!r}",
                remedy="use one of its language names, for example ky, fr-fr, es, it",
            )
        self._base_voice = base_voice

    def __enter__(self) -> Speaker:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Free the library copy and its temporary folder; further calls of ``say`` are refused."""
        self._library.close()

    def say(self, text: str, voice: Voice = Voice()) -> Speech:
        """Speak ``text``.

        Args:
            text: any text in the speaker's language; digits are read as numbers.
            voice: variant, speed in words a minute, and pitch.

        Returns:
            The waveform and its phonemes in time.

        Raises:
            UserError: an unknown variant, a value out of range, nothing to say, or a closed speaker.
        """
        if not self._library.is_open:
            raise UserError("this speaker is closed", remedy="make a new Speaker")
        _check_voice(voice)
        self._library.set_voice(f"{self._base_voice}+{voice.variant}" if voice.variant else self._base_voice)
        self._library.set_parameter(PARAMETER_RATE, voice.words_per_minute)
        self._library.set_parameter(PARAMETER_PITCH, voice.pitch)
        self._library.set_parameter(PARAMETER_RANGE, voice.pitch_range)
        samples, phonemes = self._library.synthesize(text)
        if not any(phoneme for phoneme, _ in phonemes):
            raise UserError(f"nothing to say in {text!r}", remedy="give a text with letters or digits")
        events = tuple(PhonemeEvent(name.rstrip("-"), start / SAMPLE_RATE_HZ) for name, start in phonemes)
        return Speech(samples.astype(np.float32) / np.float32(32768), events)


def speak(
    text: str,
    language: str,
    *,
    variant: str | None = None,
    words_per_minute: int = 160,
    pitch: int = 50,
) -> tuple[NDArray[np.float32], int]:
    """Speak one sentence with a synthetic voice; the same arguments give the same samples.

    Example:
        >>> waveform, sample_rate_hz = speak("Салам, дос!", "ky", variant="f2")

    Args:
        text: the sentence; digits are read as numbers.
        language: espeak-ng's name of a language, such as ``ky``.
        variant: one of ``variants()``, or None for the plain voice.
        words_per_minute: speed, 80 to 450.
        pitch: 0 to 100.

    Returns:
        A float32 waveform ``[S]`` in −1…1, and its sample rate in Hz (22,050).

    Raises:
        UserError: an unknown language or variant, a value out of range, or nothing to say.
    """
    with Speaker(language) as speaker:
        speech = speaker.say(text, Voice(variant, words_per_minute, pitch))
    return speech.waveform, speech.sample_rate_hz


def _check_voice(voice: Voice) -> None:
    if voice.variant is not None and voice.variant not in variants():
        raise UserError(
            f"espeak-ng has no voice variant {voice.variant!r}",
            remedy="use a name of unispeech_ft.testing.speech.variants(), for example m3 or f2",
        )
    for name, value, (low, high) in (
        ("words_per_minute", voice.words_per_minute, WORDS_PER_MINUTE_LIMITS),
        ("pitch", voice.pitch, PITCH_LIMITS),
        ("pitch_range", voice.pitch_range, PITCH_LIMITS),
    ):
        if not low <= value <= high:
            raise UserError(f"{name} is {value}", remedy=f"give a whole number from {low} to {high}")
