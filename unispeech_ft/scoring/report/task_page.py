"""The report of any task: its figures, learning curves, other curves, and for classes a matrix that plays its clips."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from unispeech_ft.errors import first_line, warn
from unispeech_ft.scoring.per import UtteranceScore
from unispeech_ft.scoring.report.data import Recordings, align_all, kept_utterances, page_data, sounds
from unispeech_ft.scoring.report.figures import Curve
from unispeech_ft.scoring.report.page import page_script, part, templates


@dataclass(frozen=True)
class Listened:
    """Sound to listen to beside a line of text: what it is, and the encoded audio as base64 of an MP3."""

    said: str
    mp3: str


TimelineRow = tuple[Literal["known", "found"], str, list[tuple[float, float]]]


@dataclass(frozen=True)
class Timeline:
    """Who speaks when in a recording, known and found.

    Attributes:
        rows: each `known` or `found`, the speaker, and the spans in seconds.
    """

    name: str
    duration_s: float
    rows: list[TimelineRow]


@dataclass(frozen=True)
class TaskReport:
    """What a page shows, in plain text; all of it is escaped.

    Attributes:
        lead: the figure, `EER 7.31 %`.
        said: what it means, with its interval.
        figures: names and values.
        curves: drawn one beside the other.
        scores: clips with one class each as reference and hypothesis, for the matrix.
        recordings: their sound.
        timelines: of recordings.
        sounds: to listen to.
    """

    title: str
    lead: str
    said: str
    figures: Sequence[tuple[str, str]]
    curves: Sequence[Curve] = ()
    scores: Sequence[UtteranceScore] = ()
    recordings: Recordings | None = None
    timelines: Sequence[Timeline] = ()
    sounds: Sequence[Listened] = field(default_factory=tuple)


def task_html(report: TaskReport) -> str:
    """A whole HTML document; its policy lets no other script run and nothing be fetched."""
    from markupsafe import Markup

    aligned = align_all(report.scores, report.recordings)
    kept = kept_utterances(aligned)
    script = page_script() if report.scores else ""
    return (
        templates()
        .get_template("task.html")
        .render(
            report=report,
            data=page_data(aligned, kept, dict(sounds(kept, report.recordings)) if report.recordings else {}),
            style=Markup(part("style.css")),
            script=Markup(script),
            script_sha256=base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii"),
        )
    )


def write_task_report(path: Path, report: TaskReport) -> None:
    """Writes `task_html`. The report shows a result that is written already: whatever fails costs a warning."""
    try:
        path.write_text(task_html(report), encoding="utf-8")
    except Exception as error:
        warn(f"{path} was not written ({type(error).__name__}: {first_line(error)})")
