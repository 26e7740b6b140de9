"""Configurations of earlier versions: keys that were renamed or have no effect any more, and what was not said then."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from unispeech_ft.errors import UserError

# Keys that were renamed: they are still read, with one line that says the new one.
RENAMED = {"batch.seconds_per_sub_batch": "batch.seconds_per_micro_batch"}
# Keys of what is done in one way today: they are read, and have no effect, which a line says.
REMOVED = ("model.attention", "training.fast_dropout", "training.fast_products", "training.fast_positions")

# The resolved configuration of a run names all of them; before there were two rules of normalisation, it had one.
OF_EARLIER_RUNS = frozenset(
    (
        "labels",
        "language",
        "lexicon",
        "lexicon_fallback",
        "language_flags",
        "stress",
        "punctuation",
        "map",
        "head_layout",
    )
)


def modernise(values: Mapping[str, Any]) -> tuple[dict[str, Any], list[str], list[UserError]]:
    """A nested mapping with the present names of renamed keys and without removed ones; a line for each, and the faults
    of those given twice.
    """
    found = {name: dict(value) if isinstance(value, dict) else value for name, value in values.items()}
    lines, faults = [], []
    for old, new in RENAMED.items():
        section, _, key = old.partition(".")
        new_section, _, new_key = new.partition(".")
        if not isinstance(found.get(section), dict) or key not in found[section]:
            continue
        value = found[section].pop(key)
        target = found.setdefault(new_section, {})
        if new_key in target:
            faults.append(UserError(f"{old} and {new} are both given", remedy=f"keep {new}, its name of today"))
        target[new_key] = value
        lines.append(f"{old} is called {new} now")
    for old in REMOVED:
        section, _, key = old.partition(".")
        if isinstance(found.get(section), dict) and found[section].pop(key, None) is not None:
            lines.append(f"{old} has no effect any more")
    phonemes = found.get("phonemes")
    if isinstance(phonemes, dict) and phonemes.keys() >= OF_EARLIER_RUNS and "normalise" not in phonemes:
        phonemes["normalise"] = "published"
        lines.append("phonemes.normalise is published, as in all runs of earlier versions")
    return found, lines, faults


def modern_overrides(overrides: Mapping[str, object]) -> tuple[dict[str, object], list[str]]:
    """Overrides under the present names of their keys, without removed ones; and a line for each."""
    lines = [f"--{key} is called --{RENAMED[key]} now" for key in overrides if key in RENAMED]
    lines += [f"--{key} has no effect any more" for key in overrides if key in REMOVED]
    return {RENAMED.get(key, key): value for key, value in overrides.items() if key not in REMOVED}, lines
