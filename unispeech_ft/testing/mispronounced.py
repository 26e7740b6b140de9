"""Sentences said with mistakes that are known: espeak-ng reads them with some letters changed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from unispeech_ft.scoring.alignment import align
from unispeech_ft.testing.known_times import SEED, as_mp3, in_turn, true_times
from unispeech_ft.testing.prompts import Split, distinct_sentences, prompt_book

VOWELS = set("аеёиоөуүыэюяaeiouyàâéèêëîïôöùûüáíóúì")
MISTAKES_OF_WORDS = 0.2


@dataclass(frozen=True)
class Mispronounced:
    """A recording, the phones that should have been said, and which of them were not."""

    name: str
    encoded: bytes
    phones: list[str]
    wrong: list[bool]


def with_mistakes(sentence: str, letters: str, random: np.random.Generator) -> str:
    """One letter of some words changed for another of its kind, vowel or consonant, or left out.

    Args:
        letters: that another is drawn from.
    """
    words = sentence.split()
    for place, word in enumerate(words):
        known = [index for index, letter in enumerate(word.lower()) if letter.isalpha()]
        if len(known) < 3 or random.random() > MISTAKES_OF_WORDS:
            continue
        index = int(random.choice(known))
        kind = [letter for letter in letters if (letter in VOWELS) == (word[index].lower() in VOWELS)]
        other = "" if random.random() < 0.2 else str(random.choice([k for k in kind if k != word[index].lower()]))
        words[place] = word[:index] + other + word[index + 1 :]
    return " ".join(words)


def mispronounced_clips(language: str, split: Split, count: int) -> Iterator[Mispronounced]:
    """Clips of the voices and sentences of a split, recorded as the demo corpus's.

    Raises:
        UserError: there are no prompts for the language.
    """
    sentences = distinct_sentences(prompt_book(language), split, SEED, count)
    letters = "".join(sorted({letter for sentence in sentences for letter in sentence.lower() if letter.isalpha()}))
    for speaker, voice, number, sentence in in_turn(language, split, sentences):
        random = np.random.default_rng([SEED, number, 1])
        right, _ = true_times(speaker.say(sentence, voice), 0.0)
        speech = speaker.say(with_mistakes(sentence, letters, random), voice)
        said, _ = true_times(speech, 0.0)
        encoded, _ = as_mp3(speech, random)
        wrong = [first != second for first, second in align(right, said).pairs if first is not None]
        yield Mispronounced(f"{language}_{number:04d}", encoded, right, wrong)
