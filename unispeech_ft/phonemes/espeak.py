"""Text → phones with espeak-ng, through phonemizer and the library that espeakng-loader ships.

One backend for each setting is made once and reused: making one takes milliseconds and memory that is never given
back, using it takes 0.2 ms a sentence.
"""

from __future__ import annotations

import difflib
import functools
import logging
import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from unispeech_ft.errors import UserError
from unispeech_ft.phonemes.normalise import is_mark

if TYPE_CHECKING:
    from phonemizer.backend import EspeakBackend

LANGUAGE_FLAG = re.compile(r"\(.+?\)")
WORD_MARK = "|"
# phonemizer would cut 3.14 at its marks; this one stands in no text.
NO_MARK = "\ue000"
# espeak-ng drops the end of a sentence or word that has more letters; a Chinese or Korean one counts as several.
LONGEST = 400
LONGEST_WORD = 60
SYLLABLE_WEIGHT = 4

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
    renamed = {name.lower(): target for name, target in ESPEAK_NAMES.items()}
    asked = code.lower().replace("_", "-")
    short = asked.split("-")[0]
    for candidate in (asked, renamed.get(asked, ""), short, renamed.get(short, "")):
        if candidate in folded:
            return _speaking(folded[candidate])
    near = difflib.get_close_matches(code, names, n=5, cutoff=0.5)
    hint = f"; near it: {', '.join(near)}" if near else ""
    raise UserError(
        f"espeak-ng has no language {code!r}",
        remedy=f"set phonemes.language to one of its {len(names)} (`unispeech-ft phonemize --list` shows them{hint}),"
        " or use a lexicon (phonemes.labels: lexicon)",
    )


def _speaking(language: str) -> str:
    """The language itself; some that espeak-ng lists come without their dictionary and say nothing at all."""
    if espeak_phones(["a"], language) == [[]]:
        raise UserError(
            f"espeak-ng lists {language!r}, but this installation has no dictionary for it",
            remedy="use a lexicon (phonemes.labels: lexicon), or a related language in phonemes.language",
        )
    return language


@functools.cache
def _backend(language: str, stress: bool) -> EspeakBackend:
    _library()
    from phonemizer.backend import EspeakBackend

    logger = logging.getLogger("unispeech_ft.phonemizer")
    logger.setLevel(logging.ERROR)
    return EspeakBackend(
        language, punctuation_marks=NO_MARK, with_stress=stress, language_switch="keep-flags", logger=logger
    )


def _parts(sentence: str, punctuation: bool) -> Iterator[str]:
    """A sentence in parts that espeak-ng reads whole; with `punctuation`, marks are parts of their own."""
    words: list[str] = []
    for word in (piece for longer in sentence.split() for piece in _short(longer)):
        mark = punctuation and is_mark(word)
        if words and (mark or _weight(" ".join([*words, word])) > LONGEST):
            yield " ".join(words)
            words = []
        if mark:
            yield word
        else:
            words.append(word)
    if words:
        yield " ".join(words)


def _weight(text: str) -> int:
    """Length of a text in letters of an alphabet."""
    return sum(SYLLABLE_WEIGHT if unicodedata.east_asian_width(letter) == "W" else 1 for letter in text)


def _short(word: str) -> Iterator[str]:
    """A word, cut between letters where a script without spaces runs on longer than espeak-ng reads."""
    while len(word) > LONGEST_WORD:
        cut = next((n for n in range(LONGEST_WORD, 1, -1) if word[n].isalnum()), LONGEST_WORD)
        yield word[:cut]
        word = word[cut:]
    yield word


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

    parts = [list(_parts(sentence, punctuation)) for sentence in sentences]
    spoken = [part for line in parts for part in line if not (punctuation and is_mark(part))]
    separator = Separator(phone=" ", word=f" {WORD_MARK} ")
    lines = iter(_backend(language, stress).phonemize(spoken, separator=separator, strip=True))
    phones: list[list[str]] = []
    for line in parts:
        phones.append([])
        for part in line:
            if punctuation and is_mark(part):
                phones[-1].append(part)
                continue
            flagged = LANGUAGE_FLAG.sub(lambda flag: f" {flag.group()} ", next(lines))
            phones[-1] += [phone for phone in flagged.split() if phone != WORD_MARK]
    return phones
