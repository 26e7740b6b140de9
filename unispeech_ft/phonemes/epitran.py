"""Text → phones with epitran, an optional extra: rules for many languages that espeak-ng lacks."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

from unispeech_ft.errors import UserError, first_line
from unispeech_ft.phonemes.lexicon import segments


def epitran_language(name: str) -> str:
    """The name itself, if epitran has the language.

    Raises:
        UserError: epitran is not installed, or lacks it.
    """
    _transliterate(name)
    return name


@functools.cache
def _transliterate(name: str) -> Callable[[str], str]:
    try:
        import epitran
    except ImportError:
        raise UserError(
            "phonemes.labels is epitran, which is not installed", remedy="pip install 'unispeech-ft[epitran]'"
        ) from None
    try:
        say: Callable[[str], str] = epitran.Epitran(name).transliterate
        say("a")
    except Exception as error:
        raise UserError(
            f"epitran has no language {name!r} ({first_line(error)})",
            remedy="set phonemes.language to a name of its list, ISO 639-3 and script, such as kaz-Cyrl",
        ) from None
    return say


def epitran_phones(sentences: Sequence[str], name: str) -> list[list[str]]:
    """Phones of normalised sentences.

    Args:
        name: epitran's, such as `kaz-Cyrl`.
    """
    say = _transliterate(name)
    return [segments([ipa for word in line.split() if (ipa := say(word))]) for line in sentences]
