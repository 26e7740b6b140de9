"""Sentences → what the grapheme-to-phoneme step reads.

The original rule (label preparation of the UniSpeech splits): every punctuation character becomes a space, the
apostrophe and the hyphen too; the case is kept, since espeak-ng reads capitals (abbreviations) differently.
"""

from __future__ import annotations

import unicodedata

_CONTROL = ("Cc", "Cf", "Zl", "Zp")


def normalise_sentence(sentence: str, *, keep_punctuation: bool = False) -> str:
    """One line of words separated by single spaces.

    Args:
        sentence: any text.
        keep_punctuation: leave punctuation marks where they are; control characters become spaces all the same.
    """
    characters = [
        " "
        if unicodedata.category(character) in _CONTROL
        or (not keep_punctuation and unicodedata.category(character).startswith("P"))
        else character
        for character in unicodedata.normalize("NFC", sentence)
    ]
    return " ".join("".join(characters).split())
