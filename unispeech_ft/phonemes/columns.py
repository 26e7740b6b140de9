"""Phones that came with the data: word marks, slashes and stress left out, and what was left out said."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from unispeech_ft.config.sections import PhonemesConfig
from unispeech_ft.errors import UserError
from unispeech_ft.phonemes.lexicon import GLUED_LETTERS, are_glued, num_letters, segments
from unispeech_ft.phonemes.notation import MARKS, SILENCES, STRESS, phone_map, split_tone, unenclosed, without_marks


def column_rule(phonemes: PhonemesConfig) -> Callable[[Sequence[str]], list[str]]:
    """How the phones that stand in a column become labels, as the configuration has it."""
    mapping = phone_map(phonemes.map)

    def labels(column: Sequence[str]) -> list[str]:
        kept = without_marks([part for part in _parts(column) if not _is_no_phone(part)], stress=phonemes.stress)
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
    parts = [part for line in columns for part in _parts(line)]
    marks = Counter(part for part in parts if _is_no_phone(part))
    phones = [part for part in parts if not _is_no_phone(part)]
    enclosed = sum(phone != unenclosed(phone) for phone in phones)
    stressed = sum(phone != phone.translate(STRESS) for phone in phones)
    lines = []
    if marks:
        shown = ", ".join(f"{mark} ({count} ×)" for mark, count in marks.most_common())
        lines.append(f"phone column: marks that are no phones are left out: {shown}")
    if enclosed:
        lines.append(f"phone column: slashes and brackets around {enclosed} phones are left out")
    if stressed and not phonemes.stress:
        lines.append(f"phone column: the stress of {stressed} phones is left out; phonemes.stress true keeps it")
    ties = sum("\u0361" in phone or "\u035c" in phone for phone in phones)
    if ties:
        lines.append(f"phone column: {ties} phones have tie bars and keep them; phonemes.map can rename them")
    long = Counter(phone for phone in phones if num_letters(unenclosed(phone)) > GLUED_LETTERS)
    if long and not phonemes.segment:
        shown = ", ".join(f"{phone} ({count} ×)" for phone, count in long.most_common(5))
        lines.append(f"phone column: {len(long)} phones of more than {GLUED_LETTERS} letters: {shown}")
    return lines


def _parts(column: Sequence[str]) -> list[str]:
    return [part for phone in column for part in phone.replace("|", " | ").split()]


def _is_no_phone(phone: str) -> bool:
    return phone in MARKS or phone.lower() in SILENCES
