"""Letters that espeak-ng does not read in a language: it leaves them out, or says what they are ("Chinese letter")."""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Sequence
from os.path import commonprefix

from unispeech_ft.phonemes.espeak import LANGUAGE_FLAG, espeak_phones

# "Chinese letter" and its like have more phones than one letter's sound or name, and neighbours share them.
NAME_PHONES = 5
LETTERS_AND_DIGITS = ("Ll", "Lm", "Lo", "Lt", "Lu", "Nd")
# What a decoder writes in the place of a letter that it could not read.
REPLACED = "\ufffd"
NEIGHBOURS = (1, -1, 2, -2, 5, -5, 16, -16)


@functools.cache
def _said(character: str, language: str) -> tuple[str, ...]:
    (phones,) = espeak_phones([character], language)
    return tuple(phone for phone in phones if not LANGUAGE_FLAG.fullmatch(phone))


@functools.cache
def _may_be_named(character: str, language: str) -> bool:
    """Whether what is said of a letter alone begins as what is said of others of its script; a few letters' own names
    do, too."""
    said = _said(character, language)
    script = _script(character)
    if len(said) < NAME_PHONES or script == "LATIN":
        return False
    beside = (chr(ord(character) + step) for step in NEIGHBOURS)
    others = [other for other in beside if _script(other) == script and _letter(other) != _letter(character)]
    return any(len(commonprefix([said, _said(other, language)])) >= NAME_PHONES for other in others)


@functools.cache
def _unreadable_in(word: str, language: str) -> str:
    unread = [c for c in word if not c.isascii() and unicodedata.category(c) in LETTERS_AND_DIGITS]
    skipped = [character for character in unread if not _said(character, language)]
    named = [character for character in unread if _may_be_named(character, language)]
    if named:
        # Within a word that espeak-ng can read, nothing is called by its name.
        (spoken,) = espeak_phones([word], language)
        heard = " ".join(phone for phone in spoken if not LANGUAGE_FLAG.fullmatch(phone))
        named = [c for c in named if " ".join(_said(c, language)[:NAME_PHONES]) in heard]
    return "".join(c for c in word if c in skipped or c in named or c == REPLACED)


def _script(character: str) -> str:
    return unicodedata.name(character, "").partition(" ")[0]


def _letter(character: str) -> str:
    return unicodedata.normalize("NFD", character.casefold())[0]


def unreadable_characters(sentences: Sequence[str], language: str) -> list[str]:
    """Of each sentence, the characters that espeak-ng skips or names in a language, in their order, each once.

    Args:
        language: espeak-ng's name.
    """
    words = (sentence.split() for sentence in sentences)
    return ["".join(dict.fromkeys("".join(_unreadable_in(word, language) for word in line))) for line in words]
