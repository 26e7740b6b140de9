"""Prompts of the project's own making, for synthetic speech in five languages."""

from unispeech_ft.errors import UserError
from unispeech_ft.testing.prompts import en, es, fr, it, ky
from unispeech_ft.testing.prompts.frames import (
    PromptBook,
    Split,
    distinct_sentences,
    sentences,
)

_BOOKS = {book.language: book for book in (ky.BOOK, fr.BOOK, es.BOOK, it.BOOK, en.BOOK)}
LANGUAGES = tuple(_BOOKS)

__all__ = ["LANGUAGES", "PromptBook", "Split", "distinct_sentences", "prompt_book", "sentences"]


def prompt_book(language: str) -> PromptBook:
    """The frames and words of a language.

    Raises:
        UserError: there are no prompts in this language.
    """
    if language not in _BOOKS:
        raise UserError(f"no demo prompts in language {language!r}", remedy=f"choose from {', '.join(LANGUAGES)}")
    return _BOOKS[language]
