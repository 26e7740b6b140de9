"""What further training speech must leave out: recordings that a corpus has, and the people who validate and test."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from unispeech_ft.data.utterances import Corpus, Split, Utterance
from unispeech_ft.files import digest_of

HELD_OUT: tuple[Split, ...] = ("validation", "test")


class Recordings:
    """Files, known again under another name: through links, and as copies of the same bytes.

    The same recording in another format is not known again.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        self._paths = {path.resolve() for path in paths}
        self._of_size: dict[int, list[Path]] = defaultdict(list)
        for path in self._paths:
            if path.is_file():
                self._of_size[path.stat().st_size].append(path)
        self._digests = cache(self._digests_of_size)

    def _digests_of_size(self, num_bytes: int) -> set[str]:
        return {digest_of(path) for path in self._of_size.get(num_bytes, ())}

    def __contains__(self, path: Path) -> bool:
        if path.resolve() in self._paths:
            return True
        if not path.is_file():
            return False
        alike = self._digests(path.stat().st_size)
        return bool(alike) and digest_of(path) in alike


def recordings_of(utterances: Iterable[Utterance]) -> Recordings:
    """The files in which utterances lie; those of a table's rows have none."""
    return Recordings({item.path for item in utterances if item.path is not None})


class Speakers:
    """People by name, however its accents are encoded."""

    def __init__(self, names: Iterable[str | None]) -> None:
        self._names = {unicodedata.normalize("NFC", name) for name in names if name}

    def __contains__(self, name: str | None) -> bool:
        return name is not None and unicodedata.normalize("NFC", name) in self._names


def held_out(corpus: Corpus) -> list[Utterance]:
    """The utterances of validation and test."""
    return [item for split in HELD_OUT for item in corpus.splits[split]]
