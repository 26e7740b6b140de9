"""What a source of speech lists: utterances of each split, and what it had to leave out."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
SYNTHETIC_MARK = "SYNTHETIC.md"


@dataclass(frozen=True)
class Utterance:
    """One clip and what is said in it.

    Attributes:
        id: unique in its split; Common Voice's clip name without its ending.
        path: the audio file; None where the audio lies in a table row.
        text: the sentence; None where the source has phones.
        phones: labels that came with the data.
        speaker: the source's name of the speaker, None where unknown.
        start_s, end_s: of the utterance in the recording at `path`; None where it is the whole recording.
    """

    id: str
    path: Path | None
    text: str | None = None
    phones: tuple[str, ...] | None = None
    speaker: str | None = None
    start_s: float | None = None
    end_s: float | None = None


@dataclass(frozen=True)
class Rejected:
    """An utterance that was left out, and why."""

    split: str
    id: str
    reason: str


@dataclass(frozen=True)
class Corpus:
    """The utterances of a source before any audio is read.

    Attributes:
        splits: utterances by split; a split that the source lacks is empty.
        rejected: rows that could not be used.
        source_key: identifies the audio behind utterances without a path (revision, or files with size and time).
        read_rows: for such sources, the encoded audio of a split: (id, bytes) pairs in order.
        listed_samples: for a dry run on published lists without a release, samples at 16 kHz by id.
        published_split: all clips of a published split are there; None where the split is no published one.
        synthetic: the source says that its speech is synthetic; None where nothing is known.
        notes: sentences that a user must read, such as how held-out parts were chosen.
    """

    splits: Mapping[Split, Sequence[Utterance]]
    rejected: Sequence[Rejected] = ()
    source_key: str = ""
    read_rows: Callable[[Split], Iterator[tuple[str, bytes]]] | None = None
    synthetic: bool | None = None
    published_split: bool | None = None
    listed_samples: Mapping[str, int] | None = None
    notes: Sequence[str] = field(default_factory=tuple)


def unique_ids(utterances: Sequence[Utterance]) -> list[Utterance]:
    """The utterances with `#2`, `#3` … after ids that stand more than once."""
    seen: dict[str, int] = {}
    result = []
    for utterance in utterances:
        seen[utterance.id] = seen.get(utterance.id, 0) + 1
        count = seen[utterance.id]
        name = utterance.id if count == 1 else f"{utterance.id}#{count}"
        result.append(replace(utterance, id=name))
    return result


def hold_out(utterances: Sequence[Utterance], share: float = 0.1) -> dict[Split, list[Utterance]]:
    """Divides one list into train, validation and test by a hash of what is said.

    The same sentence always falls into the same part, whatever else the list holds; speakers may stand in several.

    Args:
        share: part of the sentences that validation and test get each.
    """
    parts: dict[Split, list[Utterance]] = {split: [] for split in SPLITS}
    for utterance in utterances:
        said = utterance.text if utterance.text is not None else " ".join(utterance.phones or ())
        place = int.from_bytes(hashlib.sha256(said.encode()).digest()[:8], "big") / 2**64
        parts["test" if place < share else "validation" if place < 2 * share else "train"].append(utterance)
    return parts
