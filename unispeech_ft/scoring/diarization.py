"""Diarization error rate: who speaks when, against a reference, with the speakers mapped as suits the hypothesis best.

Source: NIST RT-09 evaluation plan (md-eval); the collar is said as seconds on either side of a reference boundary.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from unispeech_ft.errors import UserError


class Segment(NamedTuple):
    """One speaker speaks from `start_s` to `end_s`."""

    speaker: str
    start_s: float
    end_s: float


@dataclass(frozen=True)
class DiarizationErrors:
    """Seconds of speech of each kind; speech of two at once counts twice.

    Attributes:
        total_s: of the reference.
    """

    missed_s: float
    false_alarm_s: float
    confused_s: float
    total_s: float

    @property
    def rate(self) -> float | None:
        """The error rate; None without speech in the reference."""
        wrong_s = self.missed_s + self.false_alarm_s + self.confused_s
        return wrong_s / self.total_s if self.total_s else None


def add_up(errors: Iterable[DiarizationErrors]) -> DiarizationErrors:
    """The errors of several recordings together."""
    sums = np.sum([[e.missed_s, e.false_alarm_s, e.confused_s, e.total_s] for e in errors] or [[0.0] * 4], axis=0)
    return DiarizationErrors(*map(float, sums))


def _presence(
    segments: Sequence[Segment], names: Sequence[str], bounds: npt.NDArray[np.float64]
) -> npt.NDArray[np.bool_]:
    """`[speakers, intervals]`, whether a speaker speaks between two neighbouring bounds."""
    found = np.zeros((len(names), len(bounds) - 1), dtype=bool)
    rows = {name: row for row, name in enumerate(names)}
    for speaker, start_s, end_s in segments:
        first, last = np.searchsorted(bounds, [start_s, end_s])
        found[rows[speaker], first:last] = True
    return found


def diarization_errors(
    reference: Sequence[Segment],
    hypothesis: Sequence[Segment],
    *,
    collar_s: float = 0.0,
    skip_overlap: bool = False,
) -> DiarizationErrors:
    """Compares two lists of segments, exactly, by the intervals between all their boundaries.

    Args:
        collar_s: so much on either side of each reference boundary is not scored.
        skip_overlap: what two or more speakers of the reference say at once is not scored.
    """
    spans = [item for item in (*reference, *hypothesis) if item.end_s > item.start_s]
    edges = [edge for item in reference for edge in (item.start_s, item.end_s)]
    collars = [edge + side * collar_s for edge in edges for side in (-1, 1)] if collar_s else []
    bounds = np.unique([*collars, *(edge for item in spans for edge in (item.start_s, item.end_s))])
    if len(bounds) < 2:
        return DiarizationErrors(0.0, 0.0, 0.0, 0.0)
    lengths_s, middles = np.diff(bounds), (bounds[1:] + bounds[:-1]) / 2
    scored = np.ones(len(lengths_s), dtype=bool)
    for edge in edges if collar_s else []:
        scored &= np.abs(middles - edge) > collar_s
    known = _presence([s for s in spans if s in set(reference)], sorted({s.speaker for s in reference}), bounds)
    found = _presence([s for s in spans if s in set(hypothesis)], sorted({s.speaker for s in hypothesis}), bounds)
    if skip_overlap:
        scored &= known.sum(axis=0) < 2
    weights = lengths_s * scored
    together = (known * weights) @ found.T.astype(float)
    rows, columns = linear_sum_assignment(together, maximize=True)
    right_s = float(together[rows, columns].sum())
    num_known, num_found = known.sum(axis=0), found.sum(axis=0)
    both_s = float(np.sum(weights * np.minimum(num_known, num_found)))
    return DiarizationErrors(
        float(np.sum(weights * np.maximum(num_known - num_found, 0))),
        float(np.sum(weights * np.maximum(num_found - num_known, 0))),
        both_s - right_s,
        float(np.sum(weights * num_known)),
    )


def read_rttm(path: Path, *, may_be_empty: bool = False) -> dict[str, list[Segment]]:
    """The segments of each recording in an RTTM file; lines of other types than SPEAKER are passed over.

    Args:
        may_be_empty: of a system that heard nobody.

    Raises:
        UserError: it cannot be read, a line is broken, or there is none.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read ({error})", remedy="name an RTTM file in UTF-8") from None
    found: dict[str, list[Segment]] = {}
    for number, line in enumerate(lines, start=1):
        fields = line.split()
        if not fields or fields[0] != "SPEAKER":
            continue
        try:
            recording, start_s, duration_s, speaker = fields[1], float(fields[3]), float(fields[4]), fields[7]
            if not (np.isfinite(start_s) and np.isfinite(duration_s) and start_s >= 0 and duration_s >= 0):
                raise ValueError
        except (IndexError, ValueError):
            raise UserError(
                f"{path.name}:{number} is no line of RTTM: {line[:80]!r}",
                remedy="SPEAKER RECORDING 1 START DURATION <NA> <NA> NAME <NA> <NA>",
            ) from None
        found.setdefault(recording, []).append(Segment(speaker, start_s, start_s + duration_s))
    if not found and not may_be_empty:
        raise UserError(f"{path} holds no SPEAKER line", remedy="name an RTTM file of a recording with speech")
    return found


def score_rttm(reference: str, hypothesis: str, collar_s: float, skip_overlap: bool, as_json: bool) -> str:
    """The DER of one RTTM file against another, over the recordings of the reference, for people or as JSON.

    Raises:
        UserError: a file cannot be used, or the hypothesis has recordings that the reference lacks.
    """
    if not (np.isfinite(collar_s) and collar_s >= 0):
        raise UserError(f"--collar {collar_s} is no length of time", remedy="give seconds, 0.25 for example")
    known, found = read_rttm(Path(reference)), read_rttm(Path(hypothesis))
    strangers = sorted(found.keys() - known.keys())
    if strangers:
        raise UserError(
            f"{hypothesis} has {len(strangers)} recordings that {reference} lacks ({strangers[0]} …)",
            remedy="score results of the same recordings",
        )
    errors = add_up(
        diarization_errors(segments, found.get(name, []), collar_s=collar_s, skip_overlap=skip_overlap)
        for name, segments in known.items()
    )
    if as_json:
        values = {**asdict(errors), "der": errors.rate, "recordings": len(known), "collar_s": collar_s}
        return json.dumps({**values, "overlap": "skipped" if skip_overlap else "scored"}, indent=2)
    if errors.rate is None:
        return "no speech is scored, so there is no DER"
    parts = (("missed", errors.missed_s), ("false alarm", errors.false_alarm_s), ("confusion", errors.confused_s))
    said = " + ".join(f"{name} {100 * seconds / errors.total_s:.4f}" for name, seconds in parts)
    return (
        f"DER {100 * errors.rate:.4f} %  ({said}; collar {collar_s:g} s on either side, overlap"
        f" {'skipped' if skip_overlap else 'scored'}; {len(known)} recordings, {errors.total_s / 60:.1f} min of speech)"
    )


def format_rttm(recordings: Mapping[str, Sequence[Segment]]) -> str:
    """RTTM, by recording and start."""
    return "".join(
        f"SPEAKER {name} 1 {item.start_s:.3f} {item.end_s - item.start_s:.3f} <NA> <NA> {item.speaker} <NA> <NA>\n"
        for name, segments in recordings.items()
        for item in sorted(segments, key=lambda item: (item.start_s, item.end_s, item.speaker))
    )


def segments_of(
    active: npt.NDArray[np.bool_], names: Sequence[str], frame_s: float, start_s: float = 0.0
) -> list[Segment]:
    """Runs of true values of each column as segments.

    Args:
        active: `[T, speakers]`.
        frame_s: of a frame.
        start_s: of the first.
    """
    found = []
    for column, name in enumerate(names):
        padded = np.concatenate([[False], active[:, column], [False]])
        changes = np.flatnonzero(padded[1:] != padded[:-1])
        found += [
            Segment(name, start_s + first * frame_s, start_s + last * frame_s)
            for first, last in zip(changes[::2].tolist(), changes[1::2].tolist(), strict=True)
        ]
    return sorted(found, key=lambda item: (item.start_s, item.speaker))
