"""Sentences → phones by espeak-ng, a lexicon or epitran; one rule for training, scoring and `phonemize`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from unispeech_ft.config.sections import Labels, PhonemesConfig
from unispeech_ft.errors import UserError
from unispeech_ft.phonemes.epitran import epitran_language, epitran_phones
from unispeech_ft.phonemes.espeak import LANGUAGE_FLAG, espeak_language, espeak_phones
from unispeech_ft.phonemes.lexicon import Lexicon, read_lexicon
from unispeech_ft.phonemes.normalise import Rule, is_mark, normalise_sentence
from unispeech_ft.phonemes.notation import PhoneMap, Tones, phone_map, split_tone
from unispeech_ft.phonemes.unreadable import unreadable_characters

UNKNOWN_WORDS = "words not in the lexicon: "
UNREADABLE = ("characters that espeak-ng cannot read: ", "characters that epitran cannot read: ")


@dataclass(frozen=True)
class G2P:
    """Everything that decides the phones of a sentence.

    Attributes:
        language: espeak-ng's name, or epitran's; None where only a lexicon is used.
        code: the language as it was asked for; capitals depend on it.
        rule: of normalisation, see `phonemes.normalise`.
        lexicon: None for espeak-ng or epitran alone.
        lexicon_fallback: espeak-ng pronounces words that the lexicon lacks.
        by_epitran: epitran pronounces, not espeak-ng.
        language_flags: what becomes of a sentence with a word that espeak-ng reads in another language: `remove` the
            flags and keep the phones, or `drop` the sentence.
        tones: stay with their vowel, or are phones of their own.
        map_phone: phone → phones, applied last.
    """

    language: str | None
    code: str | None = None
    rule: Rule = "text"
    lexicon: Lexicon | None = None
    lexicon_fallback: bool = False
    by_epitran: bool = False
    language_flags: str = "remove"
    stress: bool = False
    punctuation: bool = False
    tones: Tones = "vowel"
    map_phone: PhoneMap = field(default=phone_map("none"))

    @classmethod
    def from_config(cls, phonemes: PhonemesConfig, data_language: str | None, labels: Labels | None = None) -> G2P:
        """The rule that a configuration asks for.

        Args:
            labels: `lexicon`, `epitran`, anything else for espeak-ng; None for `phonemes.labels`.

        Raises:
            UserError: espeak-ng or epitran lacks the language; the lexicon or map file is missing or malformed.
        """
        labels = labels or phonemes.labels
        name = phonemes.language or data_language
        lexicon = None
        if labels == "lexicon" and phonemes.lexicon:
            lexicon = read_lexicon(
                Path(phonemes.lexicon),
                rule=phonemes.text_rule,
                language=name,
                segment=phonemes.segment,
                stress=phonemes.stress,
            )
        language = None
        if labels == "epitran" and name:
            language = epitran_language(name)
        elif name and (lexicon is None or phonemes.lexicon_fallback):
            language = espeak_language(name)
        return cls(
            language=language,
            code=name,
            rule=phonemes.text_rule,
            lexicon=lexicon,
            lexicon_fallback=phonemes.lexicon_fallback,
            by_epitran=labels == "epitran",
            language_flags=phonemes.language_flags,
            stress=phonemes.stress,
            punctuation=phonemes.punctuation,
            tones=phonemes.tones,
            map_phone=phone_map(phonemes.map),
        )


@dataclass(frozen=True)
class Pronunciation:
    """Phones of one sentence, or the reason why it has none."""

    phones: list[str]
    fault: str | None = None


def _finish(phones: Sequence[str], g2p: G2P) -> Pronunciation:
    flags = [phone for phone in phones if LANGUAGE_FLAG.fullmatch(phone)]
    if flags and g2p.language_flags == "drop":
        return Pronunciation([], f"read in another language {flags[0]}")
    spoken = (part for phone in phones if not LANGUAGE_FLAG.fullmatch(phone) for part in split_tone(phone, g2p.tones))
    kept = [target for phone in spoken for target in g2p.map_phone(phone)]
    return Pronunciation(kept, None if kept else "no phones in the sentence")


def _spoken(sentences: Sequence[str], g2p: G2P) -> list[Pronunciation]:
    """What espeak-ng or epitran says; its phones as they come."""
    if g2p.language is None:
        raise UserError("no language for espeak-ng", remedy="set phonemes.language or data.language")
    if g2p.by_epitran:
        said = epitran_phones(sentences, g2p.language)
    else:
        spoken = espeak_phones(sentences, g2p.language, stress=g2p.stress, punctuation=g2p.punctuation)
        said = list(zip(spoken, unreadable_characters(sentences, g2p.language), strict=True))
    reason = UNREADABLE[g2p.by_epitran]
    return [
        Pronunciation([], f"{reason}{' '.join(unread)}") if unread else Pronunciation(phones) for phones, unread in said
    ]


def _by_lexicon(sentences: Sequence[str], g2p: G2P, lexicon: Lexicon) -> list[Pronunciation]:
    lines = [lexicon.look_up(sentence.split()) for sentence in sentences]
    said = {word: Pronunciation(list(entry[0])) for line in lines for word, entry in line if entry}
    if g2p.punctuation:
        said |= {word: Pronunciation([word]) for line in lines for word, entry in line if not entry and is_mark(word)}
    unknown = sorted({word for line in lines for word, _ in line if word not in said})
    if g2p.lexicon_fallback and unknown:
        said |= {word: item for word, item in zip(unknown, _spoken(unknown, g2p), strict=True) if item.phones}
    results = []
    for line in lines:
        missing = [word for word, _ in line if word not in said]
        if missing:
            results.append(Pronunciation([], f"{UNKNOWN_WORDS}{' '.join(missing)}"))
        else:
            results.append(_finish([phone for word, _ in line for phone in said[word].phones], g2p))
    return results


def pronounce(sentences: Sequence[str], g2p: G2P) -> list[Pronunciation]:
    """Phones of each sentence, in order; a sentence without a usable pronunciation says why.

    Args:
        sentences: raw text, one sentence each.
        g2p: the rule.
    """
    normalised = [normalised_sentence(sentence, g2p) for sentence in sentences]
    if g2p.lexicon is not None:
        return _by_lexicon(normalised, g2p, g2p.lexicon)
    return [item if item.fault else _finish(item.phones, g2p) for item in _spoken(normalised, g2p)]


def normalised_sentence(sentence: str, g2p: G2P) -> str:
    """A sentence as the rule's pronouncer reads it."""
    return normalise_sentence(sentence, rule=g2p.rule, language=g2p.code, keep_punctuation=g2p.punctuation)


def pronounce_words(sentence: str, g2p: G2P) -> list[tuple[str, list[list[str]]]]:
    """The words of a sentence, each with its phones; with a lexicon also with the other pronunciations of the word.

    Joined, the first pronunciations are `pronounce` of the sentence: where words are spoken otherwise in company, its
    phones are dealt to the words by an alignment with those of each word alone.

    Raises:
        UserError: the sentence cannot be pronounced.
    """
    from rapidfuzz.distance import Levenshtein

    normalised = normalised_sentence(sentence, g2p)
    if g2p.lexicon is not None:
        entries = g2p.lexicon.look_up(normalised.split())
        if all(entry for _, entry in entries):
            return [(w, [_finish(said, g2p).phones for said in entry or ()]) for w, entry in entries]
    (whole,) = pronounce([sentence], g2p)
    if whole.fault:
        raise UserError(f"{sentence!r}: {whole.fault}", remedy="mend the sentence, or give its phones")
    words = normalised.split()
    alone = [item.phones for item in pronounce(words, g2p)]
    there = [phone for phones in alone for phone in phones]
    ends = [0] * (len(there) + 1)
    for code in Levenshtein.opcodes(there, whole.phones):
        for place in range(code.src_start, code.src_end + 1):
            step = place - code.src_start
            ends[place] = code.dest_end if place == code.src_end else min(code.dest_start + step, code.dest_end)
    found, start, count = [], 0, 0
    for word, phones in zip(words, alone, strict=True):
        count += len(phones)
        end = len(whole.phones) if count == len(there) else ends[count]
        found.append((word, [whole.phones[start:end]]))
        start = end
    return found


def differing_words(sentences: Iterable[str], g2p: G2P) -> list[tuple[str, int, list[str], list[str]]]:
    """The words that the two rules of normalisation label differently, the most frequent first.

    Returns:
        Word, how often it stands in the sentences, its phones by `text` and by `published`.
    """
    texts = (normalise_sentence(sentence, rule="text", language=g2p.code) for sentence in sentences)
    counts = Counter(word for text in texts for word in text.split())
    words = [word for word, _ in counts.most_common() if normalise_sentence(word, rule="published") != word]
    rules: tuple[Rule, Rule] = ("text", "published")
    said = [pronounce(words, replace(g2p, rule=rule)) for rule in rules]
    return [
        (word, counts[word], first.phones, second.phones)
        for word, first, second in zip(words, *said, strict=True)
        if first.phones != second.phones
    ]


def unknown_words(faults: Iterable[str | None]) -> Counter[str]:
    """How often each word that the lexicon lacks occurs, from the faults of pronunciations."""
    lines = [fault.removeprefix(UNKNOWN_WORDS) for fault in faults if fault and fault.startswith(UNKNOWN_WORDS)]
    return Counter(word for line in lines for word in line.split())
