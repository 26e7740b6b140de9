"""Source `manifest`: tables of recordings and what is said in them, or folders (`data.sources.folders`).

A row names a recording or a stretch of one (offset and duration, start and end), and a sentence or phones; a speaker
and a split may stand beside it. Rows of NeMo's manifests and cuts of lhotse are understood as they are.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path, PureWindowsPath
from typing import Any

from unispeech_ft.config.sections import DataConfig
from unispeech_ft.data.sources.cuts import channel_places, cut_rows
from unispeech_ft.data.sources.folders import list_folder_of_audio
from unispeech_ft.data.sources.kaldi import is_kaldi, list_kaldi
from unispeech_ft.data.sources.tables import Row, Table, read_table, require_column, usual_name
from unispeech_ft.data.utterances import (
    FILTERED,
    SPLIT_NAMES,
    SPLITS,
    SYNTHETIC_MARK,
    Corpus,
    Rejected,
    Split,
    Utterance,
    hold_out,
    not_read,
    segment_id,
    unique_ids,
)
from unispeech_ft.errors import UserError, first_line, raise_all

PATH_COLUMNS = (
    "path", "audio", "file", "file_name", "filename", "audio_path", "audio_filepath", "audio_file", "wav", "wav_path",
    "wav_filename", "filepath",
)  # fmt: skip
TEXT_COLUMNS = ("sentence", "text", "transcript", "transcription", "normalized_text")
PHONES_COLUMNS = ("phones", "phonemes")
SPEAKER_COLUMNS = ("client_id", "speaker", "speaker_id", "speaker_name", "spk_id", "spk")
SPLIT_COLUMNS = ("split", "subset")
# Only where a row of theirs names a split.
LIKE_A_SPLIT = ("partition", "set", "data_split", "dataset", "fold")
CHANNEL_COLUMNS = ("channel", "channel_id", "audio_channel")
# Seconds; a duration says where an utterance ends only beside its start.
START_COLUMNS = (
    "offset", "start", "start_s", "start_sec", "start_seconds", "start_time", "begin", "begin_s", "begin_sec",
    "begin_time", "segment_start", "seg_start", "xmin", "tmin", "from", "onset", "start_ms", "begin_ms", "offset_ms",
)  # fmt: skip
END_COLUMNS = (
    "end", "end_s", "end_sec", "end_seconds", "end_time", "stop", "stop_time", "segment_end", "seg_end", "xmax", "tmax",
    "to", "end_ms",
)  # fmt: skip
DURATION_COLUMNS = ("duration", "duration_s", "duration_sec", "dur", "duration_ms")
MILLISECONDS = ("_ms",)
# A column of such a name that is not read says where a sentence stands in another unit or under another name.
LIKE_A_START = re.compile(r"(start|begin|onset|offset|xmin|tmin|seg(ment)?_?(start|begin))")


@dataclass(frozen=True)
class Listed:
    """What one manifest lists: (utterance, split name or "") of each usable row, and the others by line."""

    rows: list[tuple[Utterance, str]]
    rejected: list[tuple[str, str]]
    has_splits: bool = False


def find_clip(name: str, folder: Path, root: Path) -> Path | str:
    """The file that a row names, below `folder` or `root`, or the reason why it cannot be used.

    Unicode's composed and decomposed forms and both slashes are tried; links are followed wherever they lead.
    """
    try:
        return _found(name, folder, root)
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links, a zero byte, a name too long
        return f"its path {name[:80]!r} cannot be used ({first_line(error)[:80]})"


def _found(name: str, folder: Path, root: Path) -> Path | str:
    places = [Path(os.path.normpath(base / name)) for base in (folder, root)]
    inside = [path for path in places if path.is_relative_to(root) or path.resolve().is_relative_to(root)]
    moved = PureWindowsPath(name).parts if PureWindowsPath(name).drive else Path(name).parts
    if PureWindowsPath(name).drive or not inside:
        # Written on another machine: the end of an absolute path may be found here.
        ends = (root.joinpath(*moved[place:]) for place in range(1, len(moved)) if ".." not in moved)
        found = next((path for path in ends if Path(name).is_absolute() or inside if path.is_file()), None)
        if found:
            return found
    if not inside:
        return f"its path {name[:200]} leads outside data.root"
    for spelled in (name, name.replace("\\", "/")):
        for form in (spelled, unicodedata.normalize("NFC", spelled), unicodedata.normalize("NFD", spelled)):
            for base in (folder, root):
                path = Path(os.path.normpath(base / form))
                if path.is_relative_to(root) and path.is_file():
                    return path
    return f"its path {name[:200]} is a folder" if inside[0].is_dir() else inside[0]


def audio_of_row(value: Any, folder: Path | None) -> bytes | Path | str:
    """The audio that a row of a parquet file holds, or the file that it names, under the rule of manifests; or else why
    there is neither.

    Args:
        folder: below which files may lie; None where rows of others name none.
    """
    held, name = (value.get("bytes"), value.get("path")) if isinstance(value, dict) else (value, None)
    if isinstance(held, bytes):
        return held
    name = held if isinstance(held, str) else name
    if not isinstance(name, str) or not name or folder is None:
        return "its row holds no audio"
    return find_clip(name, folder, folder)


def _phones(value: Any) -> tuple[str, ...]:
    return tuple(str(phone) for phone in value) if isinstance(value, list) else tuple(str(value).split())


def cell_text(values: Row, column: str | None) -> str | None:
    """What stands in a column of a row; None where it is empty, or not there."""
    value = values.get(column) if column else None
    return str(value).strip() or None if value is not None else None


def _seconds(values: Row, column: str | None) -> float | None:
    """Seconds in a cell, also as hours:minutes:seconds.

    Raises:
        ValueError: it holds no time.
    """
    value = cell_text(values, column)
    if value is None:
        return None
    try:
        seconds = 0.0
        for part in value.replace(",", ".").split(":"):
            seconds = 60 * seconds + float(part)
    except ValueError:
        raise ValueError(f"its {column} {value!r} is no time in seconds") from None
    if not 0 <= seconds < float("inf"):
        raise ValueError(f"its {column} {value!r} is no time in seconds")
    return seconds / 1000 if str(column).lower().endswith(MILLISECONDS) else seconds


def _span(values: Row, columns: dict[str, str | None]) -> tuple[float | None, float | None]:
    start_s, end_s = _seconds(values, columns["start"]), _seconds(values, columns["end"])
    duration_s = _seconds(values, columns["duration"]) if columns["start"] or columns["end"] else None
    if start_s is not None and end_s is None and duration_s is not None:
        end_s = start_s + duration_s
    if start_s is None and end_s is not None:
        start_s = max(0.0, end_s - duration_s) if duration_s is not None else 0.0
    if start_s is not None and end_s is not None and end_s <= start_s:
        raise ValueError(f"it starts at {start_s:g} s and ends at {end_s:g} s")
    return start_s, end_s


def _utterance(
    values: Row, columns: dict[str, str | None], channels: dict[str, int], folder: Path, root: Path
) -> Utterance | str:
    """The utterance of a row, or the reason why it cannot be used."""
    held = values.get(columns["path"] or "")
    name = cell_text(held if isinstance(held, dict) else values, "path" if isinstance(held, dict) else columns["path"])
    if name is None:
        return "no path"
    path = find_clip(name, folder, root)
    if isinstance(path, str):
        return path
    phones = _phones(values[columns["phones"]]) if columns["phones"] and values.get(columns["phones"]) else None
    text = cell_text(values, columns["text"])
    if text is None and not phones:
        return f"{FILTERED}no sentence"
    try:
        start_s, end_s = _span(values, columns)
    except ValueError as reason:
        return str(reason)
    where = path.relative_to(root) if path.is_relative_to(root) else path.resolve().relative_to(root)
    identity = segment_id(where.with_suffix("").as_posix(), start_s, end_s)
    channel = channels.get(cell_text(values, columns["channel"]) or "")
    return Utterance(identity, path, text, phones, cell_text(values, columns["speaker"]), start_s, end_s, channel)


def _columns(table: Table, data: DataConfig, path: Path, key: str) -> dict[str, str | None]:
    def usual(names: tuple[str, ...], wanted: str | None = None, of: str = "") -> str | None:
        return require_column(table, wanted, names, of, path)

    columns = {
        "path": usual(PATH_COLUMNS, data.audio_column, "data.audio_column"),
        "text": usual(TEXT_COLUMNS, data.text_column, "data.text_column"),
        "phones": usual(PHONES_COLUMNS, data.phones_column, "data.phones_column"),
        "speaker": usual(SPEAKER_COLUMNS, data.speaker_column, "data.speaker_column"),
        "start": usual(START_COLUMNS),
        "end": usual(END_COLUMNS),
        "duration": usual(DURATION_COLUMNS),
        "split": usual(SPLIT_COLUMNS) or _like_a_split(table),
        "channel": usual(CHANNEL_COLUMNS),
    }
    there = {usual_name(name): name for name in table.columns}
    if "onset" in there and "offset" in there:
        columns |= {"start": there["onset"], "end": there["offset"]}
    unread = next((there[name] for name in there if LIKE_A_START.match(name)), columns["end"])
    if columns["start"] is None and unread is not None and not (columns["end"] and columns["duration"]):
        raise UserError(
            f"{key}: {path.name}: column {unread} says where a sentence stands, but no start in seconds is read",
            remedy="name the columns start and end, or start and duration, in seconds; or remove it",
        )
    wanted = f"it has {', '.join(map(str, table.columns)) or 'none'}"
    if columns["path"] is None:
        reason = f" ({table.faults[0][1]})" if table.faults and not table.rows else ""
        raise UserError(
            f"{key}: {path.name} has no column of audio paths{reason}",
            remedy=f"name it in data.audio_column; {wanted}",
        )
    if columns["text"] is None and columns["phones"] is None:
        raise UserError(
            f"{key}: {path.name} has neither a column of sentences nor of phones",
            remedy=f"name one in data.text_column or data.phones_column; {wanted}",
        )
    return columns


def _like_a_split(table: Table) -> str | None:
    names = [name for name in table.columns if usual_name(name) in LIKE_A_SPLIT]
    said = {name: {(cell_text(values, name) or "").lower() for _, values in table.rows} for name in names}
    return next((name for name in names if said[name] & SPLIT_NAMES.keys()), None)


def _read_manifest(path: Path, root: Path, data: DataConfig, key: str) -> Listed:
    table = read_table(path, key)
    rows, faults = [], list(table.faults)
    for line, values in table.rows:
        try:
            rows += list(cut_rows(line, values))
        except (TypeError, ValueError, AttributeError) as error:
            faults.append((line, f"not a cut that is understood ({first_line(error)})"))
    of_cuts = any("supervisions" in values for _, values in table.rows)
    if of_cuts:
        table = replace(table, columns=list(dict.fromkeys(name for _, values in rows for name in values)))
    columns = _columns(table, data, path, key)
    named = {name for _, values in rows if (name := cell_text(values, columns["channel"]))}
    channels = {name: int(name) for name in named if name.isdecimal()} if of_cuts else channel_places(named)
    found: list[tuple[Utterance, str]] = []
    rejected = [(f"{path.name}:{line}", reason) for line, reason in sorted(faults)]
    lines: dict[tuple[Any, ...], int] = {}
    for line, values in rows:
        result = _utterance(values, columns, channels, path.parent, root)
        if isinstance(result, Utterance):
            said = (result.path, result.channel, result.start_s, result.end_s, result.text, result.phones)
            first = lines.setdefault(said, line)
            if first != line:
                result = f"{FILTERED}the same as line {first}"
        if isinstance(result, str):
            rejected.append((f"{path.name}:{line}", result))
        else:
            found.append((result, (cell_text(values, columns["split"]) or "").lower()))
    return Listed(found, rejected, any(name for _, name in found))


def _find(name: str, root: Path, key: str) -> Path:
    for candidate in (Path(name).expanduser(), root / name):
        if candidate.is_file() or (candidate.is_dir() and candidate.absolute().is_relative_to(root)):
            return Path(os.path.normpath(candidate.absolute()))
    raise UserError(f"{key}: no file {name}, neither here nor in data.root ({root})", remedy="check the path")


def _read(path: Path, root: Path, data: DataConfig, key: str) -> Listed:
    if not path.is_dir():
        return _read_manifest(path, root, data, key)
    list_it = list_kaldi if is_kaldi(path) else list_folder_of_audio
    utterances, rejected = list_it(path, root, data, key)
    return Listed([(utterance, "") for utterance in utterances], rejected)


def _read_files(
    root: Path, data: DataConfig, wanted: Collection[Split]
) -> tuple[dict[Split, Path], dict[Path, Listed], list[str]]:
    """The file of each split that is named, what each file lists, and lines on those that nobody asked for."""
    names = {split: name for split in SPLITS if (name := getattr(data, split))}
    needed = wanted if len(names) > 1 else names.keys()
    files: dict[Split, Path] = {}
    listed: dict[Path, Listed] = {}
    notes: list[str] = []
    for split in sorted(names, key=lambda split: split not in needed):
        files[split] = Path(names[split])
        try:
            path = files[split] = _find(names[split], root, f"data.{split}")
            if path not in listed:
                listed[path] = _read(path, root, data, f"data.{split}")
        except UserError as fault:
            notes.append(not_read(split, needed, fault))
    return {split: files[split] for split in names}, listed, notes


def _take_split(listed: Listed, split: Split, shared: bool, name: str) -> tuple[list[Utterance], list[tuple[str, str]]]:
    """The rows of a file that its split column gives to a split; of a file of its own, those that name no other."""
    taken, other = [], []
    for utterance, said in listed.rows:
        of = SPLIT_NAMES.get(said)
        if of == split or (of is None and not shared):
            taken.append(utterance)
        elif not shared:
            other.append((f"{name}, {utterance.id}", f"{FILTERED}its split is {said}"))
    return taken, other


def list_manifest(data: DataConfig, wanted: Collection[Split] = SPLITS) -> Corpus:
    """The utterances that the configured manifests name.

    A `split` column is obeyed. One manifest without it is divided by `hold_out`; a manifest for each split is the
    user's own division.

    Args:
        wanted: see `data.sources.list_utterances`.

    Raises:
        UserError: a manifest is missing, lacks a column, names unknown splits, or serves several splits without saying
            which row is of which.
    """
    root = Path(str(data.root)).expanduser()
    if not root.is_dir():
        raise UserError(f"data.root: no folder {root}", remedy="name the folder that holds the audio")
    root = Path(os.path.normpath(root.absolute()))
    files, listed, notes = _read_files(root, data, wanted)
    splits: dict[Split, list[Utterance]] = {split: [] for split in SPLITS}
    rejected: list[Rejected] = []
    for path in listed:
        named = [split for split, file in files.items() if file == path]
        content = listed[path]
        rejected += [Rejected(named[0], place, reason) for place, reason in content.rejected]
        if content.has_splits and (len(named) > 1 or len(files) == 1):
            _check_names(content, named[0])
            lost = [u for u, said in content.rows if not said]
            rejected += [Rejected(named[0], u.id, f"{FILTERED}its split is not named") for u in lost]
            named = list(SPLITS) if len(files) == 1 else named
            for split in named:
                splits[split], _ = _take_split(content, split, True, path.name)
            elsewhere = [u for u, said in content.rows if said and SPLIT_NAMES[said] not in named]
            rejected += [Rejected(named[0], u.id, f"{FILTERED}its split is not asked for") for u in elsewhere]
        elif len(named) > 1:
            splits |= {split: [utterance for utterance, _ in content.rows] for split in named}
            notes.append(f"data.{' and data.'.join(named)} name the same file {path.name}, which has no split column")
        elif len(files) == 1 and named == ["train"]:
            splits, how = hold_out([utterance for utterance, _ in content.rows], data.hold_out)
            notes.append(f"one manifest without a split column: {how}")
        else:
            splits[named[0]], other = _take_split(content, named[0], False, path.name)
            rejected += [Rejected(named[0], place, reason) for place, reason in other]
    unique = {split: unique_ids(utterances) for split, utterances in splits.items()}
    synthetic = True if (root / SYNTHETIC_MARK).exists() else None
    return Corpus(unique, rejected, synthetic=synthetic, notes=notes)


def _check_names(listed: Listed, split: Split) -> None:
    remedy = "use train, dev, test"
    unknown = sorted({name for _, name in listed.rows if name and name not in SPLIT_NAMES})
    raise_all([UserError(f"data.{split}: split {name!r} is unknown", remedy=remedy) for name in unknown])
