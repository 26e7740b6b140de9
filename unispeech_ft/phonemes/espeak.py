"""Text → phones with espeak-ng, through phonemizer and the library that espeakng-loader ships.

One backend for each setting is made once and reused: making one takes milliseconds and memory that is never given
back, using it takes 0.2 ms a sentence.
"""

from __future__ import annotations

import difflib
import functools
import logging
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from unispeech_ft.errors import UserError

if TYPE_CHECKING:
    from phonemizer.backend import EspeakBackend

LANGUAGE_FLAG = re.compile(r"\(.+?\)")
WORD_MARK = "|"

# Common Voice codes whose espeak-ng name is neither the code itself nor its part before the region.
ESPEAK_NAMES = {
    "en": "en-us",
    "fr": "fr-fr",
    "zh": "cmn",
    "zh-CN": "cmn",
    "zh-TW": "cmn",
    "zh-HK": "yue",
    "no": "nb",
    "nn": "nb",
    "nn-NO": "nb",
    "nb-NO": "nb",
    "sr-Latn": "sr",
    "kmr": "ku",
}


@functools.cache
def _library() -> tuple[str, str]:
    """Points phonemizer to the shipped espeak-ng: (library, data) paths."""
    import espeakng_loader
    from phonemizer.backend.espeak.wrapper import EspeakWrapper

    paths = espeakng_loader.get_library_path(), espeakng_loader.get_data_path()
    EspeakWrapper.set_library(paths[0])
    EspeakWrapper.set_data_path(paths[1])
    return paths


@functools.cache
def supported_languages() -> tuple[str, ...]:
    """espeak-ng's own names, sorted."""
    _library()
    from phonemizer.backend import EspeakBackend

    return tuple(sorted(EspeakBackend.supported_languages()))


@functools.cache
def espeak_version() -> str:
    """Version of espeak-ng that makes the labels; labels differ a little between versions."""
    _library()
    from phonemizer.backend import EspeakBackend

    return ".".join(str(part) for part in EspeakBackend.version())


def espeak_language(code: str) -> str:
    """espeak-ng's name of a language given by it, or by its Common Voice code (`fr` → `fr-fr`, `sv-SE` → `sv`).

    Raises:
        UserError: espeak-ng has no such language.
    """
    names = supported_languages()
    folded = {name.lower(): name for name in names}
    for candidate in (code, ESPEAK_NAMES.get(code, ""), code.split("-")[0], ESPEAK_NAMES.get(code.split("-")[0], "")):
        if candidate.lower() in folded:
            return folded[candidate.lower()]
    near = difflib.get_close_matches(code, names, n=5, cutoff=0.5)
    hint = f"; near it: {', '.join(near)}" if near else ""
    raise UserError(
        f"espeak-ng has no language {code!r}",
        remedy=f"set phonemes.language to one of its {len(names)} (`unispeech-ft phonemize --list` shows them{hint}),"
        " or use a lexicon (phonemes.labels: lexicon)",
    )


@functools.cache
def _backend(language: str, stress: bool, punctuation: bool) -> EspeakBackend:
    _library()
    from phonemizer.backend import EspeakBackend

    logger = logging.getLogger("unispeech_ft.phonemizer")
    logger.setLevel(logging.ERROR)
    return EspeakBackend(
        language, with_stress=stress, preserve_punctuation=punctuation, language_switch="keep-flags", logger=logger
    )


def espeak_phones(
    sentences: Sequence[str], language: str, *, stress: bool = False, punctuation: bool = False
) -> list[list[str]]:
    """Phones of normalised sentences, language flags such as `(en)` included.

    Args:
        sentences: normalised text (`normalise_sentence`); an empty one has no phones.
        language: espeak-ng's name.
        stress: keep the marks ˈ and ˌ on the phones that bear them.
        punctuation: keep punctuation marks as phones of their own.

    Returns:
        One list of phones for each sentence, in order.
    """
    from phonemizer.separator import Separator

    spoken = [(index, sentence) for index, sentence in enumerate(sentences) if sentence]
    lines = _backend(language, stress, punctuation).phonemize(
        [sentence for _, sentence in spoken], separator=Separator(phone=" ", word=f" {WORD_MARK} "), strip=True
    )
    phones: list[list[str]] = [[] for _ in sentences]
    for (index, _), line in zip(spoken, lines, strict=True):
        flagged = LANGUAGE_FLAG.sub(lambda flag: f" {flag.group()} ", line)
        phones[index] = [phone for phone in flagged.split() if phone != WORD_MARK]
    return phones
