"""The page put together from its templates."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from typing import Any

from unispeech_ft.scoring.ladder import has_features, ladder, panphon_features
from unispeech_ft.scoring.per import UtteranceScore
from unispeech_ft.scoring.report import sections
from unispeech_ft.scoring.report.data import Recordings, align_all, kept_utterances, page_data, sounds, worst
from unispeech_ft.scoring.report.figures import Curves
from unispeech_ft.scoring.report.groups import by_duration, by_speaker, collapse_checks, phone_errors
from unispeech_ft.scoring.summary import Summary

SCRIPTS = ("sound.js", "picture.js", "matrix.js", "main.js")


def report_html(
    scores: Sequence[UtteranceScore],
    summary: Summary,
    title: str,
    *,
    recordings: Recordings | None = None,
    curves: Curves | None = None,
) -> str:
    """A page with the PER and its evidence, what was confused, and where; under 5 MB whatever the size of the result.

    Args:
        scores: the utterances; they are aligned again to show which phones were wrong.
        summary: of the same utterances.
        title: of the page, in plain text.
        recordings: the sound, and when the phones were said; without it the page is silent.
        curves: of the training.

    Returns:
        A whole HTML document; everything that came from outside is escaped, and its policy lets no other script run
        and nothing be fetched.
    """
    aligned = align_all(scores, recordings)
    kept = kept_utterances(aligned)
    sound = dict(sounds(kept, recordings)) if recordings else {}
    places = {item.score.id: place for place, item in enumerate(kept)}
    rungs = ladder(scores, panphon_features() if has_features() else None)
    body = [
        f"<h1>{escape(title)}</h1>",
        sections.banner(summary),
        sections.headline(summary),
        sections.checks_section(collapse_checks(scores, summary)),
        sections.ladder_section(rungs, summary.reference_floor),
        sections.curves_section(curves),
        sections.confusion_section(bool(sound)),
        sections.phone_section(phone_errors(pair for item in aligned for pair in item.pairs)),
        sections.group_section("Errors by speaker", "Speaker", by_speaker(scores)),
        sections.group_section("Errors by duration", "Duration", by_duration(scores)),
        sections.worst_section(worst(aligned), places, sound),
        f"<section><h2>How it was scored</h2><p>{escape(summary.scoring)}</p>"
        f'<p class="soft">Reference SHA-256 <code>{escape(summary.reference_sha256)}</code></p></section>',
    ]
    return _filled(title, "\n".join(part for part in body if part), page_data(aligned, kept, sound))


def _filled(title: str, body: str, data: dict[str, Any]) -> str:
    folder = files(__package__ or "unispeech_ft.scoring.report")
    script = "\n".join(folder.joinpath(name).read_text(encoding="utf-8") for name in SCRIPTS)
    script = f'\n"use strict";\n{script}'
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
    # Within a script element only `<` could end it or open a comment.
    embedded = json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    values = {
        "title": escape(title),
        "policy": f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; img-src data:",
        "style": folder.joinpath("style.css").read_text(encoding="utf-8"),
        "script": script,
        "data": embedded,
        "body": body,
    }
    first, *rest = folder.joinpath("page.html").read_text(encoding="utf-8").split("{{")
    filled = [first]
    for part in rest:
        name, _, after = part.partition("}}")
        filled += [values[name], after]
    return "".join(filled)
