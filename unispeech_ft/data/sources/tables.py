"""Rows of TSV, CSV and JSONL files. A row that cannot be read is reported with its line number; the others go on."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unispeech_ft.errors import UserError


@dataclass(frozen=True)
class Table:
    """The readable rows of a file.

    Attributes:
        columns: names in the header, or all keys of a JSONL file.
        rows: (line number, values) of each readable row.
        faults: (line number, reason) of each other row.
    """

    columns: list[str]
    rows: list[tuple[int, dict[str, Any]]]
    faults: list[tuple[int, str]]


def _lines(path: Path, key: str) -> tuple[list[tuple[int, str]], list[tuple[int, str]]]:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{key}: no file {path}", remedy="check the path") from None
    except OSError as error:
        raise UserError(f"{key}: {path} cannot be read ({error.strerror})", remedy="check the path") from None
    lines, faults = [], []
    for number, raw in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        try:
            line = raw.removesuffix(b"\r").decode("utf-8")
        except UnicodeDecodeError as error:
            faults.append((number, f"not UTF-8 at byte {error.start} of the line"))
            continue
        if line.strip():
            lines.append((number, line))
    return lines, faults


def _split_delimited(lines: list[tuple[int, str]], delimiter: str) -> tuple[list[str], list[tuple[int, list[str]]]]:
    if delimiter == "\t":
        cells = [(number, line.split("\t")) for number, line in lines]
    else:
        numbers = [number for number, _ in lines]
        reader = csv.reader((line + "\n" for _, line in lines), delimiter=delimiter)
        cells = [(numbers[min(reader.line_num, len(numbers)) - 1], row) for row in reader]
    return [name.strip() for name in cells[0][1]], cells[1:]


def _read_jsonl(lines: list[tuple[int, str]], faults: list[tuple[int, str]]) -> Table:
    rows, columns = [], dict[str, None]()
    for number, line in lines:
        try:
            values = json.loads(line)
        except json.JSONDecodeError as error:
            faults.append((number, f"not JSON ({error.msg})"))
            continue
        if not isinstance(values, dict):
            faults.append((number, "not a JSON object"))
            continue
        rows.append((number, values))
        columns |= dict.fromkeys(values)
    return Table(list(columns), rows, faults)


def read_table(path: Path, key: str) -> Table:
    """The rows of a `.tsv` (never quoted), `.csv` or `.jsonl` file in UTF-8.

    Args:
        path: the file.
        key: the configuration key that named it, for messages.

    Raises:
        UserError: the file is missing, empty, or of another kind.
    """
    kind = path.suffix.lower()
    if kind not in (".tsv", ".csv", ".jsonl", ".json"):
        raise UserError(f"{key}: {path.name} is neither .tsv, .csv nor .jsonl", remedy="convert the manifest")
    lines, faults = _lines(path, key)
    if not lines:
        raise UserError(f"{key}: {path} holds no rows", remedy="check that this is the right file")
    if kind in (".jsonl", ".json"):
        return _read_jsonl(lines, faults)
    columns, cells = _split_delimited(lines, "\t" if kind == ".tsv" else ",")
    rows = []
    for number, values in cells:
        if len(values) != len(columns):
            faults.append((number, f"{len(values)} columns where the header has {len(columns)}"))
        else:
            rows.append((number, dict(zip(columns, values, strict=True))))
    return Table(columns, rows, faults)


def require_column(table: Table, wanted: str | None, usual: tuple[str, ...], key: str, path: Path) -> str | None:
    """The column to read: the configured one, else the first usual one that is there, else None.

    Raises:
        UserError: the configured column is not in the file.
    """
    if wanted is not None:
        if wanted not in table.columns:
            raise UserError(f"{key}: {path.name} has no column {wanted}", remedy=f"it has {', '.join(table.columns)}")
        return wanted
    return next((name for name in usual if name in table.columns), None)
