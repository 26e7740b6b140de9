"""Pronunciation lexicons, written by hand, for MFA or for Kaldi, and tables of letters that make a first one.

Words are found by the rule by which sentences are normalised, whatever their case, the longest entry first.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from unispeech_ft.errors import UserError
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
    entries: dict[str, dict[tuple[str, ...], None]] = {}
    malformed = []
    for number, line in _lines(path, "lexicon", "phonemes.lexicon"):
        word, phones = _entry(REMARK.sub("", line))
        if NO_WORD.fullmatch(word) or (word.lower() == "word" and phones in HEADERS):
            continue
        phones = without_marks(phones, stress=stress)
        if not word or not phones:
            malformed.append(str(number))
            continue
        key = normalise_sentence(VARIANT.sub("", word), rule=rule, language=language)
        if key:
            entries.setdefault(key, {})[tuple(segments(phones) if segment else phones)] = None
    if malformed:
        raise UserError(
            f"lexicon {path}: line {', '.join(malformed[:10])} is not word<TAB>phones", remedy="mend or remove it"
        )
    if not entries:
        raise UserError(f"lexicon {path} is empty", remedy="write lines of word<TAB>phones separated by spaces")
    if not segment and are_glued((next(iter(said)) for said in entries.values()), one_each=True):
        raise UserError(
            f"lexicon {path} writes each word as one phone",
            remedy="separate the phones by spaces, or set phonemes.segment true (--segment), and panphon cuts them",
        )
    return Lexicon({word: tuple(said) for word, said in entries.items()}, language)


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


def _entry(line: str) -> tuple[str, list[str]]:
    word, tab, rest = line.partition("\t")
    if not tab:
        word, _, rest = line.partition(" ")
    phones = rest.split()
    numbers = 0
    while numbers < min(MOST_NUMBERS, len(phones) - 1) and NUMBER.fullmatch(phones[numbers]):
        numbers += 1
    return word.strip(), phones[numbers:]


def _letters(phone: str) -> int:
    return sum(unicodedata.category(letter) in ("Ll", "Lo", "Lu") for letter in phone)


def are_glued(lines: Iterable[Sequence[str]], *, one_each: bool = False) -> bool:
    """Whether phones are written without spaces between them.

    Args:
        one_each: each line is one word, so that all its phones would be one.
    """
    if one_each:
        glued = [len(line) == 1 and _letters(line[0]) >= GLUED_LETTERS for line in lines if "".join(line)]
    else:
        glued = [_letters(phone) > GLUED_LETTERS for line in lines for phone in line]
    return 2 * sum(glued) > len(glued)


def segments(phones: Sequence[str]) -> list[str]:
    """Phones written without spaces, one by one, as panphon cuts them; what it does not know stays with the last.

    Raises:
        UserError: panphon is not installed.
    """
    table = _panphon()
    found: list[str] = []
    for phone in (piece for word in phones for piece in table(word)):
        loose = unicodedata.category(phone[0])[0] in "MNS" or unicodedata.category(phone[0]) == "Lm"
        if loose and found and phone not in "ˈˌ":
            found[-1] += phone
        else:
            found.append(phone)
    return found


_table: list[Callable[[str], list[str]]] = []


def _panphon() -> Callable[[str], list[str]]:
    if not _table:
        try:
            import panphon
        except ImportError:
            raise UserError(
                "phonemes.segment needs panphon, which is not installed",
                remedy="pip install 'unispeech-ft[features]', or separate the phones by spaces",
            ) from None
        _table.append(panphon.FeatureTable().segs_safe)
    return _table[0]


def read_letters(path: Path) -> dict[str, list[str]]:
    """A table of lines letters<TAB>phones separated by spaces; nothing after the tab: they are silent.

    Raises:
        UserError: the file is missing, not UTF-8 or empty.
    """
    table = {}
    for _, line in _lines(path, "table", "its path"):
        letters, _, phones = line.partition("\t")
        table[unicodedata.normalize("NFC", letters.strip()).casefold()] = phones.split()
    if not table:
        raise UserError(f"table {path} is empty", remedy="write lines of letters<TAB>phones separated by spaces")
    return table


def spell(word: str, table: Mapping[str, Sequence[str]], language: str | None = None) -> tuple[list[str], str]:
    """Phones of a word by a table of letters, the longest letters first; and the letters that the table lacks."""
    letters = unicodedata.normalize("NFC", fold(word, language))
    longest = max(map(len, table))
    phones: list[str] = []
    lacking = ""
    place = 0
    while place < len(letters):
        for length in range(min(longest, len(letters) - place), 0, -1):
            piece = letters[place : place + length]
            if piece in table or length == 1:
                phones += table.get(piece, ())
                lacking += "" if piece in table or piece in "'-" else piece
                place += length
                break
    return phones, lacking
