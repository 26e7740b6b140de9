"""The boundary error of a trained model on speech whose phone times are known, beside that of an untrained guess."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from unispeech_ft.errors import UserError
from unispeech_ft.models.families import frame_grid
from unispeech_ft.models.saved import SavedModel
from unispeech_ft.scoring.alignment import align
from unispeech_ft.scoring.greedy import Segment
from unispeech_ft.scoring.timing import FrameGrid
from unispeech_ft.testing.known_times import (
    BoundaryError,
    TimedClip,
    as_files,
    boundary_error,
    boundary_errors_ms,
    evenly,
)
from unispeech_ft.transcription.alignment import align_file, forced_marks
from unispeech_ft.transcription.timed import Transcript
from unispeech_ft.transcription.transcripts import transcribe_files

Times = list[tuple[float, float]]
Rule = Callable[[Sequence[Segment], FrameGrid, float], Times]

FORCED, GREEDY, GUESS = "forced alignment", "greedy path", "phones spread evenly"


def marked_frames(marks: Sequence[Segment], grid: FrameGrid, duration_s: float) -> Times:
    """The frames that mark a phone, and nothing around them."""
    return [(grid.edge_s(mark.start_frame), grid.edge_s(mark.end_frame)) for mark in marks]


def midpoints(marks: Sequence[Segment], grid: FrameGrid, duration_s: float) -> Times:
    """Boundaries half-way between the marked frames of neighbours, the clip's ends outside."""
    gaps = zip(marks, marks[1:], strict=False)
    cuts = [(grid.edge_s(first.end_frame) + grid.edge_s(second.start_frame)) / 2 for first, second in gaps]
    return list(zip([0.0, *cuts], [*cuts, duration_s], strict=True))


ALTERNATIVES: dict[str, Rule] = {"forced, marked frames only": marked_frames, "forced, midpoints": midpoints}


def greedy_errors(clip: TimedClip, transcript: Transcript) -> NDArray[np.float64]:
    """Errors of the phones that were recognised rightly."""
    heard = [(item.start_s, item.end_s) for item in transcript.phones]
    pairs = align(clip.phones, [item.phone for item in transcript.phones]).pairs
    said, found = iter(clip.times), iter(heard)
    right = []
    for first, second in pairs:
        true = next(said) if first is not None else None
        time = next(found) if second is not None else None
        if first == second and true and time:
            right.append((time, true))
    return boundary_errors_ms([time for time, _ in right], [true for _, true in right])


def measure(saved: SavedModel, clips: Iterable[TimedClip]) -> dict[str, BoundaryError]:
    """Boundary error by way of alignment; the greedy path's is of the phones that it has right.

    Args:
        saved: a model of the clips' language.
        clips: see `known_times.timed_clips`; those with a phone that the model lacks are left out.

    Raises:
        UserError: nothing could be compared.
    """
    errors: dict[str, list[NDArray[np.float64]]] = defaultdict(list)
    grid = frame_grid(saved.built.model.config)
    for clip, path in as_files(clips, saved.tokenizer.phones):
        aligned = [(item.start_s, item.end_s) for item in align_file(saved, path, clip.phones).phones]
        errors[FORCED].append(boundary_errors_ms(aligned, clip.times))
        (transcript,) = transcribe_files(saved, [path])
        if isinstance(transcript, UserError):
            raise transcript
        errors[GREEDY].append(greedy_errors(clip, transcript))
        errors[GUESS].append(boundary_errors_ms(evenly(len(clip.phones), clip.duration_s), clip.times))
        marks, _, duration_s = forced_marks(saved, path, clip.phones)
        for name, rule in ALTERNATIVES.items():
            errors[name].append(boundary_errors_ms(rule(marks, grid, duration_s), clip.times))
    return {name: boundary_error(errors[name]) for name in (FORCED, GREEDY, GUESS, *ALTERNATIVES)}
