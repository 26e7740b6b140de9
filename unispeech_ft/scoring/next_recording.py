"""What to record next, from the errors on a test split: which phones, and whether more speakers or more of the same.

Phones: where errors fall with a power `b` of the examples, one example more of a phone spares `b · errors ÷ examples`
of its errors. `b` is taken to be the same for all phones, so they are ranked by `errors ÷ examples`.

Speakers: how far apart their PERs lie, against how far apart they lie once the utterances are dealt out to the speakers
at random (a permutation test; Good 2005, "Permutation, Parametric and Bootstrap Tests of Hypotheses").

Shapes: `U` utterances, `P` speakers, `D` deals.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from unispeech_ft.scoring.alignment import align
from unispeech_ft.scoring.per import UtteranceScore
from unispeech_ft.scoring.report.groups import Group, by_speaker, phone_errors

# Fewer errors than these say little; a rank above the mean of all phones by this factor is worth a word.
LEAST_ERRORS, TIMES_THE_MEAN = 10, 2.0
LEAST_SPEAKERS, LEAST_UTTERANCES = 3, 5
DEALS, CHANCE = 2_000, 0.05
PHONES_SHOWN, SPEAKERS_SHOWN, NAME_SHOWN = 8, 3, 12


class PhoneToRecord(NamedTuple):
    """A phone, in how many of the places where the test split says it it was not heard, and how often training says
    it."""

    phone: str
    errors: int
    said: int
    examples: int


@dataclass(frozen=True)
class SpeakerSpread:
    """How unlike the speakers of a test split score.

    Attributes:
        speakers: those with enough utterances, the highest PER first.
        beyond_chance: standard deviation of their PERs, a fraction, less what the deals have.
        p_value: share of the deals whose PERs lie as far apart.
    """

    speakers: tuple[Group, ...]
    beyond_chance: float
    p_value: float


def phones_to_record(
    scores: Sequence[UtteranceScore], training: Iterable[Sequence[str]], factor: float = TIMES_THE_MEAN
) -> list[PhoneToRecord]:
    """The phones of which another example spares the most errors, those first.

    Args:
        training: the phones of each training clip.
        factor: least rank of a phone, in that of all phones taken together.
    """
    examples = Counter(phone for phones in training for phone in phones)
    rows = phone_errors(pair for item in scores for pair in align(item.reference, item.hypothesis).pairs)
    found = [
        PhoneToRecord(row.phone, row.substituted + row.deleted, row.said, examples[row.phone])
        for row in rows
        if row.said
    ]
    mean = sum(item.errors for item in found) / max(examples.total(), 1)
    worth = [item for item in found if item.errors >= LEAST_ERRORS and _rank(item) >= factor * mean]
    return sorted(worth, key=lambda item: (-_rank(item), item.phone))


def _rank(item: PhoneToRecord) -> float:
    return item.errors / max(item.examples, 1)


def speaker_spread(scores: Sequence[UtteranceScore]) -> SpeakerSpread | None:
    """How far apart the speakers' PERs lie; None where fewer than three have five utterances each."""
    count: Counter[str | None] = Counter(item.speaker for item in scores if item.speaker and item.reference)
    spoken = sorted(
        (item for item in scores if item.reference and count[item.speaker] >= LEAST_UTTERANCES),
        key=lambda item: item.id,
    )
    names, speaker = np.unique([str(item.speaker) for item in spoken], return_inverse=True)
    if len(names) < LEAST_SPEAKERS:
        return None
    errors, phones = (
        np.array([figure(item) for item in spoken], dtype=float)
        for figure in (lambda item: item.errors, lambda item: len(item.reference))
    )

    def variance(order: npt.NDArray[np.int64]) -> float:
        """Of the speakers' PERs, each counted by its phones."""
        of = np.bincount(speaker, phones[order])
        pers = np.bincount(speaker, errors[order]) / of
        return float(np.average((pers - errors.sum() / phones.sum()) ** 2, weights=of))

    random = np.random.default_rng(0)
    seen = variance(np.arange(len(spoken)))
    dealt = np.array([variance(random.permutation(len(spoken))) for _ in range(DEALS)])
    return SpeakerSpread(
        tuple(by_speaker(spoken)),
        max(seen - float(dealt.mean()), 0.0) ** 0.5,
        float((1 + (dealt >= seen).sum()) / (1 + DEALS)),
    )


def recording_lines(phones: Sequence[PhoneToRecord], spread: SpeakerSpread | None) -> list[str]:
    """A line for the phones and one for the speakers; none where there is too little to say."""
    lines = []
    if phones:
        shown = ", ".join(
            f"{item.phone} ({item.errors} of {item.said} missed, {item.examples} in training)"
            for item in phones[:PHONES_SHOWN]
        )
        lines.append(f"record words with these phones, where an example more spares most errors: {shown}")
    if spread is not None:
        lines.append(_speaker_line(spread))
    return lines


def _speaker_line(spread: SpeakerSpread) -> str:
    speakers = spread.speakers
    shown = ", ".join(
        f"{group.name[:NAME_SHOWN]} ({_percent(group.per)} of {group.phones} phones)"
        for group in speakers[:SPEAKERS_SHOWN]
    )
    apart = f"{_percent(speakers[-1].per)} to {_percent(speakers[0].per)}"
    if spread.p_value < CHANCE:
        return (
            f"record more speakers: the {len(speakers)} of the test split differ by more than chance, from {apart},"
            f" {100 * spread.beyond_chance:.1f} points apart beyond it; the hardest: {shown}"
        )
    return (
        f"more speech of the same speakers may serve as well as more speakers: the {len(speakers)} of the test split"
        f" differ no more than by chance, from {apart}"
    )


def _percent(per: float | None) -> str:
    return "?" if per is None else f"{100 * per:.1f} %"
