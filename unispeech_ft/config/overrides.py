"""Command-line words → overrides by dotted key. Imports nothing heavy, so that `--help` answers at once."""

from __future__ import annotations

import re
from collections.abc import Sequence

from unispeech_ft.errors import UserError


def parse_overrides(words: Sequence[str], *, dotted: bool = False) -> tuple[dict[str, str], list[str], list[UserError]]:
    """`--section.key VALUE` and `--section.key=VALUE` → the overrides as text, the other words, and the faults.

    Args:
        dotted: take only keys with a dot, and leave the options of a command among the other words.
    """
    pattern = r"--[a-z_]+\.[a-z]" if dotted else r"--."
    overrides: dict[str, str] = {}
    others: list[str] = []
    faults: list[UserError] = []
    waiting = list(words)
    while waiting:
        word = waiting.pop(0)
        if word == "--":
            others += [word, *waiting]
            break
        if not re.match(pattern, word):
            others.append(word)
            continue
        key, equals, value = word[2:].partition("=")
        if not equals:
            if not waiting or re.match(r"--[a-z]", waiting[0]):
                faults.append(UserError(f"--{key} has no value", remedy=f"write --{key} VALUE"))
                continue
            value = waiting.pop(0)
        if key in overrides:
            faults.append(UserError(f"--{key} is given twice", remedy="keep one of the two"))
        overrides.setdefault(key, value)
    return overrides, others, faults
