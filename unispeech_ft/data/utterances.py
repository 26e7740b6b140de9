"""What a source of speech lists: utterances of each split, and what it had to leave out."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import Literal

from unispeech_ft.errors import UserError

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
SPLIT_NAMES: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "dev": "validation",
    "valid": "validation",
    "validation": "validation",
    "val": "validation",
    "development": "validation",
    "test": "test",
    "testing": "test",
}
SYNTHETIC_MARK = "SYNTHETIC.md"
# A reason that begins so is no fault of the data: it does not count as bad.
FILTERED = "filtered: "


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
        channel: of the recording, from 0, in which the utterance is; None where the list does not say it.
    """

    id: str
    path: Path | None
    text: str | None = None
    phones: tuple[str, ...] | None = None
    speaker: str | None = None
    start_s: float | None = None
    end_s: float | None = None
    channel: int | None = None


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
        read_rows: for such sources, id and encoded audio of a split in order; in its place a file or a reason.
        listed_samples: for a dry run on published lists without a release, samples at 16 kHz by id.
        published_split: all clips of a published split are there; None where the split is no published one.
        synthetic: the source says that its speech is synthetic; None where nothing is known.
        notes: sentences that a user must read, such as how held-out parts were chosen.
    """

    splits: Mapping[Split, Sequence[Utterance]]
    rejected: Sequence[Rejected] = ()
    source_key: str = ""
    read_rows: Callable[[Split], Iterator[tuple[str, bytes | Path | str]]] | None = None
    synthetic: bool | None = None
    published_split: bool | None = None
    listed_samples: Mapping[str, int] | None = None
    notes: Sequence[str] = field(default_factory=tuple)


def segment_id(name: str, start_s: float | None, end_s: float | None) -> str:
    """The id of a stretch of a recording: its name and milliseconds; of a whole recording, its name."""
    if start_s is None:
        return name
    return f"{name}-{round(1000 * start_s):07d}-" + ("end" if end_s is None else f"{round(1000 * end_s):07d}")


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


def not_read(split: Split, wanted: Collection[Split], fault: UserError) -> str:
    """A line on a split that cannot be read, where nobody asked for it; else raises the fault."""
    if split in wanted:
        raise fault
    return f"{split} is not read ({fault.what})"


HoldOut = Literal["speaker", "sentence"]
MIN_SPEAKERS = 10


def hold_out(
    utterances: Sequence[Utterance], by: HoldOut | None = None, share: float = 0.1
) -> tuple[dict[Split, list[Utterance]], str]:
    """Divides one list into train, validation and test by hashes; a recording never stands in two parts.

    By speaker, no voice stands in two parts. Else the same sentence always falls into the same part, whatever else the
    list holds, but for lists so short that a part would be empty; and where recordings hold several sentences, whole
    recordings do.

    Args:
        by: None for the speaker where ten or more are known, and every utterance's is.
        share: part of the utterances that validation and test get each, about.

    Returns:
        The parts, and how they were made, for people.
    """
    speakers = {utterance.speaker for utterance in utterances}
    if by is None:
        by = "speaker" if len(speakers) >= MIN_SPEAKERS and None not in speakers else "sentence"
    of_path = Counter(utterance.path for utterance in utterances if utterance.path)
    several = any(of_path[item.path] > 1 and item.start_s is not None for item in utterances if item.path)
    said = f"{100 * share:.0f} % each were set aside for validation and test"
    if by == "speaker":
        voices = _linked(utterances)
        if len(set(voices.values())) >= min(len(SPLITS), len(voices)):
            return _in_groups(utterances, lambda u: voices[_voice(u)], share), f"{said} by speaker"
    elif not several:
        return _by_sentence(utterances, share), f"{said} by a hash of the sentence; speakers may stand in several parts"
    groups = _in_groups(utterances, lambda u: str(u.path), share)
    return groups, f"{said} by recording; speakers and sentences may stand in several parts"


def _by_sentence(utterances: Sequence[Utterance], share: float) -> dict[Split, list[Utterance]]:
    """The parts by the hash of each sentence; of few, the first of them in the order of their hashes."""
    # A recording that stands twice goes where its first sentence goes.
    first: dict[Path, Utterance] = {}
    for utterance in utterances:
        if utterance.path:
            first.setdefault(utterance.path, utterance)

    def sentence(utterance: Utterance) -> str:
        return _said(first[utterance.path] if utterance.path else utterance)

    parts: dict[Split, list[Utterance]] = {split: [] for split in SPLITS}
    for utterance in utterances:
        place = hash_of(sentence(utterance)) / 2**64
        parts["test" if place < share else "validation" if place < 2 * share else "train"].append(utterance)
    if all(parts.values()):
        return parts
    few = _in_groups(utterances, sentence, share)
    most = 2 * max(1.0, share * len(utterances))
    # Not where a sentence that is said again and again would take much of the speech away.
    return few if all(few.values()) and len(few["test"]) <= most and len(few["validation"]) <= most else parts


def _voice(utterance: Utterance) -> str:
    return utterance.speaker or f"unknown {utterance.path}"


def _linked(utterances: Sequence[Utterance]) -> dict[str, str]:
    """The group of each speaker, by the first of its names: who are heard in one recording are of one group."""
    leader: dict[str, str] = {}

    def find(name: str) -> str:
        while leader.setdefault(name, name) != name:
            name = leader[name]
        return name

    voices = sorted({_voice(utterance) for utterance in utterances})
    for utterance in utterances:
        # No name of a speaker begins so.
        recording = find(f"\0{utterance.path or utterance.id}")
        leader[recording] = find(_voice(utterance))
    first: dict[str, str] = {}
    return {voice: first.setdefault(find(voice), voice) for voice in voices}


def _said(utterance: Utterance) -> str:
    return utterance.text if utterance.text is not None else " ".join(utterance.phones or ())


def hash_of(text: str) -> int:
    """A number of 64 bits that the text alone decides."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def _in_groups(
    utterances: Sequence[Utterance], group: Callable[[Utterance], str], share: float
) -> dict[Split, list[Utterance]]:
    """Whole groups to test and validation, in the order of their hashes; large ones are left to training."""
    sizes = Counter(group(utterance) for utterance in utterances)
    waiting = sorted(sizes, key=hash_of)
    part_of: dict[str, Split] = {}
    parts: tuple[Split, ...] = ("test", "validation")
    for split in parts:
        room = max(1.0, share * len(utterances))
        taken = 0
        for name in sorted((n for n in waiting if n not in part_of), key=lambda n: sizes[n] > 2 * room):
            alone = len(part_of) + 1 >= len(waiting)
            if alone or taken and (taken >= room or taken + sizes[name] > 2 * room):
                continue
            part_of[name] = split
            taken += sizes[name]
    divided: dict[Split, list[Utterance]] = {split: [] for split in SPLITS}
    for utterance in utterances:
        divided[part_of.get(group(utterance), "train")].append(utterance)
    return divided


def shared_between_splits(splits: Mapping[Split, Sequence[Utterance]]) -> list[str]:
    """One line on what stands in two splits: recordings, sentences, speakers; none where nothing does."""
    kinds: dict[str, Callable[[Utterance], str | None]] = {
        "recordings": lambda u: str(u.path) if u.path else None,
        "sentences": lambda u: _said(u).casefold() or None,
        "speakers": lambda u: u.speaker,
    }
    found = []
    for kind, of in kinds.items():
        values = {split: {value for item in items if (value := of(item))} for split, items in splits.items()}
        for first, second in combinations(SPLITS, 2):
            again = values.get(first, set()) & values.get(second, set())
            if again:
                found.append(f"{len(again)} {kind} of {first} in {second}")
    return [f"splits overlap: {', '.join(found)} (`unispeech-ft audit` names them)"] if found else []
