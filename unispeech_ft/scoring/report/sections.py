"""The parts of the page as HTML; everything that came from outside is escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from unispeech_ft.scoring.alignment import Pair
from unispeech_ft.scoring.ladder import Rung
from unispeech_ft.scoring.report.data import Aligned, Sound, shorten
from unispeech_ft.scoring.report.figures import Curves, bar, curve_svg, interval_svg
from unispeech_ft.scoring.report.groups import Check, Group, PhoneErrors
from unispeech_ft.scoring.summary import Summary

ROWS_SHOWN = 25
PAIRS_SHOWN = 400
RUNG_NOTES = {
    "strict": "every difference counts",
    "in one notation": "look-alikes and espeak-ng's mnemonics as plain IPA",
    "without length": "long and short alike",
    "without diacritics": "letters only",
    "by broad class": "vowel, plosive, nasal …",
    "by features": "substitutions cost the share of features that differ",
}


def percent(fraction: float | None, digits: int = 2) -> str | None:
    return None if fraction is None else f"{100 * fraction:.{digits}f} %"


def banner(summary: Summary) -> str:
    if not summary.synthetic:
        return ""
    return (
        '<p class="note" role="note">Synthetic speech: these recordings were made by a speech synthesiser. '
        "The figures show that the method works; they say nothing about human speech.</p>"
    )


def headline(summary: Summary) -> str:
    figure, interval, scale = percent(summary.per) or "unknown", "There are no reference phones.", ""
    if summary.per is not None and summary.per_ci95:
        low, high = summary.per_ci95
        interval = f"95 % interval {percent(low)} to {percent(high)}, bootstrap by {summary.bootstrap_unit}."
        scale = interval_svg(summary.per, low, high, summary.per_shuffled)
    published = None if summary.published_split is None else ("yes" if summary.published_split else "no")
    facts = [
        ("Utterances", f"{summary.utterances:,}"),
        ("Reference phones", f"{summary.reference_phones:,}"),
        ("Substitutions", f"{summary.substitutions:,}"),
        ("Deletions", f"{summary.deletions:,}"),
        ("Insertions", f"{summary.insertions:,}"),
        ("PER when shuffled", percent(summary.per_shuffled)),
        ("Reference floor", percent(summary.reference_floor)),
        ("Blank frames", percent(summary.blank_share)),
        ("Model", summary.model),
        ("Split", summary.split),
        ("Labels", summary.labels),
        ("Published split", published),
        ("Scored in", None if summary.seconds is None else f"{summary.seconds:.1f} s"),
    ]
    cards = "".join(f"<div><dt>{name}</dt><dd>{escape(value)}</dd></div>" for name, value in facts if value is not None)
    return (
        f'<section class="head"><p class="per">PER {figure}</p>{scale}<p class="soft">{escape(interval)} '
        f"PER is the share of phones that would have to be corrected; lower is better.</p><dl>{cards}</dl></section>"
    )


def ladder_section(rungs: Sequence[Rung], floor: float | None) -> str:
    if not rungs or rungs[0].per is None:
        return ""
    rows = [(rung.name, rung.per, RUNG_NOTES.get(rung.name, "")) for rung in rungs]
    if floor is not None:
        rows.append(("reference floor", floor, "two labellings of the same speech against each other"))
    most = max(per or 0.0 for _, per, _ in rows)
    lines = "".join(
        f'<tr><th scope="row">{name}</th><td>{percent(per) or "–"}</td><td class="wide">{bar(per, most)}</td>'
        f'<td class="soft left">{note}</td></tr>'
        for name, per, note in rows
    )
    return (
        '<section><h2>PER ladder</h2><p class="soft">The same hypotheses, scored ever less strictly. A large step is a '
        "matter of notation or labels; what stays to the end was heard wrongly.</p>"
        f"{_scroll('PER ladder', f'<table><tbody>{lines}</tbody></table>')}</section>"
    )


def curves_section(curves: Curves | None) -> str:
    if curves is None or not (curves.loss or curves.per):
        return ""
    loss = curve_svg(curves.loss, "Training loss", logarithmic=True) if curves.loss else ""
    per = curve_svg(curves.per, "Validation PER", percent=True) if curves.per else ""
    return f'<section><h2>Learning curves</h2><div class="curves">{loss}{per}</div></section>'


def checks_section(checks: Sequence[Check]) -> str:
    if not checks:
        return ""
    items = "".join(
        f'<li class="{"good" if check.good else "bad"}"><b>{"ok" if check.good else "look"}</b> '
        f"<span>{escape(check.text)}</span></li>"
        for check in checks
    )
    return f'<section><h2>Has the model collapsed?</h2><ul class="checks" role="list">{items}</ul></section>'


def confusion_section(sounding: bool) -> str:
    play = " and hear them" if sounding else ""
    return (
        "<section><h2>Confusion matrix</h2>"
        f'<p class="soft">Rows: the phone of the reference; columns: the phone that was recognised. Choose a cell to '
        f"list its utterances{play}: click it, or move with the arrow keys and press Enter. The row ∅ holds "
        "insertions, the column ∅ deletions. Right phones lie on the outlined diagonal. "
        "Darker: a larger share of the row.</p>"
        '<div class="matrix" id="matrix"><noscript>The matrix needs JavaScript.</noscript></div>'
        '<div id="cell" class="cell" aria-live="polite"></div></section>'
    )


def phone_section(rows: Sequence[PhoneErrors]) -> str:
    shown = rows[:ROWS_SHOWN]
    if not shown:
        return "<section><h2>Errors by phone</h2><p>No errors.</p></section>"
    most = shown[0].errors
    head = "".join(
        f'<th scope="col">{name}</th>'
        for name in ("Phone", "Said", "Substituted", "Deleted", "Inserted", "Errors", "", "Of those said")
    )
    lines = "".join(
        f'<tr><th scope="row" class="phone" lang="und-fonipa">{escape(shorten(row.phone))}</th><td>{row.said}</td>'
        f"<td>{row.substituted}</td><td>{row.deleted}</td><td>{row.inserted}</td><td>{row.errors}</td>"
        f'<td class="wide">{bar(row.errors, most)}</td>'
        f"<td>{percent((row.substituted + row.deleted) / row.said, 0) if row.said else '–'}</td></tr>"
        for row in shown
    )
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table>"
    note = f"The {len(shown)} phones with the most errors" + (f", of {len(rows)}." if len(rows) > len(shown) else ".")
    return f'<section><h2>Errors by phone</h2><p class="soft">{note}</p>{_scroll("Errors by phone", table)}</section>'


def group_section(title: str, head: str, groups: Sequence[Group]) -> str:
    if not groups:
        return ""
    shown = groups[:ROWS_SHOWN]
    most = max(group.per or 0.0 for group in shown)
    lines = "".join(
        f'<tr><th scope="row">{escape(shorten(group.name))}</th><td>{group.utterances}</td><td>{group.phones}</td>'
        f'<td>{percent(group.per) or "–"}</td><td class="wide">{bar(group.per, most)}</td></tr>'
        for group in shown
    )
    columns = "".join(f'<th scope="col">{name}</th>' for name in (head, "Utterances", "Phones", "PER", ""))
    table = f"<table><thead><tr>{columns}</tr></thead><tbody>{lines}</tbody></table>"
    more = f'<p class="soft">The {len(shown)} of {len(groups)} with the highest PER.</p>' if groups[ROWS_SHOWN:] else ""
    return f"<section><h2>{title}</h2>{more}{_scroll(title, table)}</section>"


def worst_section(worst: Sequence[Aligned], places: Mapping[str, int], sound: Mapping[int, Sound]) -> str:
    """The utterances with the highest error rates.

    Args:
        places: of the utterances among those that the page keeps, by id.
        sound: by place.
    """
    if not worst:
        return "<section><h2>Utterances with the highest error rate</h2><p>Every phone was recognised.</p></section>"
    articles = "\n".join(_utterance(item, places[item.score.id], places[item.score.id] in sound) for item in worst)
    hear = " Choose a phone to hear it." if sound else ""
    return (
        f"<section><h2>The {len(worst)} utterances with the highest error rate</h2>"
        '<p class="soft">Above, the phone of the reference; below, the phone that was recognised. '
        "Wrong phones are framed and marked sub (substituted), del (deleted) or ins (inserted); – is no phone."
        f"{hear}</p>{articles}</section>"
    )


def _utterance(item: Aligned, place: int, sounding: bool) -> str:
    score = item.score
    facts = [f"{score.errors} errors", f"{len(score.reference)} reference phones"]
    facts += [f"{score.duration_s:.1f} s"] if score.duration_s is not None else []
    facts += [f"speaker {score.speaker}"] if score.speaker else []
    pairs = item.pairs[:PAIRS_SHOWN]
    cells = "".join(_cell(pair, number, sounding) for number, pair in enumerate(pairs))
    cut = f'<p class="soft">The first {PAIRS_SHOWN} pairs of {len(item.pairs)}.</p>' if item.pairs[PAIRS_SHOWN:] else ""
    picture = (
        '<div class="listen"><button type="button" class="play">▶ play</button></div>'
        '<canvas class="picture" width="900" height="210" role="img"></canvas>'
        if sounding
        else ""
    )
    name = escape(shorten(score.id))
    return (
        f'<article data-utterance="{place}" aria-label="{name}"><h3>{name}</h3>'
        f'<p class="soft">{escape(shorten(", ".join(facts)))}</p>{picture}'
        f'<ol role="list" class="pairs" lang="und-fonipa">{cells}</ol>{cut}</article>'
    )


def _cell(pair: Pair, number: int, sounding: bool) -> str:
    said, heard = (escape(shorten(phone)) if phone is not None else "–" for phone in pair)
    kind = "ins" if pair[0] is None else "del" if pair[1] is None else "sub" if pair[0] != pair[1] else ""
    mark = f'<small lang="en">{kind}</small>' if kind else ""
    below = f"<b>{heard}</b>" if kind else f"<span>{heard}</span>"
    inside = f"<span>{said}</span> {below} {mark}"
    if sounding:
        inside = f'<button type="button" data-pair="{number}">{inside}</button>'
    return f'<li class="{kind}">{inside}</li>' if kind else f"<li>{inside}</li>"


def _scroll(name: str, content: str) -> str:
    return f'<div class="scroll" tabindex="0" role="region" aria-label="{name}">{content}</div>'
