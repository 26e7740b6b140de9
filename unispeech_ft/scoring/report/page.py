"""The page put together from its templates."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from unispeech_ft.errors import first_line, warn
from unispeech_ft.scoring.ladder import Rung, ladder_with_features
from unispeech_ft.scoring.per import UtteranceScore
from unispeech_ft.scoring.report.data import Recordings, align_all, kept_utterances, page_data, shorten, sounds, worst
from unispeech_ft.scoring.report.figures import Curves, draw_curves, draw_scale
from unispeech_ft.scoring.report.groups import Group, by_duration, by_speaker, collapse_checks, phone_errors
from unispeech_ft.scoring.summary import Summary

if TYPE_CHECKING:
    from jinja2 import Environment

SCRIPTS = ("sound.js", "picture.js", "matrix.js", "main.js")


def report_html(
    scores: Sequence[UtteranceScore],
    summary: Summary,
    title: str,
    *,
    recordings: Recordings | None = None,
    curves: Curves | None = None,
    calibration_error: float | None = None,
) -> str:
    """A page with the PER and its evidence, what was confused, and where; under 5 MB whatever the size of the result.

    Args:
        scores: the utterances; they are aligned again to show which phones were wrong.
        summary: of the same utterances.
        title: of the page, in plain text.
        recordings: the sound, and when the phones were said; without it the page is silent.
        curves: of the training.
        calibration_error: of the confidence of transcripts, a fraction.

    Returns:
        A whole HTML document; everything that came from outside is escaped, and its policy lets no other script run
        and nothing be fetched.
    """
    from markupsafe import Markup

    aligned = align_all(scores, recordings)
    kept = kept_utterances(aligned)
    floor = [] if summary.reference_floor is None else [Rung("reference floor", summary.reference_floor)]
    script = page_script()
    own_style = Markup(part("style.css"))  # nosec B704  # a file of this package
    own_script = Markup(script)  # nosec B704  # likewise
    return (
        templates()
        .get_template("page.html")
        .render(
            title=title,
            summary=summary,
            calibration_error=calibration_error,
            scale=draw_scale(summary),
            checks=collapse_checks(scores, summary),
            rungs=[*ladder_with_features(scores), *floor],
            curves=draw_curves(curves) if curves else [],
            phones=phone_errors(pair for item in aligned for pair in item.pairs),
            speakers=by_speaker(scores),
            durations=by_duration(scores),
            worst=worst(aligned),
            data=page_data(aligned, kept, dict(sounds(kept, recordings)) if recordings else {}),
            style=own_style,
            script=own_script,
            script_sha256=base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii"),
        )
    )


def write_report(
    path: Path,
    scores: Sequence[UtteranceScore],
    summary: Summary,
    title: str,
    *,
    recordings: Recordings | None = None,
    curves: Curves | None = None,
    calibration_error: float | None = None,
) -> None:
    """Writes `report_html`. The report shows a result that is written already: whatever fails costs a warning."""
    try:
        page = report_html(
            scores, summary, title, recordings=recordings, curves=curves, calibration_error=calibration_error
        )
        path.write_text(page, encoding="utf-8")
    except Exception as error:
        warn(f"{path} was not written ({type(error).__name__}: {first_line(error)})")


def percent(fraction: float | None, digits: int = 2) -> str | None:
    return None if fraction is None else f"{100 * fraction:.{digits}f} %"


def highest(rows: Iterable[Rung | Group]) -> float:
    return max((row.per or 0.0 for row in rows), default=0.0)


def page_script() -> str:
    """The script of a report, which reads its data from the page."""
    read = 'const data = JSON.parse(document.getElementById("data").textContent);'
    return "\n".join(["", '"use strict";', read, *map(part, SCRIPTS)])


def part(name: str) -> str:
    """A file that goes into the page."""
    return files("unispeech_ft.scoring.report").joinpath(name).read_text(encoding="utf-8")


@cache
def templates() -> Environment:
    """The one environment of the report: it escapes everything, and a name that nobody gave is an error."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("unispeech_ft.scoring.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "shorten": shorten, "tenth": "{:.1f}".format}
    environment.globals["highest"] = highest
    environment.policies["json.dumps_kwargs"] = {"ensure_ascii": False, "separators": (",", ":")}
    return environment
