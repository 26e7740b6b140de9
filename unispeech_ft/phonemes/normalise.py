"""Sentences → what the grapheme-to-phoneme step reads, by one of two rules.

`text`, for people's own speech: espeak-ng gets the sentence itself; only sentence marks, brackets and quotation marks
go, and what is one thing in several encodings is made one. `published`, the rule behind the labels of the UniSpeech
splits: every punctuation character becomes a space, the apostrophe and the hyphen too; the case is kept.
"""

from __future__ import annotations

import html
import unicodedata
from collections.abc import Iterator
from typing import Literal

import regex

Rule = Literal["text", "published"]

APOSTROPHES = str.maketrans(dict.fromkeys("’‘ʼʻʽʾʿ`´′＇‛՚׳ߴʹˊꞌꞋ᾽᾿", "'"))
HYPHENS = str.maketrans(dict.fromkeys("\u2010\u2011", "-"))
BRACKETS = r"\p{Ps}\p{Pe}\p{Pi}\p{Pf}"
MARK = regex.compile(rf"[{BRACKETS}\p{{Pd}}\p{{Quotation_Mark}}\p{{Terminal_Punctuation}}¡¿…•‣・·٫٬]")
# Never part of a word; the Ethiopic word space is one.
ALWAYS_MARK = regex.compile(
    rf"(?V1)[[{BRACKETS}\p{{Quotation_Mark}}\p{{Sentence_Terminal}};¡¿…•‣・\u1361-\u1366]--['.]]"
)
# A character as subtitles and web pages write it.
ENTITY = regex.compile(r"&(#\d{1,7}|#x[0-9a-fA-F]{1,6}|[a-zA-Z]{2,8});")
# Inside words, and no part of them: Arabic's stretching, the marks of Armenian on the vowel that is called out.
WITHIN_WORDS = "\u0640՛՜՞"
# Arabic signs of numbers, and the quotation mark that stands for Hebrew's of abbreviations.
DECIMAL = regex.compile(r"(?<=[0-9٠-٩])٫(?=[0-9٠-٩])")
PERCENT = str.maketrans("٪؉", "%‰")
GERSHAYIM = regex.compile(r"(?<=\p{Hebrew})[\"”](?=\p{Hebrew})")
# 't huis: no quotation.
ELISION = regex.compile(r"'\w\s")
# Scripts that write joiners, and those without spaces, where a zero-width space ends a word.
_WITH_JOINERS = ("ARABIC", "SYRIAC", "THAANA", "MONGOLIAN", "DEVANAGARI", "BENGALI", "GURMUKHI", "GUJARATI", "ORIYA",
                 "TAMIL", "TELUGU", "KANNADA", "MALAYALAM", "SINHALA")  # fmt: skip
_WITHOUT_SPACES = ("THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN")
# Their small letter of I is ı, and that of İ is i.
_DOTLESS_I = frozenset(("az", "aze", "azj", "crh", "gag", "kaz", "kk", "tat", "tr", "tt", "tur"))
_ABBREVIATION_LETTERS = 4


def normalise_sentence(
    sentence: str, *, rule: Rule = "text", language: str | None = None, keep_punctuation: bool = False
) -> str:
    """One line of words separated by single spaces.

    Args:
        sentence: any text.
        rule: see the module.
        language: a code such as `tr` or `sv-SE`; the small letters of a line in capitals depend on it.
        keep_punctuation: leave the marks, as words of their own.
    """
    if rule == "published" and not keep_punctuation:
        characters = unicodedata.normalize("NFC", sentence)
        return " ".join("".join(" " if _parts_published(character) else character for character in characters).split())
    if rule == "text":
        sentence = ENTITY.sub(lambda found: html.unescape(found.group()), sentence)
    text = "".join(_compatible(c) for c in unicodedata.normalize("NFC", sentence.translate(APOSTROPHES)))
    text = "".join(_without_format(unicodedata.normalize("NFC", text.translate(APOSTROPHES))))
    if rule == "text":
        text = GERSHAYIM.sub("״", DECIMAL.sub(".", text.translate(PERCENT)))
    marks = _without_marks(text.translate(HYPHENS), " {} " if keep_punctuation else " ")
    line = " ".join("".join(marks).split())
    return _lowered(line, language) if rule == "text" else line


def fold(text: str, language: str | None = None) -> str:
    """Text without its case, as the language has it."""
    return _dotted(text, language).casefold()


def is_mark(word: str) -> bool:
    """Whether a word is one mark that `normalise_sentence` would remove."""
    return MARK.fullmatch(word) is not None


def _parts_published(character: str) -> bool:
    category = unicodedata.category(character)
    return category.startswith("P") or category in ("Cc", "Cf", "Zl", "Zp")


def _compatible(character: str) -> str:
    """A full-width, circled or joined form as the plain one; fractions, raised signs and № are spoken as they stand."""
    kind = unicodedata.decomposition(character).partition(" ")[0]
    if not kind.startswith("<") or character == "№" or kind in ("<super>", "<sub>", "<fraction>", "<noBreak>"):
        return " " if kind == "<noBreak>" and character.isspace() else character
    plain = unicodedata.normalize("NFKC", character)
    # What would come apart into a loose mark is one letter to its script, as Thai's am; half-width kana are no such.
    loose = unicodedata.category(plain[0]).startswith("M") and kind != "<narrow>"
    return character if plain[0].isspace() or loose else plain


def _script(character: str) -> str:
    return unicodedata.name(character, "").partition(" ")[0]


def _without_format(text: str) -> Iterator[str]:
    for place, character in enumerate(text):
        category = unicodedata.category(character)
        before = _script(text[place - 1]) if place else ""
        if category in ("Cc", "Zl", "Zp"):
            yield " "
        elif character in WITHIN_WORDS:
            continue
        elif category != "Cf" or character in "\u200c\u200d" and before in _WITH_JOINERS:
            yield character
        elif character == "\u200b" and before in _WITHOUT_SPACES:
            yield " "


def _lowered(text: str, language: str | None) -> str:
    """A line in capitals in small letters: espeak-ng would spell its short words; a short word alone may be a name."""
    cased = [word for word in text.split() if any(letter.upper() != letter.lower() for letter in word)]
    # ß and º have no capital of their own.
    small = any(letter.islower() and len(letter.upper()) == 1 and letter.upper() != letter for letter in text)
    if small or not cased:
        return text
    if len(cased) < 2 and sum(map(str.isalpha, text)) <= _ABBREVIATION_LETTERS:
        return text
    return small_letters(text, language)


def small_letters(text: str, language: str | None = None) -> str:
    """Text in small letters, as the language has them."""
    return _dotted(text, language).lower()


def _dotted(text: str, language: str | None) -> str:
    if language and regex.split("[-_]", language.lower())[0] in _DOTLESS_I:
        text = text.replace("I", "ı")
    return text.replace("İ", "i")


def _without_marks(text: str, instead: str) -> Iterator[str]:
    """The text, `instead` in place of each mark that is no part of a word or number."""
    quoted = _single_quotes(text)
    for place, character in enumerate(text):
        removable = place in quoted or (is_mark(character) and not _belongs(text, place))
        yield instead.format(character) if removable else character


def _belongs(text: str, place: int) -> bool:
    """Whether a mark is part of a word or a number: don't, well-known, 3.14, -5, U.S.A., un po'."""
    character, before, after = text[place], text[place - 1 : place], text[place + 1 : place + 2]
    if ALWAYS_MARK.match(character):
        return False
    if character == "'":
        return _in_word(before) or _in_word(after)
    inside = _in_word(before) and _in_word(after)
    if unicodedata.category(character) == "Pd":
        minus = character == "-" and after.isdigit() and not before.isalnum()
        return minus or (inside and (character == "-" or before.isdigit() and after.isdigit()))
    if inside:
        return unicodedata.east_asian_width(before) != "W" and unicodedata.east_asian_width(after) != "W"
    if character == "." and before.isalnum():
        word = text[:place].split()[-1]
        return "." in word or (before.isdigit() and any(map(str.isalnum, text[place + 1 :])))
    return False


def _in_word(character: str) -> bool:
    return character.isalnum() or (bool(character) and unicodedata.category(character).startswith("M"))


def _single_quotes(text: str) -> set[int]:
    """Places of apostrophes that open and close a quotation; one that stands alone is an elision ('t, un po')."""
    opened: int | None = None
    quotes: set[int] = set()
    for place, character in enumerate(text):
        if character != "'":
            continue
        before, after = _in_word(text[place - 1 : place]), _in_word(text[place + 1 : place + 2])
        if after and not before:
            opened = None if ELISION.match(text, place) else place
        elif not after and opened is not None:
            quotes |= {opened, place}
            opened = None
    return quotes
