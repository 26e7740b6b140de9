"""Prompts of the project's own making, for synthetic speech in five languages.

Sentences come from frames with slots, ``{name} {to} барды.``, filled from word lists with a seed. Each language has its
book beside this module, as YAML.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from random import Random
from typing import Any, Literal

import yaml

from unispeech_ft.errors import UserError

LANGUAGES = ("ky", "fr", "es", "it", "en")

Split = Literal["train", "dev", "test"]

_SLOT = re.compile(r"\{(\w+)\}")
_NUMBERS = {
    "number": range(2, 400),
    "hour": range(1, 13),
    "year": range(1950, 2026),
}


@dataclass(frozen=True)
class PromptBook:
    """Frames and words of one language.

    No frame of one split occurs in another. A frame's slot is filled from ``words`` and from the
    words of its own split; ``{number}``, ``{hour}`` and ``{year}`` are written in digits.

    Attributes:
        language: code of the language, also espeak-ng's name of it.
        words: for each slot, words of all splits, separated by spaces or line ends; an underscore
            stands for a space inside one of them.
        train_words: more words for training and development sentences alone.
        test_words: more words for test sentences alone.
        train_frames: sentence frames for training.
        dev_frames: sentence frames for development.
        test_frames: sentence frames for testing.
    """

    language: str
    words: Mapping[str, str]
    train_words: Mapping[str, str]
    test_words: Mapping[str, str]
    train_frames: tuple[str, ...]
    dev_frames: tuple[str, ...]
    test_frames: tuple[str, ...]

    def frames(self, split: Split) -> tuple[str, ...]:
        """The sentence frames of a split."""
        return {
            "train": self.train_frames,
            "dev": self.dev_frames,
            "test": self.test_frames,
        }[split]

    def choices(self, split: Split) -> dict[str, tuple[str, ...]]:
        """For each slot of word lists, what may fill it in a split."""
        extra = self.test_words if split == "test" else self.train_words
        return {
            slot: tuple(word.replace("_", " ") for word in f"{words} {extra.get(slot, '')}".split())
            for slot, words in self.words.items()
        }


@cache
def prompt_book(language: str) -> PromptBook:
    """The frames and words of a language.

    Raises:
        UserError: there are no prompts in this language.
    """
    if language not in LANGUAGES:
        raise UserError(f"no demo prompts in language {language!r}", remedy=f"choose from {', '.join(LANGUAGES)}")
    text = files(__name__).joinpath(f"{language}.yaml").read_text(encoding="utf-8")
    parts = yaml.safe_load(text)
    fields: dict[str, Any] = {key: tuple(part) if isinstance(part, list) else part for key, part in parts.items()}
    return PromptBook(language, **fields)


def sentences(book: PromptBook, split: Split, seed: int) -> Iterator[str]:
    """Endless sentences of a split, the same for the same seed; the frames take turns in random order.

    Sentences may repeat once the frames with few slots are used up; see ``distinct_sentences``.
    """
    random = Random(f"{seed} {book.language} {split}")
    choices = book.choices(split)
    frames = list(book.frames(split))
    while True:
        random.shuffle(frames)
        for frame in frames:
            yield _fill(frame, choices, random)


def distinct_sentences(book: PromptBook, split: Split, seed: int, count: int) -> list[str]:
    """``count`` sentences without a repeat, as far as the frames allow it.

    When a sentence repeats it is drawn again, at most ten times ``count`` times in all; only then
    are repeats let through.
    """
    seen: set[str] = set()
    chosen: list[str] = []
    redraws_left = 10 * count
    for sentence in sentences(book, split, seed):
        if len(chosen) == count:
            break
        if sentence in seen and redraws_left > 0:
            redraws_left -= 1
            continue
        seen.add(sentence)
        chosen.append(sentence)
    return chosen


def _fill(frame: str, choices: Mapping[str, tuple[str, ...]], random: Random) -> str:
    """Fill each slot; two slots of one kind get different words."""
    used: set[str] = set()

    def draw(match: re.Match[str]) -> str:
        slot = match.group(1)
        if slot in _NUMBERS:
            return str(random.choice(_NUMBERS[slot]))
        word = random.choice([word for word in choices[slot] if word not in used])
        used.add(word)
        return word

    sentence = _SLOT.sub(draw, frame)
    return sentence[0].upper() + sentence[1:]
