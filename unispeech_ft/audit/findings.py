"""A finding, and the page that shows all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Literal

Level = Literal["serious", "warning", "note"]
LEVELS: tuple[Level, ...] = ("serious", "warning", "note")
EXAMPLES_WIDTH = 100


@dataclass(frozen=True)
class Finding:
    """One thing that the audit found.

    Attributes:
        name: what kind it is, for programs.
        level: `serious` spoils the result, `warning` should be looked at, `note` is good to know.
        where: the split or file concerned, empty where it is all of them.
        what: one sentence for people.
        count: how many utterances, phones or tokens.
        examples: ids, phones or sentences, the worst or commonest first.
        remedy: what to do about it.
        width: letters of examples on the page, at most.
    """

    name: str
    level: Level
    where: str
    what: str
    count: int
    examples: tuple[str, ...] = ()
    remedy: str = ""
    width: int = EXAMPLES_WIDTH


@dataclass(frozen=True)
class Audit:
    """All findings, and the figures of each split.

    Attributes:
        findings: serious ones first.
        splits: figures by split, see `training.audit.audit`.
        checked: what was looked at, and what could not be.
    """

    findings: tuple[Finding, ...]
    splits: dict[str, dict[str, Any]]
    checked: tuple[str, ...]

    @property
    def serious(self) -> bool:
        return any(finding.level == "serious" for finding in self.findings)


def by_level(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The findings, serious ones first, else in their order."""
    return tuple(sorted(findings, key=lambda finding: LEVELS.index(finding.level)))


def level_of_share(count: int, total: int, serious_above: float) -> Level:
    """`serious` where more than a share of the total is concerned, else `warning`."""
    return "serious" if total and count > serious_above * total else "warning"


def counted(number: int, thing: str) -> str:
    """`1 phone`, `2 phones`."""
    return f"{number:,} {thing}" + ("" if number == 1 else "s")


def some(items: Sequence[str], width: int = EXAMPLES_WIDTH) -> str:
    """As many items as a line holds, at least one, and how many more there are."""
    shown = max(1, sum(length <= width for length in accumulate(len(item) + 2 for item in items)))
    more = f" and {len(items) - shown} more" if len(items) > shown else ""
    return ", ".join(items[:shown]) + more


def figure_lines(split: str, figures: Mapping[str, Any]) -> list[str]:
    """The figures of a split of phones for people."""
    speakers = figures["speakers"]
    said = "speakers unknown"
    if speakers["known"]:
        said = (
            f"{speakers['known']} speakers: {speakers['median_minutes']:.1f} minutes and"
            f" {speakers['median_phones']:.0f} phones in the middle; the one heard most has"
            f" {100 * speakers['largest_share']:.0f} % of the time"
        )
    return [f"{split}: {_figures_line(figures)}", f"  {said}"]


def format_audit(audit: Audit, describe: Callable[[str, Mapping[str, Any]], list[str]] = figure_lines) -> str:
    """The page for the terminal: figures, findings by level, and the verdict.

    Args:
        describe: the figures of a split in lines.
    """
    lines = [line for split, figures in audit.splits.items() for line in describe(split, figures)]
    lines += [f"({text})" for text in audit.checked]
    for level in LEVELS:
        chosen = [finding for finding in audit.findings if finding.level == level]
        if chosen:
            lines += ["", f"{level.upper()} ({len(chosen)})"]
            lines += [line for finding in chosen for line in _finding_lines(finding)]
    verdict = "something would spoil the result" if audit.serious else "nothing that would spoil the result"
    return "\n".join([*lines, "", f"audit: {verdict}"])


def _figures_line(figures: Mapping[str, Any]) -> str:
    rate = figures["phones_per_s"]
    return (
        f"{figures['utterances']} utterances, {figures['hours']:.2f} h, {figures['phones']:,} phones of"
        f" {figures['inventory']} kinds, {rate:.1f} a second, clips of {figures['shortest_s']:.1f} to"
        f" {figures['longest_s']:.1f} s"
    )


def _finding_lines(finding: Finding) -> list[str]:
    where = f"{finding.where}: " if finding.where else ""
    lines = [f"  - {where}{finding.what}"]
    if finding.examples:
        lines.append(f"      {some(finding.examples, finding.width)}")
    if finding.remedy:
        lines.append(f"      → {finding.remedy}")
    return lines
