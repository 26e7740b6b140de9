"""Boundary error against a known answer: synthetic speech, whose phone times espeak-ng itself reports.

Clips are made as the demo corpus makes them: silence before and after, noise, MP3. Shapes: `S` samples at 16 kHz, `N`
phones, `E` errors.
"""

from __future__ import annotations

import copy
import io
import tempfile
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from unispeech_ft.errors import UserError
from unispeech_ft.testing.prompts import Split, distinct_sentences, prompt_book
from unispeech_ft.testing.recording import CLIP_SAMPLE_RATE_HZ, as_recorded, silences
from unispeech_ft.testing.speech import Speaker, Speech, Voice
from unispeech_ft.testing.voices import voices
from unispeech_ft.transcription.textgrid import ENDING, TIER, write_tiers

SEED = 7
STRESS_MARKS = "ˈˌ"
SHORTEST_S = 1e-5


@dataclass(frozen=True)
class TimedClip:
    """A spoken clip: MP3 bytes, its phones, and when each of them really starts and ends, in seconds."""

    name: str
    encoded: bytes
    duration_s: float
    phones: list[str]
    times: list[tuple[float, float]]


@dataclass(frozen=True)
class BoundaryError:
    """How far boundaries lie from the truth, in milliseconds; `boundaries` is how many were compared."""

    median_ms: float
    p95_ms: float
    mean_ms: float
    boundaries: int


def true_times(speech: Speech, before_s: float) -> tuple[list[str], list[tuple[float, float]]]:
    """Phones and their times in a recording that begins `before_s` earlier; each ends where the next event starts."""
    ends = [*(event.start_s for event in speech.events[1:]), speech.duration_s]
    found = [
        (event.phoneme.strip(STRESS_MARKS), (before_s + event.start_s, before_s + end_s))
        for event, end_s in zip(speech.events, ends, strict=True)
        if event.phoneme
    ]
    return [phone for phone, _ in found], [times for _, times in found]


def timed_clips(language: str, split: Split, count: int) -> Iterator[TimedClip]:
    """Clips of the voices and the sentences of a split, dealt to the voices in turn.

    Raises:
        UserError: there are no prompts for the language.
    """
    return timed_sentences(language, split, distinct_sentences(prompt_book(language), split, SEED, count))


def timed_sentences(language: str, split: Split, texts: Sequence[str]) -> Iterator[TimedClip]:
    """Sentences in the voices of a split, dealt to them in turn.

    Args:
        language: espeak-ng's name.

    Raises:
        UserError: espeak-ng does not know the language.
    """
    for speaker, voice, number, sentence in in_turn(language, split, texts):
        random = np.random.default_rng([SEED, number])
        speech = speaker.say(sentence, replace(voice, pitch=voice.pitch + int(random.integers(-2, 3))))
        before, _ = silences(speech.sample_rate_hz, copy.deepcopy(random))
        encoded, duration_s = as_mp3(speech, random)
        phones, times = true_times(speech, before / speech.sample_rate_hz)
        yield TimedClip(f"{language}_{number:04d}", encoded, duration_s, phones, times)


def in_turn(language: str, split: Split, texts: Sequence[str]) -> Iterator[tuple[Speaker, Voice, int, str]]:
    """Sentences dealt to the voices of a split: who says it, in which voice, its number, and the sentence.

    Raises:
        UserError: espeak-ng does not know the language.
    """
    speakers = voices(split)
    sentences = list(enumerate(texts))
    for place, voice in enumerate(speakers):
        with Speaker(language) as speaker:
            for number, sentence in sentences[place :: len(speakers)]:
                yield speaker, voice, number, sentence


def as_mp3(speech: Speech, random: np.random.Generator) -> tuple[bytes, float]:
    """Speech as the demo corpus has it, with silence around and noise, and its duration in seconds."""
    import soundfile

    waveform = as_recorded(speech.waveform, speech.sample_rate_hz, random)
    file = io.BytesIO()
    soundfile.write(file, waveform, CLIP_SAMPLE_RATE_HZ, format="MP3")
    return file.getvalue(), len(waveform) / CLIP_SAMPLE_RATE_HZ


class Encoded(Protocol):
    """A clip with its phones."""

    @property
    def name(self) -> str: ...

    @property
    def encoded(self) -> bytes: ...

    @property
    def phones(self) -> list[str]: ...


Clip = TypeVar("Clip", bound=Encoded)


def as_files(clips: Iterable[Clip], phones: Collection[str]) -> Iterator[tuple[Clip, Path]]:
    """Each clip with a file of it, while its turn lasts; those with a phone that a model lacks are left out.

    Args:
        phones: of the model.
    """
    with tempfile.TemporaryDirectory() as folder:
        for clip in clips:
            if set(clip.phones) <= set(phones):
                path = Path(folder) / f"{clip.name}.mp3"
                path.write_bytes(clip.encoded)
                yield clip, path


def write_timed_clips(folder: Path, language: str, split: Split, count: int) -> None:
    """Writes `timed_clips` as `audio/NAME.mp3` with `phones/NAME.TextGrid`; phones of no length are left out.

    Raises:
        UserError: there are no prompts for the language, or a file cannot be written.
    """
    (folder / "audio").mkdir(parents=True, exist_ok=True)
    for clip in timed_clips(language, split, count):
        (folder / "audio" / f"{clip.name}.mp3").write_bytes(clip.encoded)
        timed = zip(clip.phones, clip.times, strict=True)
        spans = [(start_s, end_s, phone) for phone, (start_s, end_s) in timed if end_s - start_s > SHORTEST_S]
        duration_s = max(clip.duration_s, clip.times[-1][1])
        write_tiers(folder / "phones" / f"{clip.name}{ENDING}", duration_s, {TIER: spans})


def evenly(count: int, duration_s: float) -> list[tuple[float, float]]:
    """The untrained guess: phones of equal length from the start of the clip to its end."""
    edges = np.linspace(0.0, duration_s, count + 1).tolist()
    return list(zip(edges[:-1], edges[1:], strict=True))


def boundary_errors_ms(
    found: Sequence[tuple[float, float]], true: Sequence[tuple[float, float]]
) -> NDArray[np.float64]:
    """Distances of all starts and ends of the same phones, `[E]`."""
    if len(found) != len(true):
        raise ValueError(f"{len(found)} found times and {len(true)} true ones are not of the same phones")
    pairs = np.array([found, true], dtype=np.float64).reshape(2, -1)
    errors_ms: NDArray[np.float64] = 1000 * np.abs(pairs[0] - pairs[1])
    return errors_ms


def boundary_error(errors_ms: Iterable[NDArray[np.float64]]) -> BoundaryError:
    """Median, 95th percentile and mean over all clips.

    Raises:
        UserError: there is nothing to compare.
    """
    every = np.concatenate([np.zeros(0), *errors_ms])
    if not len(every):
        raise UserError("no phone was recognised rightly", remedy="use a trained model of this language")
    median, p95 = np.percentile(every, [50, 95])
    return BoundaryError(float(median), float(p95), float(every.mean()), len(every))
