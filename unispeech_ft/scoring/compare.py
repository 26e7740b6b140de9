"""Whether one result is better than another on the same references.

Both results are drawn together, unit by unit, so that what makes an utterance hard for both does not widen the
interval. Shapes: `U` units (speakers or utterances), `D` draws.
Source: Bisani and Ney 2004, "Bootstrap estimates for confidence intervals in ASR performance evaluation".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from unispeech_ft.errors import UserError
from unispeech_ft.scoring.bootstrap import ITEMS_PER_CHUNK, BootstrapUnit, bootstrap_units, percentile_interval
from unispeech_ft.scoring.per import UtteranceScore
from unispeech_ft.scoring.summary import reference_sha256

SHOWN = 3


@dataclass(frozen=True)
class Comparison:
    """Two results on the same references; PERs and their difference are fractions.

    Attributes:
        difference: `per_b - per_a`, below 0 where B is better.
        difference_ci95: [low, high] of the paired bootstrap.
        p_value: of no difference, two-sided, by swapping the two results of whole units at random.
        bootstrap_unit: what was drawn and swapped, speakers or utterances.
        units: how many there are.
        better_a, better_b, equal: utterances with fewer errors in A, in B, and with as many.
    """

    per_a: float
    per_b: float
    difference: float
    difference_ci95: tuple[float, float]
    p_value: float
    bootstrap_unit: BootstrapUnit
    units: int
    utterances: int
    reference_phones: int
    better_a: int
    better_b: int
    equal: int
    reference_sha256: str


def compare(
    first: Sequence[UtteranceScore], second: Sequence[UtteranceScore], draws: int = 10_000, seed: int = 0
) -> Comparison:
    """Compares two results of the same utterances; the speakers are those of the first.

    Args:
        draws: number of bootstrap draws, and of random swaps.
        seed: of both.

    Raises:
        UserError: the references differ, or hold no phone.
    """
    digest = check_same_references(first, second)
    other = {utterance.id: utterance for utterance in second}
    unit, groups = bootstrap_units(first)
    a = [sum(utterance.errors for utterance in group) for group in groups]
    b = [sum(other[utterance.id].errors for utterance in group) for group in groups]
    said = [sum(len(utterance.reference) for utterance in group) for group in groups]
    phones = sum(said)
    if not phones:
        raise UserError("the references hold no phones", remedy="compare results of an utterance that says something")
    ends = percentile_interval(lambda a, b, said: (b - a) / said, (a, b, said), draws, seed)
    assert ends is not None, "there are phones, so some draw has them"
    fewer = [np.sign(other[utterance.id].errors - utterance.errors) for utterance in first]
    return Comparison(
        per_a=sum(a) / phones,
        per_b=sum(b) / phones,
        difference=(sum(b) - sum(a)) / phones,
        difference_ci95=ends,
        p_value=swap_p_value(np.subtract(b, a), draws, seed),
        bootstrap_unit=unit,
        units=len(groups),
        utterances=len(first),
        reference_phones=phones,
        better_a=fewer.count(1),
        better_b=fewer.count(-1),
        equal=fewer.count(0),
        reference_sha256=digest,
    )


def swap_p_value(differences: npt.NDArray[np.int64], draws: int, seed: int) -> float:
    """Two-sided p of no difference: how often random signs of the units' differences `[U]` sum at least as far from 0.

    The data as they are count as one of the draws, so that p is never 0.
    """
    rng = np.random.default_rng(seed)
    seen = abs(int(differences.sum()))
    rows = max(1, ITEMS_PER_CHUNK // max(1, len(differences)))
    extreme = 0
    for start in range(0, draws, rows):
        signs = rng.integers(0, 2, size=(min(rows, draws - start), len(differences)), dtype=np.int8) * 2 - 1
        extreme += int((np.abs(signs @ differences) >= seen).sum())
    return (extreme + 1) / (draws + 1)


def check_same_references(first: Sequence[UtteranceScore], second: Sequence[UtteranceScore]) -> str:
    """The SHA-256 of the references, which both results have to share.

    Raises:
        UserError: they differ; says in what.
    """
    one = {utterance.id: utterance.reference for utterance in first}
    two = {utterance.id: utterance.reference for utterance in second}
    digests = [reference_sha256(references) for references in (one, two)]
    if digests[0] == digests[1]:
        return digests[0]
    kinds = [
        ("only in A", sorted(one.keys() - two.keys())),
        ("only in B", sorted(two.keys() - one.keys())),
        ("with other phones", sorted(id_ for id_ in one.keys() & two.keys() if one[id_] != two[id_])),
    ]
    found = [f"{len(ids)} {kind} ({', '.join(ids[:SHOWN])}{' …' * (len(ids) > SHOWN)})" for kind, ids in kinds if ids]
    raise UserError(
        f"the two results have different references (SHA-256 {digests[0][:12]} and {digests[1][:12]}):"
        f" utterances {'; '.join(found)}",
        remedy="score both on the same split with the same labels (`unispeech-ft evaluate MODEL --config C --split S`)",
    )


def with_speakers(scores: Sequence[UtteranceScore], speakers: Mapping[str, str]) -> list[UtteranceScore]:
    """The utterances with the speakers that are known by id."""
    return [replace(utterance, speaker=speakers.get(utterance.id)) for utterance in scores]


def verdict(gain: float, p_value: float) -> str:
    """Which of two results is better, in words.

    Args:
        gain: of B over A, above 0 where B is better.
    """
    if p_value < 0.05 and gain:
        return f"{'B' if gain > 0 else 'A'} is better (p < 0.05)"
    return "no difference can be told from chance at p < 0.05"


def format_comparison(found: Comparison, names: tuple[str, str], notes: Sequence[str] = ()) -> str:
    """A readable block: both PERs, their difference with its interval and p, and the verdict."""
    low, high = (100 * end for end in found.difference_ci95)
    return "\n".join(
        [
            f"A  PER {100 * found.per_a:.2f} %  {names[0]}",
            f"B  PER {100 * found.per_b:.2f} %  {names[1]}",
            f"difference B - A: {100 * found.difference:+.2f} points (95 % interval {low:+.2f} to {high:+.2f},"
            f" paired bootstrap by {found.bootstrap_unit}, {found.units} units), p = {found.p_value:.4f}",
            f"  {found.utterances:,} utterances, {found.reference_phones:,} phones; fewer errors in A:"
            f" {found.better_a:,}, in B: {found.better_b:,}, as many: {found.equal:,}",
            f"  reference SHA-256 {found.reference_sha256}",
            *(f"  {note}" for note in notes),
            verdict(-found.difference, found.p_value),
        ]
    )
