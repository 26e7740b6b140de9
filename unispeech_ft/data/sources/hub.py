"""Source `hub`: a dataset on the Hub, or a local folder of parquet files, streamed once into the prepared set.

`datasets` hands out the encoded bytes (`Audio(decode=False)`), so neither torchcodec nor FFmpeg is needed.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from unispeech_ft.config.sections import DataConfig
from unispeech_ft.data.sources.manifest import PHONES_COLUMNS, SPEAKER_COLUMNS, TEXT_COLUMNS, audio_of_row
from unispeech_ft.data.utterances import SPLITS, Corpus, Split, Utterance, not_read, unique_ids
from unispeech_ft.errors import UserError, first_line

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
        self.root, self.revision = str(data.root), data.revision
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
            # What it logs of a damaged file is told in a line of our own.
            logging.getLogger("datasets.packaged_modules.parquet.parquet").setLevel(logging.CRITICAL)
            try:
                given = {name: files[name]}
                return load_dataset("parquet", data_files=given, split=name, streaming=True)  # nosec B615  # local
            except Exception as error:
                raise _damaged(self.root, error) from None
        with self._reached():
            try:
                return load_dataset(self.root, split=name, streaming=True, revision=self.revision)
            except ValueError as error:
                raise UserError(
                    f"data.{split}: {self.root} has no split {name} that can be read ({first_line(error)})",
                    remedy="name the split in the configuration",
                ) from None

    @contextmanager
    def _reached(self) -> Iterator[None]:
        """Whatever asking the Hub raises is one fault of the user's."""
        try:
            yield
        except UserError:
            raise
        except Exception as error:
            raise UserError(
                f"data.root: the Hub dataset {self.root} cannot be opened ({type(error).__name__})",
                remedy="check id, data.revision and the network, or name a local folder of parquet files",
            ) from None

    def has(self, split: Split) -> bool:
        """Whether the dataset has a split; one that it lacks matters only where the configuration names it."""
        if self.folder.is_dir():
            return self.names[split] in _parquet_files(self.folder)
        from datasets import get_dataset_split_names

        with self._reached():
            return self.names[split] in get_dataset_split_names(self.root, revision=self.revision)

    def key(self) -> str:
        """Identifies the audio: files with size and time, or the Hub revision."""
        if self.folder.is_dir():
            files = [Path(file) for group in _parquet_files(self.folder).values() for file in group]
            lines = [f"{file}\t{file.stat().st_size}\t{file.stat().st_mtime_ns}" for file in files]
        else:
            from huggingface_hub import HfApi

            with self._reached():
                lines = [self.root, str(HfApi().dataset_info(self.root, revision=self.revision).sha)]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def column(self, columns: list[str]) -> str:
        return _pick(columns, self.audio_column, AUDIO_COLUMNS, "data.audio_column", self.root) or AUDIO_COLUMNS[0]

    def read_rows(self, split: Split) -> Iterator[tuple[str, bytes | Path | str]]:
        """(id, encoded audio, a file, or the reason why there is none) of the rows of a split, ids as `list_hub` gives
        them."""
        from datasets import Audio

        rows = self.stream(split)
        column = self.column(_columns(rows, self.root))
        rows = rows.select_columns([column]).cast_column(column, Audio(decode=False))
        files = self.folder.absolute() if self.folder.is_dir() else None
        seen: dict[str, int] = {}
        for number, row in enumerate(_read(rows, self.root)):
            name = _row_id(row[column], number)
            seen[name] = seen.get(name, 0) + 1
            yield (name if seen[name] == 1 else f"{name}#{seen[name]}"), audio_of_row(row[column], files)


def _read(rows: IterableDataset, root: str) -> Iterator[dict[str, Any]]:
    """The rows, whose files are read as they are asked for.

    Raises:
        UserError: a file is damaged.
    """
    try:
        yield from rows
    except Exception as error:  # pyarrow and datasets raise whatever they like at damaged files
        raise _damaged(root, error) from None


def _damaged(root: str, error: Exception) -> UserError:
    return UserError(
        f"data.root: {root} cannot be read ({first_line(error)})", remedy="download or write its files again"
    )


def _columns(rows: IterableDataset, root: str) -> list[str]:
    names = rows.column_names or list(next(_read(rows, root), {}))
    if not names:
        raise UserError(f"data.root: {root} holds no rows", remedy="check that these are the right files")
    return list(names)


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
    columns = _columns(rows, reader.root)
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
    for number, row in enumerate(_read(rows, reader.root)):
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


def list_hub_labels(
    data: DataConfig, split: Split, column: str | None, usual: Sequence[str], key: str, separator: str | None
) -> list[Utterance]:
    """The clips of a split with their labels as text; a `ClassLabel` gives its names.

    Args:
        column: of the labels; None for the first of `usual` that is there.
        key: of the configuration that names it.
        separator: put between several labels of a clip.

    Raises:
        UserError: dataset, split or column is missing.
    """
    from datasets import Audio

    reader = HubReader(data)
    rows = reader.stream(split)
    columns = _columns(rows, reader.root)
    audio = _pick(columns, data.audio_column, AUDIO_COLUMNS, "data.audio_column", reader.root)
    label = _pick(columns, column, tuple(usual), key, reader.root)
    speaker = _pick(columns, data.speaker_column, SPEAKER_COLUMNS, "data.speaker_column", reader.root)
    if audio is None or label is None:
        what = f"data.root: {reader.root} has no column of {'audio' if audio is None else 'labels'}"
        remedy = f"name it in {'data.audio_column' if audio is None else key}; it has {', '.join(columns)}"
        raise UserError(what, remedy=remedy)
    feature = (rows.features or {}).get(label)
    named = getattr(getattr(feature, "feature", feature), "int2str", str)
    rows = rows.cast_column(audio, Audio(decode=False))
    clips = []
    for number, row in enumerate(_read(rows, reader.root)):
        held = row[label] if isinstance(row[label], list) else [row[label]]
        said = (separator or " ").join(str(named(value)).strip() for value in held if value is not None)
        who = str(row[speaker]) if speaker and row[speaker] is not None else None
        clips.append(Utterance(_row_id(row[audio], number), None, said, None, who))
    return unique_ids(clips)


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
