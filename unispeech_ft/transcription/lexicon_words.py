"""A lexicon file → a search for its words in what a model hears."""

from __future__ import annotations

from pathlib import Path

from unispeech_ft.errors import UserError, warn
from unispeech_ft.phonemes.lexicon import read_lexicon
from unispeech_ft.phonemes.tokenizer import PhoneTokenizer
from unispeech_ft.scoring.words import WordSearch, word_search


def load_words(path: Path, tokenizer: PhoneTokenizer, language: str | None = None) -> WordSearch:
    """The search for the words of a lexicon; pronunciations with phones that the model lacks are said and left out.

    Args:
        path: see `phonemes.lexicon.read_lexicon`.
        tokenizer: of the model.
        language: by whose rule case is ignored.

    Raises:
        UserError: the lexicon cannot be read, or the model lacks phones of every word.
    """
    entries = read_lexicon(path, language=language).entries
    known = set(tokenizer.phones)
    said = [(word, phones) for word, found in entries.items() for phones in found]
    kept = [(word, tokenizer.encode(phones)) for word, phones in said if known.issuperset(phones)]
    lacking = sorted({phone for _, phones in said for phone in phones} - known)
    if not kept:
        raise UserError(
            f"lexicon {path}: the model lacks phones of every word: {' '.join(lacking[:10])}",
            remedy=f"write it with the model's phones: {' '.join(tokenizer.phones)}",
        )
    if lacking:
        left_out = f"{len(said) - len(kept)} of {len(said)} pronunciations"
        warn(f"lexicon {path}: {left_out} are left out, since the model lacks {' '.join(lacking[:10])}")
    return word_search(kept, [tokenizer.ids[phone] for phone in tokenizer.phones], tokenizer.blank_id)
