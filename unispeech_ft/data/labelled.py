"""Labelled clips: a manifest with a column of labels, or a folder for each class; the label may be who speaks."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from unispeech_ft.config.labelled import AugmentationConfig
from unispeech_ft.config.sections import DataConfig
from unispeech_ft.data.audio import AUDIO_ENDINGS, SAMPLE_RATE_HZ
from unispeech_ft.data.augmentation import AugmentedAudio, augmented_audio
from unispeech_ft.data.labels import check_bad_fraction, summarize_rejected
from unispeech_ft.data.prepare import PreparedAudio, prepare_audio
from unispeech_ft.data.sources.folders import files_below, passed_over
from unispeech_ft.data.sources.manifest import PATH_COLUMNS, SPEAKER_COLUMNS, find_clip
from unispeech_ft.data.sources.tables import read_table, require_column
from unispeech_ft.data.speech import Turns
from unispeech_ft.data.utterances import FILTERED, SPLIT_NAMES, SPLITS, Corpus, Rejected, Split, Utterance, unique_ids
from unispeech_ft.errors import UserError
from unispeech_ft.scoring.bootstrap import MIN_SPEAKERS


@dataclass(frozen=True)
class LabelSource:
    """Where labels stand.

    Attributes:
        column: of a manifest; None for the first of `columns` that it has.
        key: of the configuration that names the column, for people.
        held_out: share that validation and test get each.
        speakers: the label is who speaks, so that validation and test have others than training.
        separator: between several labels of a clip; None where it has one.
    """

    column: str | None
    key: str
    held_out: float
    speakers: bool = False
    separator: str | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        return SPEAKER_COLUMNS if self.speakers else ()


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


def labels_of(label: str, separator: str | None) -> list[str]:
    """One label, or several sorted ones."""
    if separator is None:
        return [label]
    return sorted({part.strip() for part in label.split(separator)} - {""})


def _from_folders(root: Path) -> tuple[list[Utterance], list[str]]:
    """Clips below the folders of `root`, whose first folder's name is the label; and a line on files passed over."""
    files = files_below(root)
    strangers = passed_over(files)
    found = []
    for path in files:
        inside = path.relative_to(root)
        if len(inside.parts) > 1 and path.suffix.lower() in AUDIO_ENDINGS:
            found.append(Utterance(inside.with_suffix("").as_posix(), path, inside.parts[0]))
    if not found:
        raise UserError(
            f"data.root: {root} holds no folder of audio for each class", remedy="name it, or a manifest (data.train)"
        )
    return found, [f"passed over are {strangers}"] if strangers else []


def _from_manifest(
    path: Path, root: Path, split: Split, data: DataConfig, labels: LabelSource
) -> tuple[list[tuple[Utterance, str]], list[Rejected]]:
    """(clip with its label as text, split name or "") of each row, and the rows that cannot be used."""
    key = f"data.{split}"
    table = read_table(path, key)
    audio = require_column(table, data.audio_column, PATH_COLUMNS, "data.audio_column", path)
    label = require_column(table, labels.column, labels.columns, labels.key, path)
    speaker = require_column(table, data.speaker_column, SPEAKER_COLUMNS, "data.speaker_column", path)
    if audio is None:
        raise UserError(f"{key}: {path.name} has no column of audio paths", remedy="name it in data.audio_column")
    found: list[tuple[Utterance, str]] = []
    rejected = [Rejected(split, f"{path.name}:{line}", reason) for line, reason in table.faults]
    for line, values in table.rows:
        name, said = str(values.get(audio) or "").strip(), str(values.get(str(label)) or "").strip()
        file = (
            find_clip(name, root.absolute(), root.absolute())
            if name and said
            else "no path"
            if not name
            else "no label"
        )
        if isinstance(file, str):
            rejected.append(Rejected(split, f"{path.name}:{line}", file))
            continue
        who = said if labels.speakers else str(values[speaker]) if speaker and values.get(speaker) else None
        found.append(
            (Utterance(Path(name).with_suffix("").as_posix(), file, said, None, who), str(values.get("split") or ""))
        )
    return found, rejected


def hold_out(
    clips: Sequence[Utterance], share: float, *, by_speaker: bool | None = None
) -> tuple[dict[Split, list[Utterance]], str]:
    """Divides clips into train, validation and test.

    Args:
        by_speaker: no speaker stands in two parts; None for so where ten or more are known, else by clip.

    Returns:
        The parts, and how they were made, for people.
    """
    speakers = {clip.speaker for clip in clips if clip.speaker}
    by_speaker = len(speakers) >= MIN_SPEAKERS if by_speaker is None else by_speaker
    parts: dict[Split, list[Utterance]] = {split: [] for split in SPLITS}
    names = sorted({(clip.speaker if by_speaker else None) or clip.id for clip in clips})
    ordered = sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())
    count = max(1, round(share * len(ordered)))
    of_name: dict[str, Split] = dict.fromkeys(ordered, "train")
    of_name.update(dict.fromkeys(ordered[:count], "test"))
    of_name.update(dict.fromkeys(ordered[count : 2 * count], "validation"))
    for clip in clips:
        parts[of_name[(clip.speaker if by_speaker else None) or clip.id]].append(clip)
    unit = "speakers" if by_speaker else "clips, whoever speaks them,"
    return parts, f"{count} of {len(ordered)} {unit} each were set aside for validation and test"


def list_clips(data: DataConfig, labels: LabelSource) -> Corpus:
    """The clips that a configuration names, their labels as text.

    Raises:
        UserError: folder, manifest or column is missing.
    """
    root = Path(str(data.root)).expanduser()
    if not root.is_dir():
        raise UserError(f"data.root: no folder {root}", remedy="name the folder that holds the audio")
    named = {split: getattr(data, split) for split in SPLITS if getattr(data, split)}
    rejected: list[Rejected] = []
    splits: dict[Split, list[Utterance]] = {split: [] for split in SPLITS}
    notes: list[str] = []
    rows: list[tuple[Utterance, str]] = []
    for split, name in named.items():
        path = next((place for place in (Path(name), root / name) if place.is_file()), Path(name))
        rows, faults = _from_manifest(path, root, split, data, labels)
        splits[split] = [clip for clip, _ in rows]
        rejected += faults
    if len(named) == 1 and any(name for _, name in rows):
        splits = {split: [c for c, name in rows if SPLIT_NAMES.get(name.lower()) == split] for split in SPLITS}
        unknown = sorted({name for _, name in rows if name.lower() not in SPLIT_NAMES})
        if unknown:
            raise UserError(f"data.train: split {unknown[0]!r} is unknown", remedy="use train, dev, test")
    elif len(named) <= 1:
        found, notes = (splits["train"], []) if named else _from_folders(root)
        if labels.speakers:
            found = [replace(clip, speaker=clip.text) for clip in found]
        splits, note = hold_out(found, labels.held_out, by_speaker=labels.speakers or None)
        notes.append(note)
    elif not named.keys() & {"validation"}:
        parts, note = hold_out(splits["train"], labels.held_out, by_speaker=labels.speakers or None)
        splits |= {"train": [*parts["train"], *parts["test"]], "validation": parts["validation"]}
        notes.append(note.replace("each were set aside for validation and test", "were set aside for validation"))
    return Corpus({split: unique_ids(clips) for split, clips in splits.items()}, rejected, notes=notes)


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
    if not (settings.speeds or settings.copies) or not isinstance(clips.audio, PreparedAudio):
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
