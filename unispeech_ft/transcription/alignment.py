"""Phones that are known, placed in time: forced alignment on the model's posteriors."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

import numpy as np
import numpy.typing as npt

from unispeech_ft.data.audio import SAMPLE_RATE_HZ, BadClip, Waveform, pack, read_audio, unpack
from unispeech_ft.data.labels import minimum_frames
from unispeech_ft.errors import UserError
from unispeech_ft.models.decoding import frame_outputs
from unispeech_ft.models.saved import SavedModel
from unispeech_ft.scoring.alternatives import likeliest, mean_posteriors
from unispeech_ft.scoring.forced import forced_segments
from unispeech_ft.scoring.greedy import Segment
from unispeech_ft.transcription.timed import TimedPhone, TimedWord, Transcript


def log_posteriors(
    saved: SavedModel, path: Path, waveform: Waveform | None = None, channel: int | None = None
) -> tuple[npt.NDArray[np.float32], float]:
    """An audio file, or its waveform → log posteriors `[T, V]`, and its duration in seconds.

    Raises:
        UserError: the file is missing or not audio.
    """
    try:
        waveform = unpack(*pack(read_audio(path, channel))) if waveform is None else waveform
    except BadClip as reason:
        raise UserError(f"{path}: {reason}", remedy=reason.remedy or "give a recording of the sentence") from None
    model = saved.built.model
    (outputs,) = frame_outputs(model, [saved.built.front_end(waveform).cpu().numpy()])
    return outputs.log_posteriors, len(waveform) / SAMPLE_RATE_HZ


def forced_marks(
    saved: SavedModel, path: Path, phones: Sequence[str]
) -> tuple[list[Segment], npt.NDArray[np.float32], float]:
    """The best CTC path that says the given phones: the frames that mark each, log posteriors `[T, V]`, duration in s.

    Raises:
        UserError: as in `align_file`.
    """
    frames, duration_s = log_posteriors(saved, path)
    return _marks(saved, path, phones, frames), frames, duration_s


def _marks(
    saved: SavedModel, path: str | Path, phones: Sequence[str], frames: npt.NDArray[np.float32]
) -> list[Segment]:
    try:
        labels = saved.tokenizer.encode(phones)
    except UserError as fault:
        raise UserError(f"{path}: {fault.what}", remedy="give phones that the model knows") from None
    needed, there = minimum_frames(labels), len(frames)
    if not labels or needed > there:
        raise UserError(
            f"{path}: {len(labels)} phones cannot be aligned with {there} frames",
            remedy="check that the text is this clip's",
        )
    return forced_segments(frames, labels, saved.tokenizer.blank_id)


# Words with their possible pronunciations, the preferred one first; phones of no known word stand under "".
Words = Sequence[tuple[str, Sequence[Sequence[str]]]]
MOST_VARIANTS = 24


def align_words(
    saved: SavedModel,
    path: str | Path,
    words: Words,
    *,
    waveform: Waveform | None = None,
    channel: int | None = None,
    alternatives: int = 0,
) -> Transcript:
    """When each word and phone was said; of several pronunciations of a word, the one that fits the sound best.

    Args:
        saved: see `models.saved.load_saved`.
        path: a recording of the sentence.
        words: see `phonemes.g2p.pronounce_words`.
        waveform: `[S]` at 16 kHz, the recording where it is decoded already.
        channel: of a recording with several, from 0; None for the mean of all.
        alternatives: so many other phones are given with each; see `scoring.alternatives`.

    Raises:
        UserError: as in `align_file`.
    """
    frames, duration_s = log_posteriors(saved, Path(path), waveform, channel)
    return align_frames(saved, path, words, frames, duration_s, alternatives)


def align_frames(
    saved: SavedModel,
    path: str | Path,
    words: Words,
    frames: npt.NDArray[np.float32],
    duration_s: float,
    alternatives: int = 0,
) -> Transcript:
    """`align_words` of a recording that has passed the model.

    Args:
        frames, duration_s: of `log_posteriors`.
        alternatives: as of `align_words`.

    Raises:
        UserError: it is too short for the phones, or the model lacks a phone.
    """
    chosen = [list(said[0]) for _, said in words]
    best = _aligned(saved, path, chosen, frames, duration_s, alternatives)
    tried = 0
    for place, (_, said) in enumerate(words):
        for other in said[1:]:
            if tried == MOST_VARIANTS or any(phone not in saved.tokenizer.ids for phone in other):
                continue
            tried += 1
            variant = [*chosen[:place], list(other), *chosen[place + 1 :]]
            found = _aligned(saved, path, variant, frames, duration_s, alternatives)
            if _fit(found) > _fit(best):
                chosen, best = variant, found
    ends = list(accumulate(map(len, chosen)))
    spans = [(end - len(phones), end - 1) for end, phones in zip(ends, chosen, strict=True)]
    timed = [
        TimedWord(word, best[first].start_s, best[last].end_s)
        for (word, _), (first, last) in zip(words, spans, strict=True)
        if word and last >= first
    ]
    return Transcript(str(path), duration_s, best, timed)


def _fit(phones: Sequence[TimedPhone]) -> float:
    """How well phones fit the sound: the mean logarithm of their posteriors."""
    return float(np.mean(np.log([max(item.posterior, 1e-9) for item in phones])))


def _aligned(
    saved: SavedModel,
    path: str | Path,
    words: Sequence[Sequence[str]],
    frames: npt.NDArray[np.float32],
    duration_s: float,
    alternatives: int,
) -> list[TimedPhone]:
    phones = [phone for word in words for phone in word]
    marks = _marks(saved, path, phones, frames)
    times = saved.phone_times(marks, frames, duration_s)
    means = mean_posteriors(marks, frames, saved.tokenizer) if alternatives else [{} for _ in marks]
    return [
        TimedPhone(phone, *time, likeliest(others, phone, alternatives))
        for phone, time, others in zip(phones, times, means, strict=True)
    ]


def align_file(saved: SavedModel, path: str | Path, phones: Sequence[str], channel: int | None = None) -> Transcript:
    """When each of the given phones was said, and how much the model believes it.

    Args:
        saved: see `models.saved.load_saved`.
        path: a recording that fits into memory, of one sentence or a few.
        phones: what was said, for example from `unispeech_ft.phonemize`.
        channel: of a recording with several, from 0; None for the mean of all.

    Raises:
        UserError: the recording cannot be read or is too short for the phones, or the model lacks a phone.
    """
    return align_words(saved, path, [("", [phones])], channel=channel)
