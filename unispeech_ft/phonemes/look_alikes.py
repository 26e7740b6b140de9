"""One way of writing each phone, so that two notations of one sound are seen to be one."""

from __future__ import annotations

import unicodedata

from unispeech_ft.phonemes.notation import ipa_phone

TIE_BARS = str.maketrans("", "", "\u0361\u035c")
LOOK_ALIKES = {
    **{"g": "ɡ", ":": "ː", "'": "ʼ", "’": "ʼ", "!": "ǃ", "∫": "ʃ", "ǝ": "ə", "ε": "ɛ", "ß": "β", "∅": "ø"},
    **dict(zip("аеорсухіјһәө", "aeopcyxijhəɵ", strict=True)),  # Cyrillic
    **dict(zip("αγιυφ", "ɑɣɩʊɸ", strict=True)),  # Greek
}
# Letters of their own for what the IPA writes with two, or with a mark.
SPELLED_OUT = {
    **{"ʧ": "tʃ", "ʤ": "dʒ", "ʦ": "ts", "ʣ": "dz", "ʨ": "tɕ", "ʥ": "dʑ"},
    **{"ɚ": "ə˞", "ɝ": "ɜ˞", "ᵻ": "ɨ̞", "ᵿ": "ʉ̞"},
}


def replace_look_alikes(phone: str) -> str:
    """The phone with the letters of the IPA in place of those that only look like them."""
    return "".join(LOOK_ALIKES.get(letter, letter) for letter in phone)


def one_notation(phone: str) -> str:
    """The phone as plain IPA in NFC, look-alikes replaced, ligatures spelled out, tie bars left out.

    Example:
        >>> [one_notation(phone) for phone in ("tS", "t͡ʃ", "tʃ", "ʧ", "g")]
        ['tʃ', 'tʃ', 'tʃ', 'tʃ', 'ɡ']
    """
    letters = "".join(SPELLED_OUT.get(letter, letter) for letter in replace_look_alikes(ipa_phone(phone)))
    decomposed = unicodedata.normalize("NFD", letters)
    return unicodedata.normalize("NFC", decomposed.translate(TIE_BARS))
