"""The order that a phonetician expects: consonants by manner, then by place; vowels by height; then the rest."""

from __future__ import annotations

from collections.abc import Iterable

from unispeech_ft.scoring.ladder import BROAD_CLASSES, broad_class, without_diacritics

MANNERS = (
    "plosive",
    "affricate",
    "nasal",
    "trill or tap",
    "fricative",
    "approximant",
    "lateral",
    "click",
    "vowel",
)
OTHER = "other"


def phone_class(phone: str) -> str:
    """One of `MANNERS`, or `other` for what is no known letter of the IPA."""
    found = broad_class(phone)
    return found if found in MANNERS else OTHER


def ipa_key(phone: str) -> tuple[int, int, int, str]:
    """Sorts phones by manner, place (vowels: height), length of what is added to the letter, and name."""
    name = phone_class(phone)
    if name == OTHER:
        return len(MANNERS), 0, 0, phone
    bare = without_diacritics(phone)
    # An affricate is ordered by its fricative; within their class, letters stand by place or height.
    letter, letters = (bare[1], BROAD_CLASSES["fricative"]) if name == "affricate" else (bare[0], BROAD_CLASSES[name])
    return MANNERS.index(name), letters.index(letter), len(phone), phone


def ipa_order(phones: Iterable[str]) -> list[str]:
    """Distinct phones in order; any string finds a place."""
    return sorted(set(phones), key=ipa_key)
