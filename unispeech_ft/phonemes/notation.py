"""Phone → phones maps: files, and the way from espeak-ng's notation to plain IPA."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Literal

from unispeech_ft.errors import UserError

PhoneMap = Callable[[str], Sequence[str]]
Tones = Literal["vowel", "token"]
# Numbers, raised numbers and tone letters after a vowel; ɜ is how espeak-ng writes the first digit of Mandarin's 35.
TONE = re.compile(r"(?<=\w)([0-9⁰¹²³⁴-⁹˥˦˧˨˩.]*[0-9⁰¹²³⁴-⁹˥˦˧˨˩]\.?|(?<=[aeiouyəɛɔɑɤɨʊɪːœɜ])ɜ)$")

# Tones above a vowel or a syllabic nasal, as letters of tone.
TONE_ABOVE = {"\u030b": "˥", "\u0301": "˦", "\u0304": "˧", "\u0300": "˨", "\u030f": "˩", "\u030c": "˩˥", "\u0302": "˥˩",
              "\u1dc4": "˧˥", "\u1dc5": "˩˧", "\u1dc6": "˧˩", "\u1dc7": "˥˧"}  # fmt: skip
BEARS_TONE = "aeiouyæøœɶɐɑɒɔəɘɵɤɛɜɞɨʉɯɪʏʊʌmnŋ"

# What espeak-ng prints for phones that have no IPA name in its tables: its own mnemonics, which are
# Kirshenbaum-like. Seen in 1.52 for ky, uz, chr (d[ tS oe:), et (t^), is (n#), am and qu (k`), ru and ka (u"), ga (A),
# da (?a) and others.
WHOLE_PHONES = {"oe": "ø", "oe:": "øː", "r.": "ɽ", "tl#": "tɬ", "l#": "ɬ", 'u"': "ʉ", "ɪ^": "ɪ̽"}
LETTERS = {
    "S": "ʃ",
    "Z": "ʒ",
    "N": "ŋ",
    "X": "χ",
    "A": "ɑ",
    "K": "ɬ",
    "?": "ʔ",
    "g": "ɡ",
    ":": "ː",
    "[": "\u032a",  # dental
    "^": "ʲ",  # palatalised
    "`": "ʼ",  # ejective
    "#": "\u0325",  # voiceless
    '"': "\u0308",  # centralised
    ".": "\u0320",  # retracted
    **dict(zip("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹", strict=True)),  # tones, by number
}

# Marks of words, syllables, pauses and feet; as in published labels, no phones.
MARKS = frozenset((
    "|", "||", "/", "//", "#", "##", "+", ".", "-", "_", "‖", "∥", "ǀǀ", "‿", "[", "]", "(", ")", "▁", "␣",
    "<space>", "<w>", "</w>", "<wb>",
))  # fmt: skip
# What aligners write where nobody speaks.
SILENCES = frozenset(("sp", "sil", "spn", "<eps>", "<sil>", "<sp>", "<p:>", "(.)", "(..)"))
ENCLOSING = re.compile(r"^[/\[]+(?=.)|(?<=.)[/\]]+$")
STRESS = str.maketrans("", "", "ˈˌ")


def without_marks(phones: Sequence[str], *, stress: bool) -> list[str]:
    """Phones without marks of words and syllables, slashes and brackets around them, and stress unless it is kept."""
    bare = [unenclosed(phone) for phone in phones if phone not in MARKS]
    bare = bare if stress else [phone.translate(STRESS) for phone in bare]
    return [phone for phone in bare if phone]


def unenclosed(phone: str) -> str:
    """A phone without slashes and brackets around it, and without a parenthesis that another phone opens or closes."""
    bare = ENCLOSING.sub("", phone)
    return bare.strip("()") if bare.count("(") != bare.count(")") else bare


def ipa_phone(phone: str) -> str:
    """One phone of espeak-ng in plain IPA; what is IPA already stays as it is.

    One to one over the phones of ky, fr, es and it; `merged` tells where phones of an inventory fall together.
    """
    if phone in WHOLE_PHONES:
        return WHOLE_PHONES[phone]
    return "".join(LETTERS.get(letter, letter) for letter in phone)


def split_tone(phone: str, tones: Tones) -> list[str]:
    """A phone, and its tone as a phone of its own where `tones` is `token` (a5 → a, 5; á → a, ˦)."""
    if tones != "token":
        return [phone]
    if tone := TONE.search(phone):
        return [phone[: tone.start()], tone.group()]
    letters = unicodedata.normalize("NFD", phone)
    above = "".join(TONE_ABOVE.get(letter, "") for letter in letters)
    if not above or letters[0] not in BEARS_TONE:
        return [phone]
    return [unicodedata.normalize("NFC", "".join(letter for letter in letters if letter not in TONE_ABOVE)), above]


def merged(phones: Iterable[str], mapping: PhoneMap) -> dict[str, list[str]]:
    """The phones that a map makes alike, by what they become; where it is empty the map can be reversed."""
    sources: dict[str, list[str]] = {}
    for phone in sorted(set(phones)):
        sources.setdefault(" ".join(mapping(phone)), []).append(phone)
    return {target: names for target, names in sources.items() if len(names) > 1}


def phone_map(name: str) -> PhoneMap:
    """The map that `phonemes.map` names.

    Args:
        name: `none`, `ipa`, or a file of lines phone<TAB>phones separated by spaces (nothing after the tab deletes).

    Raises:
        UserError: the file is missing or malformed.
    """
    if name == "none":
        return lambda phone: (phone,)
    if name == "ipa":
        return lambda phone: (ipa_phone(phone),)
    path = Path(name)
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"phonemes.map: {path} cannot be read ({error})", remedy="use none, ipa, or a UTF-8 file"
        ) from None
    mapping: dict[str, list[str]] = {}
    for number, line in enumerate(lines, start=1):
        phone, tab, target = line.strip("\r").partition("\t")
        if not line.strip():
            continue
        if not tab or len(phone.split()) != 1:
            raise UserError(f"{path}, line {number} is not phone<TAB>phones", remedy="mend or remove it")
        mapping[phone.strip()] = target.split()
    return lambda phone: mapping.get(phone, [phone])
