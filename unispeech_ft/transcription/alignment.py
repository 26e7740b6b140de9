"""Phones that are known, placed in time: torchaudio's forced alignment on the model's posteriors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from unispeech_ft.data.audio import SAMPLE_RATE_HZ, BadClip, pack, read_audio, unpack
from unispeech_ft.data.labels import minimum_frames
from unispeech_ft.errors import UserError
from unispeech_ft.models.decoding import frame_outputs
from unispeech_ft.models.families import frame_grid
from unispeech_ft.models.saved import SavedModel
from unispeech_ft.scoring.forced import forced_segments
from unispeech_ft.scoring.greedy import Segment
from unispeech_ft.scoring.timing import phone_times
from unispeech_ft.transcription.transcripts import TimedPhone, Transcript


def log_posteriors(saved: SavedModel, path: Path) -> tuple[npt.NDArray[np.float32], float]:
    """An audio file → log posteriors `[T, V]`, and its duration in seconds.

    Raises:
        UserError: the file is missing or not audio.
    """
    try:
        waveform = unpack(*pack(read_audio(path)))
    except BadClip as reason:
        raise UserError(f"{path}: {reason}", remedy="give a recording of the sentence") from None
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
    labels = saved.tokenizer.encode(phones)
    frames, duration_s = log_posteriors(saved, path)
    needed, there = minimum_frames(labels), len(frames)
    if not labels or needed > there:
        raise UserError(
            f"{path}: {len(labels)} phones cannot be aligned with {there} frames",
            remedy="check that the text is this clip's",
        )
    return forced_segments(frames, labels, saved.tokenizer.blank_id), frames, duration_s


def align_file(saved: SavedModel, path: str | Path, phones: Sequence[str]) -> Transcript:
    """When each of the given phones was said, and how much the model believes it.

    Args:
        saved: see `models.saved.load_saved`.
        path: a recording that fits into memory, of one sentence or a few.
        phones: what was said, for example from `unispeech_ft.phonemize`.

    Raises:
        UserError: the recording cannot be read or is too short for the phones, or the model lacks a phone.
    """
    marks, posteriors, duration_s = forced_marks(saved, Path(path), phones)
    times = phone_times(marks, posteriors, frame_grid(saved.built.model.config), duration_s)
    return Transcript(
        str(path), duration_s, [TimedPhone(phone, *time) for phone, time in zip(phones, times, strict=True)]
    )
