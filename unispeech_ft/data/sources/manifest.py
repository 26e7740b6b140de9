"""Source `manifest`: a TSV, CSV or JSONL file with a path and a sentence or phones, optional speaker and split."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from unispeech_ft.config.sections import DataConfig
from unispeech_ft.data.sources.tables import Table, read_table, require_column
from unispeech_ft.data.utterances import (
    SPLITS,
    SYNTHETIC_MARK,
    Corpus,
    Rejected,
    Split,
    Utterance,
    hold_out,
    unique_ids,
)
from unispeech_ft.errors import UserError, raise_all

PATH_COLUMNS = ("path", "audio", "file", "file_name", "audio_path", "wav")
TEXT_COLUMNS = ("sentence", "text", "transcript", "transcription")
PHONES_COLUMNS = ("phones", "phonemes")
SPEAKER_COLUMNS = ("client_id", "speaker", "speaker_id")
SPLIT_NAMES: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "dev": "validation",
    "valid": "validation",
    "validation": "validation",
    "val": "validation",
    "test": "test",
}


def _find(name: str, root: Path, key: str) -> Path:
    for candidate in (Path(name), root / name):
        if candidate.is_file():
            return candidate.resolve()
    raise UserError(f"{key}: no file {name}, neither here nor in data.root ({root})", remedy="check the path")


def _phones(value: Any) -> tuple[str, ...]:
    return tuple(str(phone) for phone in value) if isinstance(value, list) else tuple(str(value).split())


def _text(values: dict[str, Any], column: str | None) -> str | None:
    value = values.get(column) if column else None
    return str(value).strip() or None if value is not None else None


def _utterance(values: dict[str, Any], columns: dict[str, str | None], folder: Path, root: Path) -> Utterance | str:
    """The utterance of a row, or the reason why it cannot be used."""
    name = _text(values, columns["path"])
    if name is None:
        return "no path"
    path = (folder / name).resolve()
    if not path.is_relative_to(root):
        return f"its path {name} leads outside data.root"
    phones = _phones(values[columns["phones"]]) if columns["phones"] and values.get(columns["phones"]) else None
    identity = path.relative_to(root).with_suffix("").as_posix()
    return Utterance(identity, path, _text(values, columns["text"]), phones, _text(values, columns["speaker"]))


def _read(path: Path, root: Path, data: DataConfig, key: str) -> tuple[list[tuple[Utterance, str]], list[Rejected]]:
    """(utterance, split name or "") pairs of one manifest, and its unusable rows."""
    table: Table = read_table(path, key)
    columns = {
        "path": require_column(table, data.audio_column, PATH_COLUMNS, "data.audio_column", path),
        "text": require_column(table, data.text_column, TEXT_COLUMNS, "data.text_column", path),
        "phones": require_column(table, data.phones_column, PHONES_COLUMNS, "data.phones_column", path),
        "speaker": require_column(table, data.speaker_column, SPEAKER_COLUMNS, "data.speaker_column", path),
    }
    wanted = f"it has {', '.join(table.columns) or 'none'}"
    if columns["path"] is None:
        raise UserError(
            f"{key}: {path.name} has no column of audio paths", remedy=f"name it in data.audio_column; {wanted}"
        )
    if columns["text"] is None and columns["phones"] is None:
        raise UserError(
            f"{key}: {path.name} has neither a column of sentences nor of phones",
            remedy=f"name one in data.text_column or data.phones_column; {wanted}",
        )
    found: list[tuple[Utterance, str]] = []
    rejected = [Rejected(key, f"{path.name}:{line}", reason) for line, reason in table.faults]
    for line, values in table.rows:
        result = _utterance(values, columns, path.parent, root)
        if isinstance(result, str):
            rejected.append(Rejected(key, f"{path.name}:{line}", result))
        else:
            found.append((result, str(values.get("split") or "").strip().lower()))
    return found, rejected


def list_manifest(data: DataConfig) -> Corpus:
    """The utterances that the configured manifests name.

    One manifest without a `split` column is divided by `hold_out`; with one, or with a manifest for each split, the
    user's own division holds.

    Raises:
        UserError: a manifest is missing, lacks a column, or names unknown splits.
    """
    root = Path(str(data.root)).expanduser()
    if not root.is_dir():
        raise UserError(f"data.root: no folder {root}", remedy="name the folder that holds the audio")
    root = root.resolve()
    named = {split: getattr(data, split) for split in SPLITS if getattr(data, split) is not None}
    rejected: list[Rejected] = []
    splits: dict[Split, list[Utterance]] = {split: [] for split in SPLITS}
    by_column: list[tuple[Utterance, str]] = []
    for split, name in named.items():
        rows, faults = _read(_find(name, root, f"data.{split}"), root, data, f"data.{split}")
        rejected += [Rejected(split, fault.id, fault.reason) for fault in faults]
        splits[split] = [utterance for utterance, _ in rows]
        if len(named) == 1:
            by_column = rows
    notes: list[str] = []
    if any(name for _, name in by_column):
        unknown = sorted({name for _, name in by_column if name not in SPLIT_NAMES})
        raise_all(
            [UserError(f"data.train: split {name!r} is unknown", remedy="use train, dev, test") for name in unknown]
        )
        splits = {split: [u for u, name in by_column if SPLIT_NAMES[name] == split] for split in SPLITS}
    elif list(named) == ["train"]:
        splits = hold_out(splits["train"])
        notes.append(
            "one manifest without a split column: 10 % of the sentences each were set aside for validation and test by"
            " a hash of the sentence; speakers may stand in several parts"
        )
    unique = {split: unique_ids(utterances) for split, utterances in splits.items()}
    synthetic = True if (root / SYNTHETIC_MARK).exists() else None
    return Corpus(unique, rejected, synthetic=synthetic, notes=notes)
