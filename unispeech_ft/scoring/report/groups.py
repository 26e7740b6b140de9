"""Errors by phone, by speaker and by duration, and the signs of a model that has collapsed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from unispeech_ft.scoring.alignment import Pair
from unispeech_ft.scoring.per import COMMON_PHONE, UtteranceScore, never_emitted
from unispeech_ft.scoring.summary import Summary

DURATION_EDGES_S = (0, 2, 3, 4, 5, 6, 8, 10, 15)
MUCH_BLANK, FEW_SAID = 0.97, 0.5
EMPTY_SHARE, SAME_SHARE, GUESSING = 0.02, 0.05, 0.95
PHONES_SHOWN = 12


@dataclass(frozen=True)
class PhoneErrors:
    """How one phone fared: how often it was said, replaced by another, missed, and inserted."""

    phone: str
    said: int
    substituted: int
    deleted: int
    inserted: int

    @property
    def errors(self) -> int:
        return self.substituted + self.deleted + self.inserted


@dataclass(frozen=True)
class Group:
    """Utterances that have something in common, and their PER; None without reference phones."""

    name: str
    utterances: int
    phones: int
    per: float | None


@dataclass(frozen=True)
class Check:
    """One thing that was looked at: whether it is as it should be, and what was seen."""

    good: bool
    text: str


def phone_errors(pairs: Iterable[Pair]) -> list[PhoneErrors]:
    """The phones with errors, the most first."""
    said: Counter[str] = Counter()
    wrong: dict[str, Counter[str]] = {kind: Counter() for kind in ("substituted", "deleted", "inserted")}
    for reference, hypothesis in pairs:
        if reference is None:
            wrong["inserted"][str(hypothesis)] += 1
            continue
        said[reference] += 1
        if hypothesis is None:
            wrong["deleted"][reference] += 1
        elif hypothesis != reference:
            wrong["substituted"][reference] += 1
    names = {phone for counter in wrong.values() for phone in counter}
    rows = [PhoneErrors(name, said[name], *(counter[name] for counter in wrong.values())) for name in names]
    return sorted(rows, key=lambda row: (-row.errors, row.phone))


def by_speaker(scores: Sequence[UtteranceScore]) -> list[Group]:
    """PER of each known speaker, the highest first; empty where fewer than two are known."""
    named: dict[str, list[UtteranceScore]] = {}
    for score in scores:
        if score.speaker:
            named.setdefault(score.speaker, []).append(score)
    groups = [_group(name, members) for name, members in named.items()] if len(named) > 1 else []
    return sorted(groups, key=lambda group: (-(group.per or 0.0), group.name))


def by_duration(scores: Sequence[UtteranceScore]) -> list[Group]:
    """PER by the length of the clip, the shortest first; empty where no duration is known."""
    groups = []
    for low, high in zip(DURATION_EDGES_S, (*DURATION_EDGES_S[1:], float("inf")), strict=True):
        members = [score for score in scores if score.duration_s is not None and low <= score.duration_s < high]
        name = f"{low} to {high} s" if high != float("inf") else f"{low} s and more"
        groups += [_group(name, members)] if members else []
    return groups


def _group(name: str, members: Sequence[UtteranceScore]) -> Group:
    phones = sum(len(score.reference) for score in members)
    return Group(name, len(members), phones, sum(score.errors for score in members) / phones if phones else None)


def collapse_checks(scores: Sequence[UtteranceScore], summary: Summary) -> list[Check]:
    """What a model that has learnt nothing would do: say nothing, always the same, or what fits any utterance."""
    if not scores:
        return []
    expected = Counter(phone for score in scores for phone in score.reference)
    emitted = Counter(phone for score in scores for phone in score.hypothesis)
    empty = sum(not score.hypothesis for score in scores if score.reference)
    checks = [
        Check(empty <= EMPTY_SHARE * len(scores), f"{empty} of {len(scores)} hypotheses are empty"),
        _sameness(scores),
    ]
    if summary.blank_share is not None:
        share = f"{100 * summary.blank_share:.1f} % of the frames are blank"
        checks.append(Check(summary.blank_share < MUCH_BLANK, share))
    if summary.per is not None and summary.per_shuffled is not None:
        better = summary.per < GUESSING * summary.per_shuffled
        text = f"{100 * summary.per_shuffled:.1f} % PER against other utterances' references: what guessing would score"
        checks.append(Check(better, text))
    if expected.total():
        ratio = emitted.total() / expected.total()
        checks.append(Check(FEW_SAID < ratio < 1 / FEW_SAID, f"{ratio:.2f} phones recognised for each one said"))
    silent = never_emitted(scores)
    shown = ", ".join(f"{phone} ({count} said)" for phone, count in silent[:PHONES_SHOWN])
    more = f" and {len(silent) - PHONES_SHOWN} more" if len(silent) > PHONES_SHOWN else ""
    text = f"never recognised: {shown}{more}" if silent else f"every phone said {COMMON_PHONE} times is recognised"
    return [*checks, Check(not silent, text)]


def _sameness(scores: Sequence[UtteranceScore]) -> Check:
    """Whether utterances with different references get the same phones."""
    references: dict[tuple[str, ...], set[tuple[str, ...]]] = {}
    for score in scores:
        if score.hypothesis:
            references.setdefault(tuple(score.hypothesis), set()).add(tuple(score.reference))
    most = max((len(found) for found in references.values()), default=0)
    if most < 2:
        return Check(True, "no two different references have the same hypothesis")
    return Check(
        most <= max(2, SAME_SHARE * len(scores)), f"{most} different references have one and the same hypothesis"
    )
