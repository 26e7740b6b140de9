"""Characters that espeak-ng does not read in a language: it leaves them out, or says what they are ("Chinese letter",
"letter 2b9", "smiling face")."""

from __future__ import annotations

import functools
import unicodedata
from collections import Counter
from collections.abc import Sequence
from os.path import commonprefix

import regex

from unispeech_ft.phonemes.espeak import LANGUAGE_FLAG, espeak_phones

# "Chinese letter" and its like have more phones than one letter's sound or name, and neighbours share them.
NAME_PHONES = 5
LETTERS_AND_DIGITS = ("Ll", "Lm", "Lo", "Lt", "Lu", "Nd")
# What a decoder writes in the place of a letter that it could not read.
REPLACED = "\ufffd"
NEIGHBOURS = (1, -1, 2, -2, 5, -5, 16, -16)
# Letters and marks whose code espeak-ng spells in every language; what each pair shares is its word for them.
SPELLED = (("ꙗ", "𐍈"), ("\ua66f", "\u0361"))
# Words by which it shows whether a voice reads a script, or calls its letters by their names.
WORDS = {"CYRILLIC": "москва", "GREEK": "καλημέρα"}
SPELLED_LETTERS = 3
# People read them aloud, and many voices of espeak-ng leave them out.
SIGN = regex.compile(r"(?V1)[[\p{Sc}\p{Sm}%‰°№§@&]--[|~=<>←-⇿⟵-⟿⤀-⥿]]")
# Nobody reads them aloud, and espeak-ng does.
PICTURE = regex.compile(
    r"(?V1)[[\p{So}\p{Extended_Pictographic}\p{Emoji_Modifier}\p{Regional_Indicator}←-⇿]--[°©®\u2100-\u214f]]"
)


@functools.cache
def _said(text: str, language: str) -> tuple[str, ...]:
    (phones,) = espeak_phones([text], language)
    return tuple(phone for phone in phones if not LANGUAGE_FLAG.fullmatch(phone))


@functools.cache
def _is_spelled(character: str, language: str) -> bool:
    """Whether espeak-ng says "letter" or "symbol" and the character's code."""
    said = _said(character, language)
    words = [commonprefix([_said(one, language), _said(other, language)]) for one, other in SPELLED]
    return any(word and said[: len(word)] == word and len(said) > len(word) + 1 for word in words)


@functools.cache
def _may_be_named(character: str, language: str) -> bool:
    """Whether what is said of a letter alone begins as what is said of others of its script; a few letters' own names
    do, too."""
    said, script = _said(character, language), _script(character)
    if script == "LATIN":
        return False
    beside = (chr(ord(character) + step) for step in NEIGHBOURS)
    others = [other for other in beside if _script(other) == script and _letter(other) != _letter(character)]
    return any(len(commonprefix([said, _said(other, language)])) >= NAME_PHONES for other in others)


@functools.cache
def _spells(script: str, language: str) -> bool:
    word = WORDS.get(script, "")
    names = [_said(letter, language) for letter in word]
    return sum(map(len, names)) > 1.5 * len(word) and sum(names, ()) == _said(word, language)


def _is_named(character: str, word: str, language: str) -> bool:
    """Whether a character is called by its name in a word; within one that espeak-ng can read, nothing is."""
    if PICTURE.match(character):
        return _said(word, language) != _said(PICTURE.sub("", word), language)
    said, category = _said(character, language), unicodedata.category(character)
    if len(said) < NAME_PHONES or category not in LETTERS_AND_DIGITS and category[0] != "M":
        return False
    heard = _said(word, language)
    if " ".join(said[:NAME_PHONES]) not in " ".join(heard):
        return False
    if _is_spelled(character, language) or _may_be_named(character, language):
        return True
    rest = word.replace(character, "")
    if not rest:  # a letter alone is read by its name; a mark is no word
        return category == "Lm" or category[0] == "M"
    return category != "Nd" and len(heard) - len(_said(rest, language)) >= NAME_PHONES


@functools.cache
def _unreadable_in(word: str, language: str) -> str:
    scripts = Counter(map(_script, word))
    spelled = {one for one, count in scripts.items() if count >= SPELLED_LETTERS and _spells(one, language)}

    def unreadable(character: str) -> bool:
        sign = bool(SIGN.match(character))
        if character.isascii() and not sign:
            return False
        spoken = sign or unicodedata.category(character) in LETTERS_AND_DIGITS
        skipped = spoken and not _said(character, language)
        return skipped or _script(character) in spelled or character == REPLACED or _is_named(character, word, language)

    return "".join(character for character in word if unreadable(character))


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
