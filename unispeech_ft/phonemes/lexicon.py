"""Pronunciation lexicons, written by hand, for MFA or for Kaldi, and tables of letters that make a first one.

Words are found by the rule by which sentences are normalised, whatever their case, the longest entry first.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from unispeech_ft.errors import UserError
from unispeech_ft.extras import optional
from unispeech_ft.phonemes.articulatory import feature_table
from unispeech_ft.phonemes.normalise import Rule, fold, normalise_sentence
from unispeech_ft.phonemes.notation import without_marks

Pronunciations = tuple[tuple[str, ...], ...]
# MFA writes one to four probabilities between word and phones, Kaldi's lexiconp.txt one.
NUMBER = re.compile(r"[-+]?(\d+([.,]\d*)?|[.,]\d+)([eE][-+]?\d+)?")
REMARK = re.compile(r"\s#(\s.*)?$")
# Noises of Kaldi's and MFA's dictionaries.
NO_WORD = re.compile(r"<.*>|\[.*\]|!SIL")
HEADERS = (["phones"], ["phonemes"], ["pronunciation"])
MOST_NUMBERS = 4
VARIANT = re.compile(r"\(\d+\)$")
COMMENT = ";;;"
GLUED_LETTERS = 3
# A comma or semicolon where a tab should be.
OTHER_DELIMITER = re.compile(r"[^\W\d][,;]\S")


@dataclass(frozen=True)
class Lexicon:
    """Word, or words separated by spaces → its pronunciations, the preferred one first.

    Attributes:
        entries: as normalised, in their own case.
        language: by whose rule case is ignored.
    """

    entries: Mapping[str, Pronunciations]
    language: str | None = None
    _folded: dict[str, Pronunciations] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        folded: dict[str, Pronunciations] = {}
        for word, pronunciations in self.entries.items():
            folded.setdefault(fold(word, self.language), pronunciations)
        object.__setattr__(self, "_folded", folded)

    @cached_property
    def longest(self) -> int:
        """Words of the longest entry."""
        return max((word.count(" ") + 1 for word in self.entries), default=1)

    def get(self, word: str) -> Pronunciations | None:
        """The pronunciations of an entry, in the word's own case first."""
        return self.entries.get(word) or self._folded.get(fold(word, self.language))

    def look_up(self, words: Sequence[str]) -> list[tuple[str, Pronunciations | None]]:
        """The entries that a normalised sentence consists of; None for a word that the lexicon lacks.

        A compound that it lacks is put together from its parts at hyphens and apostrophes, where it has them all.
        """
        found: list[tuple[str, Pronunciations | None]] = []
        place = 0
        while place < len(words):
            for length in range(min(self.longest, len(words) - place), 0, -1):
                entry = " ".join(words[place : place + length])
                pronunciations = self.get(entry)
                if pronunciations or length == 1:
                    found.append((entry, pronunciations or self._of_parts(entry)))
                    place += length
                    break
        return found

    def _of_parts(self, word: str) -> Pronunciations | None:
        for pattern in (r"[^'-]+'?", r"[^'-]+"):
            parts = [self.get(part) for part in re.findall(pattern, word)]
            if parts and all(parts):
                return (tuple(phone for part in parts if part for phone in part[0]),)
        return None


def read_lexicon(
    path: Path, *, rule: Rule = "text", language: str | None = None, segment: bool = False, stress: bool = False
) -> Lexicon:
    """A lexicon of lines word<TAB>phones, or with spaces alone, probabilities between the two left out.

    Args:
        rule, language: of the sentences that it will be used on.
        segment: phones are written without spaces; panphon cuts them.
        stress: keep ˈ and ˌ.

    Raises:
        UserError: the file is missing, not UTF-8, holds malformed lines (all of them are named), or writes phones
            without spaces while `segment` is false.
    """
    read = _lines(path, "lexicon", "phonemes.lexicon (--lexicon)")
    lines = [(number, *_entry(REMARK.sub("", line))) for number, line in read]
    listed = [
        item
        for item in lines
        if not NO_WORD.fullmatch(item[1]) and not (item[1].lower() == "word" and item[2] in HEADERS)
    ]
    weighted = _weighted([phones for _, _, phones, _ in listed])
    said = [
        (n, word, without_marks(_unweighted(phones, max(weighted, own)), stress=stress))
        for n, word, phones, own in listed
    ]
    malformed = [str(n) for n, word, phones in said if not word or not phones or any(p[-1] == "," for p in phones)]
    if malformed:
        raise UserError(
            f"lexicon {path}: line {', '.join(malformed[:10])} is not word<TAB>phones", remedy="mend or remove it"
        )
    if not segment:
        _check_apart(path, [(n, phones) for n, _, phones in said])
    entries: dict[str, dict[tuple[str, ...], None]] = {}
    for _, word, phones in said:
        key = normalise_sentence(VARIANT.sub("", word), rule=rule, language=language)
        if key:
            entries.setdefault(key, {})[tuple(segments(phones) if segment else phones)] = None
    if not entries:
        raise UserError(f"lexicon {path} is empty", remedy="write lines of word<TAB>phones separated by spaces")
    return Lexicon({word: tuple(found) for word, found in entries.items()}, language)


def _check_apart(path: Path, said: Sequence[tuple[int, Sequence[str]]]) -> None:
    """Refuses words whose phones are written as one: most of them, or some that others write apart.

    Raises:
        UserError: there are such.
    """
    known = {phone: (phone,) for _, phones in said if len(phones) > 1 for phone in phones}
    lines = ""
    if not are_glued((phones for _, phones in said), one_each=True):
        alone = [(n, phones[0]) for n, phones in said if len(phones) == 1 and phones[0] not in known]
        stuck = [str(n) for n, one in alone if known and num_letters(one) >= GLUED_LETTERS and not _cut(one, known)[1]]
        if not stuck:
            return
        lines = f": line {', '.join(stuck[:10])}"
    raise UserError(
        f"lexicon {path}{lines} writes each word as one phone",
        remedy="separate the phones by spaces, or set phonemes.segment true (--segment), and panphon cuts them",
    )


def _lines(path: Path, what: str, key: str) -> Iterable[tuple[int, str]]:
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except OSError as error:
        raise UserError(f"{what} {path} cannot be read ({error.strerror})", remedy=f"check {key}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{what} {path} is not UTF-8 (byte {error.start})", remedy="save it as UTF-8") from None
    for number, line in enumerate(lines, start=1):
        if line.strip() and not line.startswith(COMMENT):
            yield number, line.strip("\r\n ")


def _entry(line: str) -> tuple[str, list[str], int]:
    """Word, numbers and phones (none where the columns are anything else), and how many numbers stand in columns of
    their own."""
    word, *columns = (column.strip() for column in line.split("\t")) if "\t" in line else line.split(None, 1)
    *numbers, phones = [column for column in columns if column] or [""]
    apart = all(NUMBER.fullmatch(column) or " " not in column + phones for column in numbers)
    if not apart or ("\t" not in line and OTHER_DELIMITER.search(word)):
        return word, [], 0
    return word, [*numbers, *phones.split()], len(numbers) if " " in phones else 0


def _numbers(phones: Sequence[str]) -> int:
    """How many numbers stand before the first phone."""
    most = min(MOST_NUMBERS, len(phones) - 1)
    return next((n for n in range(most) if not NUMBER.fullmatch(phones[n])), max(0, most))


def _weighted(lines: Sequence[Sequence[str]]) -> int:
    """How many numbers stand before the phones of every line, where the first can be probabilities: 9 is X-SAMPA."""
    least = min(map(_numbers, lines), default=0)
    first = [float(phones[0].replace(",", ".")) for phones in lines] if least else []
    return least if all(number <= 1 for number in first) else 0


def _unweighted(phones: Sequence[str], weighted: int) -> Sequence[str]:
    """Phones without the probabilities before them: as many as is known, and up to the last with a decimal point."""
    there = _numbers(phones)
    decimal = next((n for n in range(there, 0, -1) if not phones[n - 1].lstrip("+-").isdigit()), 0)
    return phones[max(weighted, decimal) :]


def num_letters(phone: str) -> int:
    """Letters of a phone, its marks apart."""
    return sum(unicodedata.category(letter) in ("Ll", "Lo", "Lu") for letter in phone)


def are_glued(lines: Iterable[Sequence[str]], *, one_each: bool = False) -> bool:
    """Whether phones are written without spaces between them.

    Args:
        one_each: each line is one word, so that all its phones would be one.
    """
    if one_each:
        words = [line for line in lines if "".join(line)]
        enough = GLUED_LETTERS if any(len(line) > 1 for line in words) else GLUED_LETTERS - 1
        glued = [len(line) == 1 and num_letters(line[0]) >= enough for line in words]
    else:
        glued = [num_letters(phone) > GLUED_LETTERS for line in lines for phone in line]
    return 2 * sum(glued) > len(glued)


def segments(phones: Sequence[str]) -> list[str]:
    """Phones written without spaces, one by one, as panphon cuts them; what it does not know stays with the last.

    Raises:
        UserError: panphon is not installed.
    """
    optional("panphon", "features", "phonemes.segment", "separate the phones by spaces")
    table = feature_table()
    found: list[str] = []
    for phone in (piece for word in phones for piece in table.segs_safe(word)):
        loose = unicodedata.category(phone[0])[0] in "MNS" or unicodedata.category(phone[0]) == "Lm"
        if loose and found and phone not in "ˈˌ":
            found[-1] += phone
        else:
            found.append(phone)
    return found


def read_letters(path: Path) -> dict[str, list[str]]:
    """A table of lines letters<TAB>phones separated by spaces; nothing after the tab: they are silent.

    Raises:
        UserError: the file is missing, not UTF-8, empty, or holds lines that are malformed or contradict others.
    """
    table: dict[str, list[str]] = {}
    malformed = []
    for number, line in _lines(path, "table", "its path"):
        letters, tab, phones = line.partition("\t")
        key = unicodedata.normalize("NFC", letters.strip()).casefold()
        if not key or (not tab and len(key) > 1) or table.setdefault(key, phones.split()) != phones.split():
            malformed.append(str(number))
    if malformed:
        raise UserError(
            f"table {path}: line {', '.join(malformed[:10])} is not letters<TAB>phones, or says otherwise than another",
            remedy="mend or remove it",
        )
    if not table:
        raise UserError(f"table {path} is empty", remedy="write lines of letters<TAB>phones separated by spaces")
    return table


def spell(word: str, table: Mapping[str, Sequence[str]], language: str | None = None) -> tuple[list[str], str]:
    """Phones of a word by a table of letters, the longest letters first; and the letters that the table lacks."""
    phones, lacking = _cut(unicodedata.normalize("NFC", fold(word, language)), table)
    return phones, "".join(letter for letter in lacking if letter not in "'-")


def _cut(letters: str, table: Mapping[str, Sequence[str]]) -> tuple[list[str], str]:
    longest = max(map(len, table))
    phones: list[str] = []
    lacking = ""
    place = 0
    while place < len(letters):
        for length in range(min(longest, len(letters) - place), 0, -1):
            piece = letters[place : place + length]
            if piece in table or length == 1:
                phones += table.get(piece, ())
                lacking += "" if piece in table else piece
                place += length
                break
    return phones, lacking
