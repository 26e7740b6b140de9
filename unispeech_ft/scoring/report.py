"""One self-contained HTML page about a result: no network, no scripts, light and dark, readable on a phone."""

from collections import Counter
from collections.abc import Iterable, Sequence
from html import escape

from unispeech_ft.scoring.alignment import Pair, align
from unispeech_ft.scoring.per import UtteranceScore
from unispeech_ft.scoring.summary import Summary

ROWS_SHOWN = 20

_STYLE = """
:root { color-scheme: light dark; --ink: #1c1f24; --soft: #59616b; --page: #fbfbf9; --card: #fff; --line: #d9dce0;
  --sub: #8a4b00; --del: #a3162e; --ins: #1650a8; --note: #fff3cd; --bar: #c4763a; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8e9eb; --soft: #a9b0b9; --page: #15171a; --card: #1e2126;
  --line: #383d45; --sub: #f0b060; --del: #ff8a9a; --ins: #8fbcff; --note: #4a3b10; --bar: #c98a55; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 60rem; font: 1rem/1.5 system-ui, sans-serif; color: var(--ink);
  background: var(--page); overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; line-height: 1.25; } h2 { font-size: 1.15rem; margin-top: 2rem; } h3 { font-size: 1rem; }
.note { background: var(--note); border-left: .4rem solid var(--bar); padding: .75rem 1rem; font-weight: 600; }
.per { font-size: 2.6rem; font-weight: 700; line-height: 1.1; margin: .5rem 0 0; } .soft { color: var(--soft); }
dl { display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: .5rem; margin: 1rem 0; }
dl div, article { background: var(--card); border: 1px solid var(--line); border-radius: .5rem; padding: .5rem .75rem; }
dt { color: var(--soft); font-size: .85rem; } dd { margin: 0; font-weight: 600; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .25rem .6rem; border-bottom: 1px solid var(--line); }
th:first-child, td.phone { text-align: left; } caption { text-align: left; color: var(--soft); }
article { margin: .75rem 0; } article h3 { margin: 0 0 .25rem; }
ol { list-style: none; margin: 0; padding: 0; display: flex; flex-wrap: wrap; gap: .5rem .15rem; }
li { display: flex; flex-direction: column; align-items: center; min-width: 1.6rem; padding: 0 .2rem;
  line-height: 1.35; }
li small { font-size: .7rem; } li b { font-weight: 700; }
.sub { color: var(--sub); } .del { color: var(--del); } .ins { color: var(--ins); }
.sub, .del, .ins { border: 1px solid currentcolor; border-radius: .3rem; }
code { font-size: .85rem; }
"""


def report_html(scores: Sequence[UtteranceScore], summary: Summary, title: str) -> str:
    """A page with the PER and its evidence, the errors by phone and the utterances with the most errors.

    Args:
        scores: the utterances; they are aligned again to show which phones were wrong.
        summary: of the same utterances.
        title: of the page, in plain text.

    Returns:
        A whole HTML document; everything that came from outside is escaped.
    """
    aligned = [(utterance, align(utterance.reference, utterance.hypothesis).pairs) for utterance in scores]
    pairs = [pair for _, utterance_pairs in aligned for pair in utterance_pairs]
    body = [
        f"<h1>{escape(title)}</h1>",
        _banner(summary),
        _headline(summary),
        f"<h2>How it was scored</h2><p>{escape(summary.scoring)}</p>",
        f'<p class="soft">Reference SHA-256 <code>{escape(summary.reference_sha256)}</code></p>',
        _phone_table(pairs),
        _confusion_table(pairs),
        _worst(aligned),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n<body><main>\n"
        + "\n".join(part for part in body if part)
        + "\n</main></body></html>\n"
    )


def _banner(summary: Summary) -> str:
    if not summary.synthetic:
        return ""
    return (
        '<p class="note" role="note">Synthetic speech: these recordings were made by a speech synthesiser. '
        "The figures show that the method works; they say nothing about human speech.</p>"
    )


def _headline(summary: Summary) -> str:
    figure, interval = _percent(summary.per) or "unknown", "There are no reference phones."
    if summary.per_ci95:
        low, high = summary.per_ci95
        interval = f"95 % interval {_percent(low)} to {_percent(high)}, bootstrap by {summary.bootstrap_unit}."
    facts = [
        ("Utterances", f"{summary.utterances:,}"),
        ("Reference phones", f"{summary.reference_phones:,}"),
        ("Substitutions", f"{summary.substitutions:,}"),
        ("Deletions", f"{summary.deletions:,}"),
        ("Insertions", f"{summary.insertions:,}"),
        ("PER when shuffled", _percent(summary.per_shuffled)),
        ("Blank frames", _percent(summary.blank_share)),
        ("Model", summary.model),
        ("Split", summary.split),
        ("Labels", summary.labels),
        ("Published split", None if summary.published_split is None else ("yes" if summary.published_split else "no")),
        ("Seconds", None if summary.seconds is None else f"{summary.seconds:.1f}"),
    ]
    cards = "".join(f"<div><dt>{name}</dt><dd>{escape(value)}</dd></div>" for name, value in facts if value is not None)
    return (
        f'<p class="per">PER {figure}</p><p class="soft">{escape(interval)} '
        f"PER is the share of phones that would have to be corrected; lower is better.</p><dl>{cards}</dl>"
    )


def _phone_table(pairs: Iterable[Pair]) -> str:
    said: Counter[str] = Counter()
    substituted: Counter[str] = Counter()
    deleted: Counter[str] = Counter()
    inserted: Counter[str] = Counter()
    for reference, hypothesis in pairs:
        if reference is None:
            inserted[str(hypothesis)] += 1
            continue
        said[reference] += 1
        if hypothesis is None:
            deleted[reference] += 1
        elif hypothesis != reference:
            substituted[reference] += 1
    errors = substituted + deleted + inserted
    rows = [
        (phone, said[phone], substituted[phone], deleted[phone], inserted[phone], errors[phone])
        for phone in sorted(errors, key=lambda phone: (-errors[phone], phone))[:ROWS_SHOWN]
    ]
    head = ("Phone", "Said", "Substituted", "Deleted", "Inserted", "Errors")
    return _table("Errors by phone", f"The {len(rows)} phones with the most errors", head, rows, 1)


def _confusion_table(pairs: Iterable[Pair]) -> str:
    confusions = Counter((ref or "(nothing)", hyp or "(nothing)") for ref, hyp in pairs if ref != hyp)
    ranked = sorted(confusions.items(), key=lambda item: (-item[1], item[0]))[:ROWS_SHOWN]
    rows = [(said, heard, count) for (said, heard), count in ranked]
    head = ("Said", "Recognised", "Times")
    return _table("Most frequent confusions", f"The {len(rows)} most frequent", head, rows, 2)


def _table(title: str, caption: str, head: Sequence[str], rows: Sequence[Sequence[object]], phone_columns: int) -> str:
    if not rows:
        return f"<h2>{title}</h2><p>No errors.</p>"
    lines = []
    for row in rows:
        cells = [escape(str(cell)) for cell in row]
        phones = "".join(f'<td class="phone" lang="und-fonipa">{cell}</td>' for cell in cells[:phone_columns])
        lines.append(f"<tr>{phones}{''.join(f'<td>{cell}</td>' for cell in cells[phone_columns:])}</tr>")
    header = "".join(f'<th scope="col">{name}</th>' for name in head)
    return (
        f'<h2>{title}</h2><div class="scroll" tabindex="0" role="region" aria-label="{title}"><table>'
        f"<caption>{caption}</caption><thead><tr>{header}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


def _worst(aligned: Sequence[tuple[UtteranceScore, list[Pair]]]) -> str:
    wrong = [(utterance, pairs) for utterance, pairs in aligned if utterance.errors]
    wrong.sort(key=lambda item: (-item[0].errors / max(1, len(item[0].reference)), -item[0].errors, item[0].id))
    if not wrong:
        return "<h2>Utterances with the highest error rate</h2><p>Every phone was recognised.</p>"
    return (
        f"<h2>The {len(wrong[:ROWS_SHOWN])} utterances with the highest error rate</h2>"
        '<p class="soft">Above, the phone of the reference; below, the phone that was recognised. '
        "Wrong phones are framed and marked sub (substituted), del (deleted) or ins (inserted); – is no phone.</p>"
        + "\n".join(_utterance(utterance, pairs) for utterance, pairs in wrong[:ROWS_SHOWN])
    )


def _utterance(utterance: UtteranceScore, pairs: Iterable[Pair]) -> str:
    counts = f"{utterance.errors} errors, {len(utterance.reference)} reference phones"
    cells = "".join(_cell(reference, hypothesis) for reference, hypothesis in pairs)
    return (
        f'<article><h3>{escape(utterance.id)}</h3><p class="soft">{counts}</p>'
        f'<ol role="list" lang="und-fonipa">{cells}</ol></article>'
    )


def _cell(reference: str | None, hypothesis: str | None) -> str:
    if reference == hypothesis:
        return f"<li><span>{escape(reference or '')}</span><span>{escape(hypothesis or '')}</span></li>"
    kind = "ins" if reference is None else "del" if hypothesis is None else "sub"
    said, heard = escape(reference or "–"), escape(hypothesis or "–")
    return f'<li class="{kind}"><span>{said}</span> <b>{heard}</b> <small lang="en">{kind}</small></li>'


def _percent(fraction: float | None) -> str | None:
    return None if fraction is None else f"{100 * fraction:.2f} %"
