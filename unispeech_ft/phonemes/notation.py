"""Phone → phones maps: files, and the way from espeak-ng's notation to plain IPA."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from unispeech_ft.errors import UserError

PhoneMap = Callable[[str], Sequence[str]]

# What espeak-ng prints for phones that have no IPA name in its tables (Kirshenbaum-like mnemonics), as IPA.
# `[` marks a dental, `:` length; ky and other Turkic voices leak them.
IPA = {
    "d[": "d̪",
    "t[": "t̪",
    "dZ": "dʒ",
    "tS": "tʃ",
    "ts": "ts",
    "S": "ʃ",
    "Z": "ʒ",
    "N": "ŋ",
    "X": "χ",
    "oe": "ø",
    "oe:": "øː",
}


def ipa_phone(phone: str) -> str:
    """One phone of espeak-ng in plain IPA; what is IPA already stays as it is."""
    if phone in IPA:
        return IPA[phone]
    if phone.endswith(":"):
        return ipa_phone(phone[:-1]) + "ː"
    return phone


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
        raise UserError(f"phonemes.map: {path} cannot be read ({error})", remedy="use none, ipa, or a UTF-8 file") from None
    mapping: dict[str, list[str]] = {}
    for number, line in enumerate(lines, start=1):
        phone, tab, target = line.strip("\r").partition("\t")
        if not line.strip():
            continue
        if not tab or len(phone.split()) != 1:
            raise UserError(f"{path}, line {number} is not phone<TAB>phones", remedy="mend or remove it")
        mapping[phone.strip()] = target.split()
    return lambda phone: mapping.get(phone, [phone])
