"""Phone error rate of a corpus: PER = Σ (substitutions + deletions + insertions) ÷ Σ reference phones.

Every utterance of the reference is scored, by its id. Phones that only the test set has stay in the reference and
count as errors. A corpus without a single reference phone has no PER: it is None (null in JSON), whatever was
inserted.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from unispeech_ft.errors import UserError, raise_all
from unispeech_ft.scoring.alignment import align, distance

IDS_SHOWN = 5
COMMON_PHONE = 20


@dataclass(frozen=True)
class UtteranceScore:
    """One utterance's phones and errors; `duration_s` and `speaker` are None where unknown."""

    id: str
    reference: list[str]
    hypothesis: list[str]
    substitutions: int
    deletions: int
    insertions: int
    duration_s: float | None = None
    speaker: str | None = None

    @property
    def errors(self) -> int:
        return self.substitutions + self.deletions + self.insertions


def score(
    references: Mapping[str, Sequence[str]],
    hypotheses: Mapping[str, Sequence[str]],
    *,
    durations_s: Mapping[str, float | None] | None = None,
    speakers: Mapping[str, str | None] | None = None,
) -> list[UtteranceScore]:
    """Score hypotheses against references, utterance by utterance, in the order of the references.

    Args:
        references: id → the phones that were said.
        hypotheses: id → the phones that were recognised; the same ids. An utterance in which nothing was recognised
            has an empty list.
        durations_s: id → seconds, where known.
        speakers: id → speaker, where known.

    Raises:
        UserError: ids are missing or unknown among the hypotheses, or a phone is empty or contains white space
            (several at once: UserErrors).
        TypeError: an utterance's phones are a string instead of a list.
    """
    raise_all([*_id_faults(references, hypotheses), *_phone_faults(references), *_phone_faults(hypotheses)])
    durations_s, speakers = durations_s or {}, speakers or {}
    scores = []
    for id_, reference in references.items():
        found = align(reference, hypotheses[id_])
        scores.append(
            UtteranceScore(
                id=id_,
                reference=list(reference),
                hypothesis=list(hypotheses[id_]),
                substitutions=found.substitutions,
                deletions=found.deletions,
                insertions=found.insertions,
                duration_s=durations_s.get(id_),
                speaker=speakers.get(id_),
            )
        )
    return scores


def never_emitted(scores: Iterable[UtteranceScore]) -> list[tuple[str, int]]:
    """Phones that the references hold `COMMON_PHONE` times and more and no hypothesis holds, with their counts, the
    commonest first."""
    expected: Counter[str] = Counter()
    emitted: set[str] = set()
    for utterance in scores:
        expected.update(utterance.reference)
        emitted.update(utterance.hypothesis)
    return [(phone, count) for phone, count in expected.most_common() if count >= COMMON_PHONE and phone not in emitted]


def corpus_per(scores: Iterable[UtteranceScore]) -> float | None:
    """Σ errors ÷ Σ reference phones as a fraction (it may exceed 1); None when there are no reference phones."""
    errors = phones = 0
    for utterance in scores:
        errors += utterance.errors
        phones += len(utterance.reference)
    return errors / phones if phones else None


def shuffled_per(scores: Sequence[UtteranceScore], seed: int = 0) -> float | None:
    """PER of the hypotheses against other utterances' references: what a model that ignores the audio scores.

    The references go round one random cycle through all utterances, so none meets its own hypothesis; the result
    depends on the ids and the seed, not on the order of `scores`. None with fewer than two utterances or no
    reference phones.
    """
    phones = sum(len(utterance.reference) for utterance in scores)
    if len(scores) < 2 or not phones:
        return None
    by_id = sorted(scores, key=lambda utterance: utterance.id)
    cycle = [by_id[place] for place in np.random.default_rng(seed).permutation(len(by_id))]
    others = cycle[1:] + cycle[:1]
    errors = sum(distance(other.reference, own.hypothesis) for own, other in zip(cycle, others, strict=True))
    return errors / phones


def _id_faults(references: Mapping[str, Sequence[str]], hypotheses: Mapping[str, Sequence[str]]) -> list[UserError]:
    faults = []
    missing = references.keys() - hypotheses.keys()
    if missing:
        faults.append(
            UserError(
                f"{len(missing)} of {len(references)} reference ids have no hypothesis: {_some(missing)}",
                remedy="recognise them too, or give each an explicit empty hypothesis (the id with no phones)",
            )
        )
    unknown = hypotheses.keys() - references.keys()
    if unknown:
        faults.append(
            UserError(
                f"{len(unknown)} of {len(hypotheses)} hypothesis ids have no reference: {_some(unknown)}",
                remedy="take them out of the hypotheses, or score against the references they belong to",
            )
        )
    return faults


def _phone_faults(utterances: Mapping[str, Sequence[str]]) -> list[UserError]:
    faults = []
    for id_, phones in utterances.items():
        if isinstance(phones, str):
            raise TypeError(f"{id_}: expected a list of phones, got the string {phones!r}; split it where it was read")
        bad = [phone for phone in phones if phone.split() != [phone]]
        if bad:
            faults.append(
                UserError(
                    f"{id_}: {bad[0]!r} is not a phone: empty, or with white space inside",
                    remedy="give every phone as its own item of the list",
                )
            )
    return faults


def _some(ids: Collection[str]) -> str:
    shown = ", ".join(sorted(ids)[:IDS_SHOWN])
    return shown if len(ids) <= IDS_SHOWN else f"{shown} and {len(ids) - IDS_SHOWN} more"
