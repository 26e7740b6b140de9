"""Text → phones with epitran, an optional extra: rules for many languages that espeak-ng lacks."""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Callable, Sequence

from unispeech_ft.errors import UserError, first_line
from unispeech_ft.extras import optional
from unispeech_ft.phonemes.lexicon import segments
from unispeech_ft.phonemes.normalise import is_mark, small_letters

# A word → its IPA (a mark is itself), and the characters that epitran has no rule for and hands on as they are.
Say = Callable[[str], tuple[str, str]]
# Where epitran has no rule for these marks, they are tones in IPA too.
TONE_MARKS = "\u0300\u0301\u0302\u0304\u030c"


def epitran_language(name: str) -> str:
    """The name itself, if epitran has the language.

    Raises:
        UserError: epitran is not installed, or lacks it.
    """
    _sayer(name)
    return name


@functools.cache
def _sayer(name: str) -> Say:
    epitran = optional("epitran", "epitran", "phonemes.labels epitran")
    try:
        rules = epitran.Epitran(name)
        rules.transliterate("a")
    except Exception as error:
        raise UserError(
            f"epitran has no language {name!r} ({first_line(error)})",
            remedy="set phonemes.language to a name of its list, ISO 639-3 and script, such as kaz-Cyrl",
        ) from None
    # What rules of letters hand on unchanged; what is no rule of letters keeps no such count.
    passed: dict[str, int] = getattr(rules.epi, "nils", {})

    def say(word: str) -> tuple[str, str]:
        if is_mark(word):
            return word, ""
        passed.clear()
        ipa = unicodedata.normalize("NFD", rules.transliterate(word))
        left = [character for character in passed if character in ipa]
        silent = [character for character in left if unicodedata.category(character) == "Cf" or character in "'-·"]
        written = unicodedata.normalize("NFD", word)
        unread = [one for one in left if one in written and one not in silent and one not in TONE_MARKS]
        return unicodedata.normalize("NFC", "".join(one for one in ipa if one not in silent)), "".join(unread)

    return say


def epitran_phones(sentences: Sequence[str], name: str) -> list[tuple[list[str], str]]:
    """Phones of normalised sentences, and of each the characters that epitran has no rule for, each once.

    Args:
        name: epitran's, such as `kaz-Cyrl`.
    """
    say = _sayer(name)
    lines = [[say(small_letters(word, name)) for word in sentence.split()] for sentence in sentences]
    return [
        (segments([ipa for ipa, _ in line if ipa]), "".join(dict.fromkeys("".join(unread for _, unread in line))))
        for line in lines
    ]
