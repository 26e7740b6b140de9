"""How well the words of a lexicon are found without a text, on synthetic speech whose words are known."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from unispeech_ft.config.sections import PhonemesConfig
from unispeech_ft.models.saved import SavedModel
from unispeech_ft.phonemes.g2p import G2P, pronounce_words
from unispeech_ft.scoring.alignment import distance
from unispeech_ft.scoring.greedy import collapse
from unispeech_ft.scoring.words import word_search
from unispeech_ft.testing.known_times import SEED, TimedClip, as_files, timed_sentences
from unispeech_ft.testing.prompts import distinct_sentences, prompt_book
from unispeech_ft.transcription.alignment import log_posteriors

Words = list[tuple[str, list[str]]]


@dataclass
class Errors:
    """Errors and what they are counted of: words, phones with the lexicon, phones of the greedy path."""

    entries: int
    words: list[int] = field(default_factory=lambda: [0, 0])
    phones: list[int] = field(default_factory=lambda: [0, 0])
    greedy: list[int] = field(default_factory=lambda: [0, 0])


def spoken_words(language: str, count: int, more: int) -> tuple[list[tuple[TimedClip, Words]], Words]:
    """Clips of the test split's sentences and voices with their words; and a lexicon of these and of training's.

    Args:
        more: training sentences whose words stand in the lexicon besides.

    Raises:
        UserError: there are no prompts for the language.
    """
    book = prompt_book(language)
    texts = distinct_sentences(book, "test", SEED, count)
    g2p = G2P.from_config(PhonemesConfig(), language)
    said = [[(word, found[0]) for word, found in pronounce_words(text, g2p)] for text in texts]
    others = [pronounce_words(text, g2p) for text in distinct_sentences(book, "train", SEED, more)]
    entries = [item for words in said for item in words] + [(word, found[0]) for line in others for word, found in line]
    lexicon = list({(word, tuple(phones)): (word, phones) for word, phones in entries}.values())
    clips = timed_sentences(language, "test", texts)
    return [(clip, said[int(clip.name.rpartition("_")[2])]) for clip in clips], lexicon


def measure(
    saved: SavedModel, clips: Sequence[tuple[TimedClip, Words]], lexicon: Iterable[tuple[str, list[str]]]
) -> Errors:
    """The errors on clips; those with a phone that the model lacks are left out."""
    tokenizer = saved.tokenizer
    known = set(tokenizer.phones)
    entries = [(word, tokenizer.encode(phones)) for word, phones in lexicon if known.issuperset(phones)]
    search = word_search(entries, [tokenizer.ids[phone] for phone in tokenizer.phones], tokenizer.blank_id)
    words = {clip.name: said for clip, said in clips}
    errors = Errors(len(entries))
    for clip, path in as_files((clip for clip, _ in clips), tokenizer.phones):
        frames, _ = log_posteriors(saved, path)
        found, said = search(frames), words[clip.name]
        greedy = tokenizer.decode(collapse(frames.argmax(axis=1), tokenizer.blank_id, tokenizer.special_ids))
        phones = [phone for _, own in said for phone in own]
        heard = tokenizer.decode(label for _, labels in found for label in labels)
        for count, reference, hypothesis in (
            (errors.words, [word for word, _ in said], [word for word, _ in found if word]),
            (errors.phones, phones, heard),
            (errors.greedy, phones, greedy),
        ):
            count[0] += distance(reference, hypothesis)
            count[1] += len(reference)
    return errors
