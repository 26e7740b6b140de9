"""Phones that came with the data: word marks, slashes and stress left out, and what was left out said."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from unispeech_ft.config.sections import PhonemesConfig
from unispeech_ft.errors import UserError
from unispeech_ft.phonemes.lexicon import are_glued, segments
from unispeech_ft.phonemes.notation import ENCLOSING, MARKS, STRESS, phone_map, split_tone, without_marks


def column_rule(phonemes: PhonemesConfig) -> Callable[[Sequence[str]], list[str]]:
    """How the phones that stand in a column become labels, as the configuration has it."""
    mapping = phone_map(phonemes.map)

    def labels(column: Sequence[str]) -> list[str]:
        whole = [part for phone in column for part in phone.replace("|", " | ").split()]
        kept = without_marks(whole, stress=phonemes.stress)
        kept = segments(kept) if phonemes.segment else kept
        toned = [part for phone in kept if phone for part in split_tone(phone, phonemes.tones)]
        return [target for phone in toned if phone not in MARKS for target in mapping(phone)]

    return labels


def check_column(columns: Sequence[Sequence[str]], phonemes: PhonemesConfig) -> list[str]:
    """What is left out of the phones of a column, in lines for people.

    Raises:
        UserError: phones are written without spaces while `phonemes.segment` is false.
    """
    if not phonemes.segment and are_glued(columns):
        example = next(phone for line in columns for phone in line if are_glued([[phone]]))
        raise UserError(
            f"data.phones_column: {example!r} is not one phone, but many without spaces between them",
            remedy="separate the phones by spaces, or set phonemes.segment true, and panphon cuts them",
        )
    marks = Counter(phone for line in columns for phone in line if phone in MARKS)
    enclosed = sum(bool(ENCLOSING.search(phone)) for line in columns for phone in line if phone not in MARKS)
    stressed = sum(phone != phone.translate(STRESS) for line in columns for phone in line)
    lines = []
    if marks:
        shown = ", ".join(f"{mark} ({count} ×)" for mark, count in marks.most_common())
        lines.append(f"phone column: marks that are no phones are left out: {shown}")
    if enclosed:
        lines.append(f"phone column: slashes and brackets around {enclosed} phones are left out")
    if stressed and not phonemes.stress:
        lines.append(f"phone column: the stress of {stressed} phones is left out; phonemes.stress true keeps it")
    ties = sum("\u0361" in phone or "\u035c" in phone for line in columns for phone in line)
    if ties:
        lines.append(f"phone column: {ties} phones have tie bars and keep them; phonemes.map can rename them")
    return lines
