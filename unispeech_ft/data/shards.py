"""Where unlabelled audio lies: a folder, a manifest, parquet files or tar shards, listed bit by bit.

A *unit* is a file (or the folder) and which of its examples count: `(path, part, parts)`, every `parts`-th from `part`.
Readers are generators that hold one example at a time; none makes a list of all.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np

from unispeech_ft.data.archives import DAMAGE, MOST_FOLDERS, members
from unispeech_ft.data.audio import AUDIO_ENDINGS
from unispeech_ft.data.sources.manifest import PATH_COLUMNS, audio_of_row
from unispeech_ft.data.sources.tables import read_table
from unispeech_ft.errors import UserError, first_line

Source = Literal["folder", "manifest", "parquet", "tar"]
Unit = tuple[str, int, int]
Example = dict[str, Any]

PARQUET_ROWS_AT_ONCE = 8


def is_audio(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in AUDIO_ENDINGS


def _files_below(folder: str, depth: int = 0) -> Iterator[str]:
    if depth > MOST_FOLDERS:
        raise UserError(f"unlabelled.root: folders nest deeper than {MOST_FOLDERS}", remedy="name a folder further in")
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _files_below(entry.path, depth + 1)
            elif is_audio(entry.name):
                yield entry.path


def _folder(unit: Unit, column: str) -> Iterator[Example]:
    """Files in the order in which the folder lists them, dealt to the parts by a hash of their names."""
    root, part, parts = unit
    for path in _files_below(root):
        if zlib.crc32(os.path.relpath(path, root).encode("utf-8", "surrogateescape")) % parts == part:
            yield {"name": os.path.relpath(path, root), "path": path, "audio": None}


def _manifest(unit: Unit, column: str) -> Iterator[Example]:
    name, part, parts = unit
    path = Path(name)
    table = read_table(path, "unlabelled.root")
    if not any(key in table.columns for key in (column, *PATH_COLUMNS)):
        raise UserError(
            f"unlabelled.root: {path.name} has no column of audio paths",
            remedy=f"name it in unlabelled.audio_column; it has {', '.join(map(str, table.columns)) or 'none'}",
        )
    for number, (_, row) in enumerate(table.rows):
        if number % parts == part:
            found = next((str(row[key]) for key in (column, *PATH_COLUMNS) if row.get(key)), "")
            yield {"name": found, "path": str(path.parent / found), "audio": None}
    for line, reason in table.faults:
        if line % parts == part:
            # What names no file is counted among the bad recordings, by its line.
            yield {"name": f"{path.name}:{line} ({reason})", "path": "", "audio": None}


def _parquet(unit: Unit, column: str) -> Iterator[Example]:
    import pyarrow
    import pyarrow.parquet

    name, part, parts = unit
    folder = Path(name).absolute().parent
    try:
        with pyarrow.parquet.ParquetFile(name) as file:
            if column not in file.schema_arrow.names:
                raise UserError(
                    f"unlabelled.root: {Path(name).name} has no column {column}",
                    remedy=f"name one in unlabelled.audio_column; it has {', '.join(file.schema_arrow.names)}",
                )
            number = 0
            for rows in file.iter_batches(batch_size=PARQUET_ROWS_AT_ONCE, columns=[column]):
                for row in range(rows.num_rows):
                    if number % parts == part:
                        held = audio_of_row(rows.column(0)[row].as_py(), folder)
                        yield {
                            "name": f"{Path(name).name}:{number}" + (f" ({held})" if isinstance(held, str) else ""),
                            "path": str(held) if isinstance(held, Path) else "",
                            "audio": held if isinstance(held, bytes) else None,
                        }
                    number += 1
    except (OSError, pyarrow.ArrowException) as error:
        raise UserError(
            f"unlabelled.root: {name} cannot be read ({first_line(error)})", remedy="write the file again"
        ) from None


def _tar(unit: Unit, column: str) -> Iterator[Example]:
    name, part, parts = unit
    number = 0
    try:
        for archive, member in members(Path(name)):
            if not is_audio(member.name):
                continue
            if number % parts == part:
                content = archive.extractfile(member)
                audio = content.read() if content else b""
                yield {"name": f"{Path(name).name}:{member.name}", "path": "", "audio": audio}
            number += 1
    except DAMAGE as error:
        raise UserError(
            f"unlabelled.root: {name} cannot be read ({first_line(error)})", remedy="write the shard again"
        ) from None


_READERS: dict[Source, Callable[[Unit, str], Iterator[Example]]] = {
    "folder": _folder,
    "manifest": _manifest,
    "parquet": _parquet,
    "tar": _tar,
}
_PATTERNS = {"parquet": ("*.parquet",), "tar": ("*.tar", "*.tar.gz", "*.tgz")}


def read_units(units: list[Unit], source: Source, column: str) -> Iterator[Example]:
    """The examples of some units: `name`, and either the `path` of a file or its bytes in `audio`.

    Raises:
        UserError: a file cannot be read, or lacks the column of audio.
    """
    for unit in units:
        yield from _READERS[source](unit, column)


def list_files(source: Source, root: str) -> list[str]:
    """The shard files of a source, sorted; of a folder or a manifest, itself.

    Raises:
        UserError: there are none.
    """
    path = Path(root).expanduser()
    if source == "folder":
        if not path.is_dir():
            raise UserError(f"unlabelled.root: no folder {path}", remedy="name the folder that holds the audio")
        return [str(path)]
    if path.is_file():
        return [str(path)]
    below = {file for pattern in _PATTERNS.get(source, ()) for file in path.rglob(pattern)}
    # What is hidden is half written.
    found = sorted(str(file) for file in below if not any(part[0] == "." for part in file.relative_to(path).parts))
    if not found:
        kind = {"manifest": "manifest", "parquet": "parquet file", "tar": "tar shard"}[source]
        raise UserError(f"unlabelled.root: no {kind} {path}", remedy="check unlabelled.root and unlabelled.source")
    return found


def units_of_stream(files: list[str], stream: int, num_streams: int, random: np.random.Generator) -> list[Unit]:
    """The units that one of `num_streams` streams reads in an epoch.

    Whole files where there are enough of them, in an order drawn for the epoch; else several streams share a file.

    Args:
        random: the same for all streams of an epoch.
    """
    order = [files[place] for place in random.permutation(len(files)).tolist()]
    if len(files) >= num_streams:
        return [(file, 0, 1) for file in order[stream::num_streams]]
    place = stream % len(files)
    sharing = len(range(place, num_streams, len(files)))
    return [(order[place], stream // len(files), sharing)]
