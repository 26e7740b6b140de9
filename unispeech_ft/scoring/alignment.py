"""Unit-cost alignment of two lists of phones.

Substitution, deletion and insertion cost 1 each, so the total is the Levenshtein distance and has one value; how it
divides among the three may have several best answers, of which rapidfuzz always gives the same one. sclite weighs
4/3/3 and may divide, or on unrelated pairs even total, differently.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from rapidfuzz.distance import Levenshtein

Pair = tuple[str | None, str | None]


@dataclass(frozen=True)
class Alignment:
    """Counts of one alignment and its pairs (reference phone, hypothesis phone), None where there is none."""

    substitutions: int
    deletions: int
    insertions: int
    pairs: list[Pair]

    @property
    def errors(self) -> int:
        return self.substitutions + self.deletions + self.insertions


def align(reference: Sequence[str], hypothesis: Sequence[str]) -> Alignment:
    """Best unit-cost alignment of two lists of phones.

    Args:
        reference: the phones that were said.
        hypothesis: the phones that were recognised.

    Raises:
        TypeError: a string was given where a list of phones belongs.

    Example:
        >>> align(["t", "a", "tʃ"], ["a", "s"]).pairs
        [('t', None), ('a', 'a'), ('tʃ', 's')]
    """
    counts = {"replace": 0, "delete": 0, "insert": 0}
    pairs: list[Pair] = []
    for operation in Levenshtein.opcodes(*_as_ints(reference, hypothesis)):
        ref: list[str | None] = list(reference[operation.src_start : operation.src_end])
        hyp: list[str | None] = list(hypothesis[operation.dest_start : operation.dest_end])
        width = max(len(ref), len(hyp))
        if operation.tag != "equal":
            counts[operation.tag] += width
        pairs.extend(zip(ref or [None] * width, hyp or [None] * width, strict=True))
    return Alignment(counts["replace"], counts["delete"], counts["insert"], pairs)


def distance(reference: Sequence[str], hypothesis: Sequence[str]) -> int:
    """Unit-cost edit distance of two lists of phones: `align(…).errors` without the alignment.

    Raises:
        TypeError: as in `align`.
    """
    return Levenshtein.distance(*_as_ints(reference, hypothesis))


def _as_ints(reference: Sequence[str], hypothesis: Sequence[str]) -> tuple[list[int], list[int]]:
    for phones in (reference, hypothesis):
        if isinstance(phones, str):
            raise TypeError(f"expected a list of phones, got the string {phones!r}; split it where it was read")
    ids: dict[str, int] = {}
    return (
        [ids.setdefault(phone, len(ids)) for phone in reference],
        [ids.setdefault(phone, len(ids)) for phone in hypothesis],
    )
