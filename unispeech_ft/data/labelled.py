"""Labelled clips, decoded; the label may be who speaks."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from unispeech_ft.config.labelled import AugmentationConfig
from unispeech_ft.config.sections import DataConfig
from unispeech_ft.data.audio import SAMPLE_RATE_HZ
from unispeech_ft.data.augmentation import AugmentedAudio, augmented_audio
from unispeech_ft.data.labels import check_bad_fraction, summarize_rejected
from unispeech_ft.data.prepare import PreparedAudio, prepare_audio
from unispeech_ft.data.sources.labelled import LabelSource, labels_of, list_clips
from unispeech_ft.data.speech import Turns
from unispeech_ft.data.utterances import FILTERED, SPLITS, Corpus, Rejected, Split
from unispeech_ft.errors import UserError


@dataclass(frozen=True)
class LabelledClips:
    """The usable clips of a split.

    Attributes:
        ids, labels, speakers: of each clip; the speaker is None where unknown.
        rows: where each clip lies in `audio`.
    """

    split: Split
    ids: list[str]
    labels: list[str]
    speakers: list[str | None]
    rows: list[int]
    audio: PreparedAudio | AugmentedAudio

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def num_samples(self) -> npt.NDArray[np.int64]:
        """Samples at 16 kHz of each clip."""
        return np.asarray(self.audio.num_samples[self.rows], dtype=np.int64)

    @property
    def hours(self) -> float:
        return float(self.num_samples.sum()) / SAMPLE_RATE_HZ / 3600


@dataclass(frozen=True)
class Clips:
    """All clips of a run; `left_out` are those that are not used, `notes` lines for people, `separator` stands between
    several labels of a clip."""

    splits: dict[Split, LabelledClips]
    left_out: list[Rejected]
    notes: list[str]
    separator: str | None = None

    @property
    def classes(self) -> list[str]:
        """The labels of training, sorted: the rows of the head."""
        return sorted({name for label in self.splits["train"].labels for name in labels_of(label, self.separator)})

    @property
    def num_samples(self) -> list[int]:
        """Samples at 16 kHz of every clip of every split."""
        return [count for part in self.splits.values() for count in part.num_samples.tolist()]

    def augmented(self, settings: AugmentationConfig, seed: int) -> Clips:
        """The same with changed copies of the training clips (`with_copies`)."""
        return replace(self, splits={**self.splits, "train": with_copies(self.splits["train"], settings, seed)})


def usable_clips(
    corpus: Corpus,
    split: Split,
    audio: PreparedAudio,
    data: DataConfig,
    classes: set[str] | None,
    separator: str | None,
) -> tuple[LabelledClips, list[Rejected]]:
    """The clips of a split that can be used, and the others.

    Args:
        classes: that training has; None lets all through.
        separator: between several labels of a clip.
    """
    found = LabelledClips(split, [], [], [], [], audio)
    rejected = [item for item in corpus.rejected if item.split == split]
    for clip in corpus.splits[split]:
        reason = audio.faults.get(clip.id)
        if reason is None:
            duration_s = audio.duration_s(audio.rows[clip.id])
            if not data.min_duration_s <= duration_s <= data.max_duration_s:
                limits = f"{data.min_duration_s:g} to {data.max_duration_s:g} s"
                reason = f"{FILTERED}{duration_s:.2f} s long, outside {limits}"
            elif classes is not None and set(labels_of(str(clip.text), separator)) - classes:
                reason = f"training has no clip of its class: {clip.text}"
        if reason is not None:
            rejected.append(Rejected(split, clip.id, reason))
            continue
        found.ids.append(clip.id)
        found.labels.append(str(clip.text))
        found.speakers.append(clip.speaker)
        found.rows.append(audio.rows[clip.id])
    return found, rejected


def open_clips(data: DataConfig, labels: LabelSource, turns: Turns) -> Clips:
    """Lists and decodes the clips of every split.

    Raises:
        UserError: no clips, one class alone, or too many bad ones.
    """
    corpus = list_clips(data, labels)
    clips = Clips({}, [], list(corpus.notes), labels.separator)
    for split in SPLITS:
        if not corpus.splits[split]:
            continue
        with turns.first():
            audio = prepare_audio(
                corpus,
                split,
                data.cache_folder,
                num_workers=data.num_workers,
                show_progress=turns.show_progress,
                channel=data.channel,
            )
        classes = None if split == "train" or labels.speakers else set(clips.classes)
        usable, rejected = usable_clips(corpus, split, audio, data, classes, labels.separator)
        clips.notes.extend(summarize_rejected(rejected, len(usable) + len(rejected), split))
        check_bad_fraction(rejected, len(usable) + len(rejected), split, data.max_bad_fraction)
        clips.left_out.extend(rejected)
        if len(usable):
            clips.splits[split] = usable
        elif split == "train":
            break
    if "train" not in clips.splits:
        raise UserError(
            "no clip is left to train on", remedy="; ".join(clips.notes) or "check data.root and data.train"
        )
    if len(clips.classes) < 2:
        raise UserError(
            f"all training clips are of one {'speaker' if labels.speakers else 'class'}, {clips.classes[0]}",
            remedy=f"check data.root and {labels.key}",
        )
    return clips


def describe_clips(clips: Clips) -> list[str]:
    """Lines for people: what there is, and what was left out."""
    sizes = [f"{split}: {len(part)} clips, {part.hours:.2f} h" for split, part in clips.splits.items()]
    classes = clips.classes
    shown = ", ".join(classes[:12]) + (" …" if len(classes) > 12 else "")
    return [*clips.notes, *sizes, f"classes: {len(classes)}: {shown}"]


def with_copies(clips: LabelledClips, settings: AugmentationConfig, seed: int) -> LabelledClips:
    """The clips and their changed copies, which are named `ID*COPY`. Where the labels are speakers, a clip at another
    speed is another speaker, `SPEAKER*SPEED`.

    Raises:
        UserError: a folder of noises or rooms holds none.
    """
    if not settings.makes_copies or not isinstance(clips.audio, PreparedAudio):
        return clips
    audio = augmented_audio(clips.audio, settings, seed)
    found = replace(clips, audio=audio, ids=[], labels=[], speakers=[], rows=[])
    of_speakers = clips.labels == clips.speakers
    for number, change in enumerate(audio.changes):
        for name, label, speaker, row in zip(clips.ids, clips.labels, clips.speakers, clips.rows, strict=True):
            voice = "" if change.speed == 1 else f"*{change.speed:g}"
            found.ids.append(name + change.name)
            found.labels.append(label + voice if of_speakers else label)
            found.speakers.append(speaker + voice if speaker else None)
            found.rows.append(number * audio.num_originals + row)
    return found
