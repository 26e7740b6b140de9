"""Source `hub`: a dataset on the Hub, or a local folder of parquet files, streamed once into the prepared set.

`datasets` hands out the encoded bytes (`Audio(decode=False)`), so neither torchcodec nor FFmpeg is needed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from unispeech_ft.config.sections import DataConfig
from unispeech_ft.data.sources.manifest import PHONES_COLUMNS, SPEAKER_COLUMNS, TEXT_COLUMNS
from unispeech_ft.data.utterances import SPLITS, Corpus, Split, Utterance, not_read, unique_ids
from unispeech_ft.errors import UserError

if TYPE_CHECKING:
    from datasets import IterableDataset

AUDIO_COLUMNS = ("audio", "speech", "file")
DEFAULT_NAMES: dict[Split, str] = {"train": "train", "validation": "validation", "test": "test"}


def _parquet_files(root: Path) -> dict[str, list[str]]:
    """Files by split: from folders or file names such as `train-00000-of-00002.parquet`."""
    files: dict[str, list[str]] = {}
    for path in sorted(root.rglob("*.parquet")):
        inside = path.relative_to(root)
        name = inside.parts[0] if len(inside.parts) > 1 and inside.parts[0] != "data" else inside.stem.split("-")[0]
        files.setdefault(name, []).append(str(path))
    if not files:
        raise UserError(f"data.root: no .parquet files in {root}", remedy="name a parquet folder or a Hub id")
    return files


class HubReader:
    """Streams the splits of one dataset; can be sent to other processes."""

    def __init__(self, data: DataConfig) -> None:
        self.root = str(data.root)
        self.folder = Path(self.root).expanduser()
        self.names = {split: getattr(data, split) or DEFAULT_NAMES[split] for split in SPLITS}
        self.language = data.language
        self.audio_column = data.audio_column

    def stream(self, split: Split) -> IterableDataset:
        """The rows of a split, nothing downloaded beforehand.

        Raises:
            UserError: no such dataset or split, or the Hub cannot be reached.
        """
        from datasets import load_dataset

        name = self.names[split]
        if self.folder.is_dir():
            files = _parquet_files(self.folder)
            if name not in files:
                raise UserError(f"data.{split}: {self.root} has no split {name}", remedy=f"it has {', '.join(files)}")
            return load_dataset("parquet", data_files={name: files[name]}, split=name, streaming=True)
        try:
            return load_dataset(self.root, split=name, streaming=True)
        except ValueError as error:
            raise UserError(
                f"data.{split}: {self.root} has no split {name} that can be read ({str(error).splitlines()[0]})",
                remedy="name the split in the configuration",
            ) from None
        except Exception as error:
            raise UserError(
                f"data.root: the Hub dataset {self.root} cannot be opened ({type(error).__name__})",
                remedy="check the id and the network, or name a local folder of parquet files",
            ) from None

    def has(self, split: Split) -> bool:
        """Whether the dataset has a split; one that it lacks matters only where the configuration names it."""
        if self.folder.is_dir():
            return self.names[split] in _parquet_files(self.folder)
        from datasets import get_dataset_split_names

        return self.names[split] in get_dataset_split_names(self.root)

    def key(self) -> str:
        """Identifies the audio: files with size and time, or the Hub revision."""
        if self.folder.is_dir():
            files = [Path(file) for group in _parquet_files(self.folder).values() for file in group]
            lines = [f"{file}\t{file.stat().st_size}\t{file.stat().st_mtime_ns}" for file in files]
        else:
            from huggingface_hub import HfApi

            lines = [self.root, str(HfApi().dataset_info(self.root).sha)]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def column(self, columns: list[str]) -> str:
        return _pick(columns, self.audio_column, AUDIO_COLUMNS, "data.audio_column", self.root) or AUDIO_COLUMNS[0]

    def read_rows(self, split: Split) -> Iterator[tuple[str, bytes]]:
        """(id, encoded audio) of the rows of a split, ids as `list_hub` gives them."""
        from datasets import Audio

        rows = self.stream(split)
        column = self.column(_columns(rows))
        rows = rows.select_columns([column]).cast_column(column, Audio(decode=False))
        seen: dict[str, int] = {}
        for number, row in enumerate(rows):
            name = _row_id(row[column], number)
            seen[name] = seen.get(name, 0) + 1
            audio = row[column] or {}
            encoded = audio.get("bytes") or (Path(audio["path"]).read_bytes() if audio.get("path") else b"")
            yield (name if seen[name] == 1 else f"{name}#{seen[name]}"), encoded


def _columns(rows: IterableDataset) -> list[str]:
    return list(rows.column_names or next(iter(rows)).keys())


def _row_id(audio: Any, number: int) -> str:
    path = (audio or {}).get("path")
    return PurePosixPath(path).stem if path else f"row-{number:06d}"


def _pick(columns: list[str], wanted: str | None, usual: tuple[str, ...], key: str, root: str) -> str | None:
    if wanted is not None and wanted not in columns:
        raise UserError(f"{key}: {root} has no column {wanted}", remedy=f"it has {', '.join(columns)}")
    return wanted or next((name for name in usual if name in columns), None)


def _list_split(reader: HubReader, split: Split, data: DataConfig) -> list[Utterance]:
    from datasets import Audio

    rows = reader.stream(split)
    columns = _columns(rows)
    audio = _pick(columns, data.audio_column, AUDIO_COLUMNS, "data.audio_column", reader.root)
    text = _pick(columns, data.text_column, TEXT_COLUMNS, "data.text_column", reader.root)
    phones = _pick(columns, data.phones_column, PHONES_COLUMNS, "data.phones_column", reader.root)
    speaker = _pick(columns, data.speaker_column, SPEAKER_COLUMNS, "data.speaker_column", reader.root)
    if audio is None or (text is None and phones is None):
        raise UserError(
            f"data.root: {reader.root} has no column of {'audio' if audio is None else 'sentences or phones'}",
            remedy=f"name it in data.audio_column or data.text_column; it has {', '.join(columns)}",
        )
    rows = rows.cast_column(audio, Audio(decode=False))
    utterances = []
    for number, row in enumerate(rows):
        value = row[phones] if phones else None
        labels = tuple(value if isinstance(value, list) else str(value).split()) if value else None
        utterances.append(
            Utterance(
                _row_id(row[audio], number),
                None,
                str(row[text]).strip() if text and row[text] is not None else None,
                labels,
                str(row[speaker]) if speaker and row[speaker] is not None else None,
            )
        )
    return unique_ids(utterances)


def list_hub(data: DataConfig, wanted: Collection[Split] = SPLITS) -> Corpus:
    """The utterances of a Hub dataset or parquet folder.

    Args:
        wanted: see `data.sources.list_utterances`; validation and test need not be there.

    Raises:
        UserError: dataset, split or column is missing.
    """
    reader = HubReader(data)
    there = [split for split in SPLITS if split == "train" or getattr(data, split) or reader.has(split)]
    splits: dict[Split, list[Utterance]] = {split: [] for split in SPLITS}
    notes: list[str] = []
    for split in there:
        try:
            splits[split] = _list_split(reader, split, data)
        except UserError as fault:
            notes.append(not_read(split, wanted, fault))
    return Corpus(splits, source_key=reader.key(), read_rows=reader.read_rows, notes=notes)
