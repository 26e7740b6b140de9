"""A recording of a known sentence → how well each of its phones was said."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from unispeech_ft.models.saved import SavedModel
from unispeech_ft.scoring.pronunciation import judge, likelihoods
from unispeech_ft.transcription.alignment import Words, align_frames, log_posteriors
from unispeech_ft.transcription.timed import TimedWord


@dataclass(frozen=True)
class SpokenPhone:
    """One phone of the sentence.

    Attributes:
        start_s, end_s: where forced alignment puts it.
        right: 0 to 1, how likely it was said, among all that could have been said in its place.
        heard: the likeliest of these; "" for nothing.
        probability: of that.
    """

    phone: str
    start_s: float
    end_s: float
    right: float
    heard: str
    probability: float


@dataclass(frozen=True)
class AddedPhone:
    """A phone that was said besides, before the phone at `place` (from 0; behind all at the last)."""

    place: int
    heard: str
    probability: float


@dataclass(frozen=True)
class Pronunciation:
    """What was said of a sentence, and how well."""

    path: str
    duration_s: float
    phones: list[SpokenPhone]
    added: list[AddedPhone]
    words: list[TimedWord]

    def __repr__(self) -> str:
        wrong = sum(item.heard != item.phone for item in self.phones)
        return f"Pronunciation({self.path!r}, {wrong} of {len(self.phones)} phones wrong, {len(self.added)} added)"


def pronounce_file(saved: SavedModel, path: str | Path, words: Words, channel: int | None = None) -> Pronunciation:
    """How well a sentence was said; of several pronunciations of a word, the one that fits the sound best is asked of.

    Args:
        saved: see `models.saved.load_saved`.
        path: a recording of the sentence.
        words: see `phonemes.g2p.pronounce_words`.
        channel: of a recording with several, from 0; None for the mean of all.

    Raises:
        UserError: as in `alignment.align_file`.
    """
    frames, duration_s = log_posteriors(saved, Path(path), channel=channel)
    aligned = align_frames(saved, path, words, frames, duration_s)
    phones = saved.tokenizer.phones
    candidates = [saved.tokenizer.ids[phone] for phone in phones]
    labels = [saved.tokenizer.ids[item.phone] for item in aligned.phones]
    judged, added = judge(likelihoods(frames, labels, candidates, saved.tokenizer.blank_id), labels, candidates)
    return Pronunciation(
        str(path),
        aligned.duration_s,
        [
            SpokenPhone(
                item.phone,
                item.start_s,
                item.end_s,
                found.right,
                "" if found.heard is None else phones[found.heard],
                found.probability,
            )
            for item, found in zip(aligned.phones, judged, strict=True)
        ],
        [AddedPhone(item.place, phones[item.heard], item.probability) for item in added],
        aligned.words,
    )


def as_json(found: Pronunciation) -> str:
    """One line, times to the millisecond and probabilities to four digits."""
    said = asdict(found)
    for item in (*said["phones"], *said["words"]):
        item |= {key: round(item[key], 3) for key in ("start_s", "end_s")}
    for item in (*said["phones"], *said["added"]):
        item |= {key: round(item[key], 4) for key in ("right", "probability") if key in item}
    return json.dumps(said, ensure_ascii=False)


def lines_of(found: Pronunciation) -> Sequence[str]:
    """For people: start, end, how likely right, phone, and what was heard where that is another."""
    added: dict[int, list[AddedPhone]] = {}
    for item in found.added:
        added.setdefault(item.place, []).append(item)
    lines = []
    for place in range(len(found.phones) + 1):
        lines += [f"\t\t{item.probability:.2f}\t+{item.heard}\tsaid besides" for item in added.get(place, ())]
        if place < len(found.phones):
            phone = found.phones[place]
            other = phone.heard != phone.phone
            said = f"\theard {phone.heard} ({phone.probability:.2f})" if phone.heard else "\tnot heard"
            times = f"{phone.start_s:.3f}\t{phone.end_s:.3f}"
            lines.append(f"{times}\t{phone.right:.2f}\t{phone.phone}{said if other else ''}")
    return lines
