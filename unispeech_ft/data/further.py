"""Further training speech beside a corpus: a manifest of clips with their phones, such as a model's own transcripts of
recordings that nobody labelled."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from unispeech_ft.config.sections import DataConfig, PhonemesConfig
from unispeech_ft.data.audio import Waveform
from unispeech_ft.data.augmentation import Audio
from unispeech_ft.data.held_out import Recordings, Speakers, held_out, recordings_of
from unispeech_ft.data.labels import LabelledSplit, label_split
from unispeech_ft.data.prepare import prepare_audio
from unispeech_ft.data.sources import list_utterances
from unispeech_ft.data.utterances import FILTERED, SPLITS, Corpus, Rejected, Utterance
from unispeech_ft.errors import UserError


@dataclass(frozen=True)
class JoinedAudio:
    """The clips of two lists, those of the second behind those of the first."""

    first: Audio
    second: Audio

    @cached_property
    def num_samples(self) -> npt.NDArray[np.int64]:
        """Samples at 16 kHz of each row."""
        return np.concatenate([self.first.num_samples, self.second.num_samples])

    @property
    def key(self) -> str:
        """Identifies the audio."""
        return hashlib.sha256(f"{self.first.key} {self.second.key}".encode()).hexdigest()

    def _place(self, row: int) -> tuple[Audio, int]:
        count = len(self.first.num_samples)
        return (self.first, row) if row < count else (self.second, row - count)

    def waveform(self, row: int) -> Waveform:
        """The clip of a row: `[S]`, float32."""
        audio, place = self._place(row)
        return audio.waveform(place)

    def name(self, row: int) -> str:
        """The id of a row."""
        audio, place = self._place(row)
        return audio.name(place)


def _listed(file: str, data: DataConfig) -> Corpus:
    """All that a manifest lists, as training speech."""
    path = Path(file).expanduser().absolute()
    if not path.is_file():
        raise UserError(f"data.further: no file {file}", remedy="name a manifest of clips with their phones")
    own = DataConfig(
        source="manifest", root=path.anchor, train=str(path), phones_column=data.phones_column, channel=data.channel
    )
    found = list_utterances(own, published_labels=False, wanted=SPLITS[:1])
    utterances = [item for split in SPLITS for item in found.splits[split]]
    rejected = [replace(item, split="train") for item in found.rejected]
    return replace(found, splits={**dict.fromkeys(SPLITS, ()), "train": utterances}, rejected=rejected)


def _why_not(item: Utterance, recordings: Recordings, speakers: Speakers) -> str | None:
    """Why an utterance must not be trained on."""
    if item.path is not None and item.path in recordings:
        return f"{FILTERED}its recording is in validation or test"
    if item.speaker in speakers:
        return f"{FILTERED}its speaker is in validation or test"
    return None


def further_speech(
    corpus: Corpus, data: DataConfig, phonemes: PhonemesConfig, *, show_progress: bool
) -> tuple[LabelledSplit, list[Rejected], list[Utterance]]:
    """The clips of `data.further` with their phones, without recordings and speakers of validation and test; those
    that cannot be used; and the utterances behind the first.

    Raises:
        UserError: there is no such manifest, it cannot be read, or it has no phones.
    """
    found = _listed(str(data.further), data)
    tested = held_out(corpus)
    recordings, speakers = recordings_of(tested), Speakers(item.speaker for item in tested)
    reasons = {item.id: _why_not(item, recordings, speakers) for item in found.splits["train"]}
    left = [Rejected("train", name, reason) for name, reason in reasons.items() if reason]
    kept = [item for item in found.splits["train"] if reasons[item.id] is None]
    if not any(item.phones for item in kept):
        raise UserError(
            f"data.further: {data.further} has no clip with phones that may be trained on",
            remedy="give it a column phones, and clips of nobody who is in validation or test",
        )
    found = replace(found, splits={**found.splits, "train": kept}, rejected=[*found.rejected, *left])
    audio = prepare_audio(
        found,
        "train",
        data.cache_folder,
        num_workers=data.num_workers,
        show_progress=show_progress,
        channel=data.channel,
    )
    as_they_are = phonemes.model_copy(update={"labels": "column", "map": "none", "segment": False})
    labelled, rejected = label_split(found, "train", audio, data, as_they_are)
    if not labelled.ids:
        raise UserError(
            f"data.further: {data.further} has no clip that can be trained on ({rejected[0].reason})",
            remedy="check its paths and phones, or leave it out",
        )
    used = set(labelled.ids)
    return labelled, rejected, [item for item in kept if item.id in used]


def joined(first: LabelledSplit, second: LabelledSplit) -> LabelledSplit:
    """Two splits as one; an id of the second that the first has gets `#2` behind it."""
    there = set(first.ids)
    start = len(first.audio.num_samples)
    return replace(
        first,
        ids=[*first.ids, *(f"{name}#2" if name in there else name for name in second.ids)],
        phones=[*first.phones, *second.phones],
        rows=[*first.rows, *(start + row for row in second.rows)],
        speakers=[*first.speakers, *second.speakers],
        audio=JoinedAudio(first.audio, second.audio),
    )
