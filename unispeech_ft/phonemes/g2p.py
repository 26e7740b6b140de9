"""Sentences → phones, by espeak-ng or by a lexicon, one rule for training, scoring and `unispeech-ft phonemize`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from unispeech_ft.config.sections import Labels, PhonemesConfig
from unispeech_ft.errors import UserError
from unispeech_ft.phonemes.espeak import LANGUAGE_FLAG, espeak_language, espeak_phones
from unispeech_ft.phonemes.normalise import normalise_sentence
from unispeech_ft.phonemes.notation import PhoneMap, phone_map

Lexicon = Mapping[str, Sequence[str]]
UNKNOWN_WORDS = "words not in the lexicon: "


@dataclass(frozen=True)
class G2P:
    """Everything that decides the phones of a sentence.

    Attributes:
        language: espeak-ng's name; None where only a lexicon is used.
        lexicon: word → phones; None for espeak-ng alone.
        lexicon_fallback: espeak-ng pronounces words that the lexicon lacks.
        language_flags: what becomes of a sentence with a word that espeak-ng reads in another language: `remove` the
            flags and keep the phones, or `drop` the sentence.
        map_phone: phone → phones, applied last.
    """

    language: str | None
    lexicon: Lexicon | None = None
    lexicon_fallback: bool = False
    language_flags: str = "remove"
    stress: bool = False
    punctuation: bool = False
    map_phone: PhoneMap = field(default=phone_map("none"))

    @classmethod
    def from_config(cls, phonemes: PhonemesConfig, data_language: str | None, labels: Labels | None = None) -> G2P:
        """The rule that a configuration asks for.

        Args:
            labels: `lexicon` for the lexicon, anything else for espeak-ng; None for `phonemes.labels`.

        Raises:
            UserError: espeak-ng lacks the language; the lexicon or map file is missing or malformed.
        """
        uses_lexicon = (labels or phonemes.labels) == "lexicon"
        lexicon = read_lexicon(Path(phonemes.lexicon)) if uses_lexicon and phonemes.lexicon else None
        name = phonemes.language or data_language
        needs_espeak = lexicon is None or phonemes.lexicon_fallback
        return cls(
            language=espeak_language(name) if needs_espeak and name else None,
            lexicon=lexicon,
            lexicon_fallback=phonemes.lexicon_fallback,
            language_flags=phonemes.language_flags,
            stress=phonemes.stress,
            punctuation=phonemes.punctuation,
            map_phone=phone_map(phonemes.map),
        )


@dataclass(frozen=True)
class Pronunciation:
    """Phones of one sentence, or the reason why it has none."""

    phones: list[str]
    fault: str | None = None


def read_lexicon(path: Path) -> dict[str, list[str]]:
    """A pronunciation lexicon: lines of word<TAB>phones separated by spaces; the first of several entries counts.

    Raises:
        UserError: the file is missing, not UTF-8, or holds malformed lines (all of them are named).
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except OSError as error:
        raise UserError(f"lexicon {path} cannot be read ({error.strerror})", remedy="check phonemes.lexicon") from None
    except UnicodeDecodeError as error:
        raise UserError(f"lexicon {path} is not UTF-8 (byte {error.start})", remedy="save it as UTF-8") from None
    lexicon: dict[str, list[str]] = {}
    malformed = []
    for number, line in enumerate(lines, start=1):
        word, tab, phones = line.strip("\r").partition("\t")
        if not line.strip():
            continue
        if not tab or not word.strip() or not phones.split():
            malformed.append(str(number))
            continue
        lexicon.setdefault(normalise_sentence(word), phones.split())
    if malformed:
        raise UserError(
            f"lexicon {path}: line {', '.join(malformed[:10])} is not word<TAB>phones", remedy="mend or remove it"
        )
    if not lexicon:
        raise UserError(f"lexicon {path} is empty", remedy="write lines of word<TAB>phones separated by spaces")
    return lexicon


def _finish(phones: Sequence[str], g2p: G2P) -> Pronunciation:
    flags = [phone for phone in phones if LANGUAGE_FLAG.fullmatch(phone)]
    if flags and g2p.language_flags == "drop":
        return Pronunciation([], f"read in another language {flags[0]}")
    kept = [target for phone in phones if not LANGUAGE_FLAG.fullmatch(phone) for target in g2p.map_phone(phone)]
    return Pronunciation(kept, None if kept else "no phones in the sentence")


def _spoken(sentences: Sequence[str], g2p: G2P) -> list[list[str]]:
    if g2p.language is None:
        raise UserError("no language for espeak-ng", remedy="set phonemes.language or data.language")
    return espeak_phones(sentences, g2p.language, stress=g2p.stress, punctuation=g2p.punctuation)


def _by_lexicon(sentences: Sequence[str], g2p: G2P) -> list[Pronunciation]:
    lexicon = g2p.lexicon or {}
    folded = {word.casefold(): phones for word, phones in reversed(list(lexicon.items()))}
    words = [sentence.split() for sentence in sentences]
    entries = {word: lexicon.get(word) or folded.get(word.casefold()) for word in {w for line in words for w in line}}
    unknown = sorted(word for word, phones in entries.items() if phones is None)
    if g2p.lexicon_fallback and unknown:
        entries |= {word: phones or None for word, phones in zip(unknown, _spoken(unknown, g2p), strict=True)}
    results = []
    for line in words:
        missing = [word for word in line if entries[word] is None]
        if missing:
            results.append(Pronunciation([], f"{UNKNOWN_WORDS}{' '.join(missing)}"))
        else:
            results.append(_finish([phone for word in line for phone in entries[word] or ()], g2p))
    return results


def pronounce(sentences: Sequence[str], g2p: G2P) -> list[Pronunciation]:
    """Phones of each sentence, in order; a sentence without a usable pronunciation says why.

    Args:
        sentences: raw text, one sentence each.
        g2p: the rule.
    """
    normalised = [normalise_sentence(sentence, keep_punctuation=g2p.punctuation) for sentence in sentences]
    if g2p.lexicon is not None:
        return _by_lexicon(normalised, g2p)
    return [_finish(phones, g2p) for phones in _spoken(normalised, g2p)]


def unknown_words(faults: Iterable[str | None]) -> Counter[str]:
    """How often each word that the lexicon lacks occurs, from the faults of pronunciations."""
    lines = [fault.removeprefix(UNKNOWN_WORDS) for fault in faults if fault and fault.startswith(UNKNOWN_WORDS)]
    return Counter(word for line in lines for word in line.split())
