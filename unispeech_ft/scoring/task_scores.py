"""What the figures of the tasks beside phone recognition are made of, read back from the files of a scored split.

From them a published figure is made again, and two runs are compared by drawing the same units of both.
`U` units (speakers, recordings, mixtures or clips), `N` trials.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from unispeech_ft.errors import UserError
from unispeech_ft.files import parse_json
from unispeech_ft.scoring.bootstrap import bootstrap_units
from unispeech_ft.scoring.diarization import diarization_errors, read_rttm
from unispeech_ft.scoring.summary import read_hypotheses
from unispeech_ft.scoring.verification import Floats, drawn_eer

TRIALS, MIXTURES, HYPOTHESES, SUMMARY = "trials.jsonl", "mixtures.jsonl", "hypotheses.jsonl", "summary.json"
KNOWN, FOUND = "reference.rttm", "hypothesis.rttm"


@dataclass(frozen=True)
class Sums:
    """A figure that is a quotient of sums over units.

    Attributes:
        parts, wholes: `[U]`.
    """

    parts: Floats
    wholes: Floats

    @property
    def num_units(self) -> int:
        return len(self.parts)

    def figure(self, times: Floats) -> float | None:
        """The figure where each unit counts so often, `[U]`; None where there is none."""
        whole = float(times @ self.wholes)
        return float(times @ self.parts) / whole if whole else None


@dataclass(frozen=True)
class ScoredTrials:
    """An EER.

    Attributes:
        scores: `[N]`.
        targets: `[N]`, whether a trial is of one speaker.
        sides: `[N, 2]`, the units of each trial.
    """

    scores: Floats
    targets: np.ndarray
    sides: np.ndarray

    @property
    def num_units(self) -> int:
        return int(self.sides.max()) + 1

    def figure(self, times: Floats) -> float | None:
        """As `Sums.figure`; a trial of two speakers counts as often as the product says."""
        return drawn_eer(self.scores, self.targets, self.sides, times)


@dataclass(frozen=True)
class TaskScores:
    """A scored split.

    Attributes:
        key: of the figure in `summary.json`.
        name: of it, for people.
        unit: `%` of a fraction, or dB.
        rising: whether more is better.
        drawn: what a unit is.
        known: SHA-256 of what was to be found.
    """

    key: str
    name: str
    unit: Literal["%", "dB"]
    rising: bool
    drawn: str
    known: str
    scores: Sums | ScoredTrials

    @property
    def figure(self) -> float | None:
        """The figure of the whole split."""
        return self.scores.figure(np.ones(self.scores.num_units))


def read_task_scores(folder: Path) -> TaskScores | None:
    """The scores in the folder of a split; None where it holds those of phones, or none.

    Raises:
        UserError: a file cannot be read.
    """
    summary = _object(folder / SUMMARY) if (folder / SUMMARY).is_file() else {}
    if (folder / TRIALS).is_file():
        return _trials(folder / TRIALS)
    if (folder / KNOWN).is_file():
        return _recordings(folder, summary)
    if (folder / MIXTURES).is_file():
        return _mixtures(folder / MIXTURES, summary)
    return _clips(folder / HYPOTHESES) if "accuracy" in summary else None


def _digest(lines: Sequence[object]) -> str:
    return hashlib.sha256(json.dumps(lines).encode()).hexdigest()


def _object(path: Path) -> dict[str, Any]:
    try:
        found = parse_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error})", remedy="score the run again") from None
    if not isinstance(found, dict):
        raise UserError(f"{path} is no JSON object", remedy="score the run again")
    return found


def _lines(path: Path, fields: dict[str, type | tuple[type, ...]]) -> list[dict[str, Any]]:
    """The objects of a file, a line each, with at least these fields."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror})", remedy="score the run again") from None
    found: list[dict[str, Any]] = []
    for number, line in enumerate(lines, start=1):
        try:
            held = parse_json(line)
        except ValueError:
            held = None
        if not isinstance(held, dict) or not all(isinstance(held.get(key), kind) for key, kind in fields.items()):
            wanted = ", ".join(fields)
            raise UserError(f"{path}:{number} lacks one of {wanted}", remedy="score the run again")
        found.append(held)
    if not found:
        raise UserError(f"{path} is empty", remedy="score the run again")
    return found


def _trials(path: Path) -> TaskScores:
    lines = _lines(path, {"enrol": str, "test": str, "target": bool, "score": (int, float)})
    told = all(isinstance(line.get("speakers"), list) and len(line["speakers"]) == 2 for line in lines)
    sides = [line["speakers"] if told else [line["enrol"], line["test"]] for line in lines]
    places = {name: place for place, name in enumerate(dict.fromkeys(str(name) for pair in sides for name in pair))}
    targets = np.array([line["target"] for line in lines])
    if targets.all() or not targets.any():
        raise UserError(f"{path}: all trials are of one kind, which has no EER", remedy="score the run again")
    scores = ScoredTrials(
        np.array([float(line["score"]) for line in lines]),
        targets,
        np.array([[places[str(name)] for name in pair] for pair in sides]),
    )
    known = _digest(sorted([line["enrol"], line["test"], line["target"]] for line in lines))
    return TaskScores("eer", "EER", "%", False, "speaker" if told else "clip", known, scores)


def _recordings(folder: Path, summary: dict[str, Any]) -> TaskScores:
    collar_s = summary.get("collar_s", 0.0)
    known, found = read_rttm(folder / KNOWN), read_rttm(folder / FOUND, may_be_empty=True)
    errors = [diarization_errors(known[name], found.get(name, []), collar_s=float(collar_s)) for name in sorted(known)]
    wrong_s = np.array([item.missed_s + item.false_alarm_s + item.confused_s for item in errors])
    said = [[name, *item] for name in sorted(known) for item in sorted(known[name])]
    scores = Sums(wrong_s, np.array([item.total_s for item in errors]))
    return TaskScores("der", "DER", "%", False, "recording", _digest([collar_s, said]), scores)


def _mixtures(path: Path, summary: dict[str, Any]) -> TaskScores:
    lines = sorted(_lines(path, {"id": str, "si_sdri_db": (int, float)}), key=lambda line: str(line["id"]))
    values = np.array([float(line["si_sdri_db"]) for line in lines])
    known = _digest([summary.get("mixtures_sha256"), [line["id"] for line in lines]])
    return TaskScores("si_sdri_db", "SI-SDRi", "dB", True, "mixture", known, Sums(values, np.ones(len(values))))


def _clips(path: Path) -> TaskScores:
    clips = read_hypotheses(path)
    drawn, groups = bootstrap_units(clips)
    right = np.array([float(sum(not clip.errors for clip in group)) for group in groups])
    scores = Sums(right, np.array([float(len(group)) for group in groups]))
    known = _digest(sorted([clip.id, clip.reference] for clip in clips))
    return TaskScores("accuracy", "accuracy", "%", True, drawn, known, scores)
