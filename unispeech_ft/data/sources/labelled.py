"""Where labelled clips are listed: a folder for each class, a manifest with a column of labels, or a dataset."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from unispeech_ft.config.sections import DataConfig
from unispeech_ft.data.audio import AUDIO_ENDINGS
from unispeech_ft.data.sources.folders import files_below, passed_over
from unispeech_ft.data.sources.hub import HubReader, list_hub_labels
from unispeech_ft.data.sources.manifest import PATH_COLUMNS, SPEAKER_COLUMNS, find_clip
from unispeech_ft.data.sources.tables import read_table, require_column
from unispeech_ft.data.utterances import SPLIT_NAMES, SPLITS, Corpus, Rejected, Split, Utterance, unique_ids
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


def _validation_of(clips: Sequence[Utterance], labels: LabelSource) -> tuple[dict[Split, list[Utterance]], str]:
    """Training clips without those that are set aside for validation, these, and how that was done, for people."""
    parts, note = hold_out(clips, labels.held_out, by_speaker=labels.speakers or None)
    said = note.replace("each were set aside for validation and test", "were set aside for validation")
    return {"train": [*parts["train"], *parts["test"]], "validation": parts["validation"]}, said


def _from_hub(data: DataConfig, labels: LabelSource) -> Corpus:
    """The clips of a dataset; splits that it lacks are set aside from training."""
    reader = HubReader(data)
    splits: dict[Split, list[Utterance]] = {split: [] for split in SPLITS}
    rejected: list[Rejected] = []
    column = labels.column or (None if labels.speakers else "label")
    for split in SPLITS:
        if split == "train" or getattr(data, split) or reader.has(split):
            clips = list_hub_labels(data, split, column, labels.columns, labels.key, labels.separator)
            if labels.speakers:
                clips = [replace(clip, speaker=clip.text or None) for clip in clips]
            splits[split] = [clip for clip in clips if clip.text]
            rejected += [Rejected(split, clip.id, "no label") for clip in clips if not clip.text]
    notes = []
    source: dict[Split, Split] = {split: split for split in SPLITS}
    if not splits["validation"]:
        source["validation"] = "train"
        if splits["test"]:
            parts, note = _validation_of(splits["train"], labels)
            splits |= parts
        else:
            splits, note = hold_out(splits["train"], labels.held_out, by_speaker=labels.speakers or None)
            source["test"] = "train"
        notes.append(note)

    def read_rows(split: Split) -> Iterator[tuple[str, bytes | Path | str]]:
        ids = {clip.id for clip in splits[split]}
        return (row for row in reader.read_rows(source[split]) if row[0] in ids)

    return Corpus(splits, rejected, source_key=reader.key(), read_rows=read_rows, notes=notes)


def list_clips(data: DataConfig, labels: LabelSource) -> Corpus:
    """The clips that a configuration names, their labels as text.

    Raises:
        UserError: folder, manifest, dataset or column is missing.
    """
    if data.source == "hub":
        return _from_hub(data, labels)
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
        parts, note = _validation_of(splits["train"], labels)
        splits |= parts
        notes.append(note)
    return Corpus({split: unique_ids(clips) for split, clips in splits.items()}, rejected, notes=notes)
