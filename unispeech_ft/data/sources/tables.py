"""Rows of TSV, CSV and JSON files, in whatever dialect they come. Each row is read, or reported with its line."""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unispeech_ft.errors import UserError, first_line
from unispeech_ft.files import parse_json

Row = dict[str, Any]
ENDINGS = (".tsv", ".csv", ".txt", ".jsonl", ".ndjson", ".json")
DELIMITERS = "\t,;|"
# A cell may hold line breaks, so many lines on.
MOST_LINES = 50
BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}


@dataclass(frozen=True)
class Table:
    """The readable rows of a file.

    Attributes:
        columns: names in the header, or all keys of a JSON file.
        rows: (line number, values) of each readable row; of a JSON array, its place in it.
        faults: (line number, reason) of each other row.
    """

    columns: list[str]
    rows: list[tuple[int, Row]]
    faults: list[tuple[int, str]]


def _content(path: Path, key: str) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{key}: no file {path}", remedy="check the path") from None
    except OSError as error:
        raise UserError(f"{key}: {path} cannot be read ({error.strerror})", remedy="check the path") from None


def _encoding(content: bytes) -> tuple[str, int]:
    """The encoding that a byte order mark or zero bytes tell, and the length of the mark."""
    for mark, name in BYTE_ORDER_MARKS.items():
        if content.startswith(mark):
            return name, len(mark)
    head = content[:200]
    if head[1::2].count(0) > len(head) / 4:
        return "utf-16-le", 0
    if head[::2].count(0) > len(head) / 4:
        return "utf-16-be", 0
    return "utf-8", 0


def read_lines(content: bytes) -> Iterator[tuple[int, str | None]]:
    """Numbered lines that are not blank, of any encoding of Unicode, ended by LF, CRLF or CR; None is not UTF-8."""
    encoding, mark = _encoding(content)
    content = content[mark:]
    if encoding != "utf-8":
        content = content.decode(encoding, errors="replace").encode("utf-8", errors="replace")
    if b"\n" not in content:
        content = content.replace(b"\r", b"\n")
    for number, raw in enumerate(content.split(b"\n"), start=1):
        try:
            line = raw.removesuffix(b"\r").decode("utf-8")
        except UnicodeDecodeError:
            yield number, None
            continue
        if line.strip():
            yield number, line


def _records(lines: list[tuple[int, str]], delimiter: str, columns: int) -> Iterator[tuple[int, list[str] | str]]:
    """(line number, cells or what is wrong with them) of each row; a cell in quotes may hold line breaks."""
    csv.field_size_limit(sys.maxsize)
    place = 0
    while place < len(lines):
        number, line = lines[place]
        place += 1
        cells = _cells([line], delimiter)
        if cells is not None or delimiter == "\t":
            yield number, line.split(delimiter) if cells is None else cells
            continue
        joined = [line]
        for _, following in lines[place : place + MOST_LINES]:
            alone = _cells([following], delimiter)
            if alone is not None and len(alone) == columns:
                break
            joined.append(following)
            cells = _cells(joined, delimiter)
            if cells is not None:
                break
        if cells is None:
            yield number, "a quotation mark opens and does not close, or text follows one that closes"
        else:
            place += len(joined) - 1
            yield number, cells


def _cells(lines: list[str], delimiter: str) -> list[str] | None:
    """The cells of a row, or None where its quotation marks do not fit together; tabs make them mere letters."""
    if delimiter == "\t":
        return lines[0].split(delimiter)
    text = "\n".join(lines)
    for options in ({"doublequote": True}, {"doublequote": False, "escapechar": "\\"}):
        try:
            rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True, **options))  # type: ignore[call-overload]
        except csv.Error:
            continue
        if len(rows) == 1:
            return [str(cell) for cell in rows[0]]
    return None


def _delimiter(header: str, ending: str) -> str:
    if ending == ".tsv" and "\t" in header:
        return "\t"
    return max(DELIMITERS, key=lambda delimiter: (header.count(delimiter), delimiter == ","))


def _fitted(cells: list[str], columns: list[str]) -> Row | str:
    while len(cells) > len(columns) and not cells[-1].strip():
        cells = cells[:-1]
    if len(cells) < len(columns) and not any(columns[len(cells) :]):
        cells = cells + [""] * (len(columns) - len(cells))
    if len(cells) != len(columns):
        return f"{len(cells)} columns where the header has {len(columns)}"
    return dict(zip(columns, cells, strict=True))


def _delimited(lines: list[tuple[int, str]], ending: str) -> tuple[list[str], Iterator[tuple[int, Row | str]]]:
    (_, header), *body = lines
    # Excel writes the delimiter into a line before the header.
    stated = re.fullmatch(r"sep=(.)", header.strip())
    if stated and body:
        (_, header), *body = body
    delimiter = stated.group(1) if stated else _delimiter(header, ending)
    columns = [name.strip() for name in _cells([header], delimiter) or header.split(delimiter)]
    records = _records(body, delimiter, len(columns))
    return columns, ((n, cells if isinstance(cells, str) else _fitted(cells, columns)) for n, cells in records)


def _json_fault(error: ValueError) -> str:
    return error.msg if isinstance(error, json.JSONDecodeError) else first_line(error)


def _json_rows(content: bytes, lines: list[tuple[int, str]]) -> Iterator[tuple[int, Row | str]]:
    items: list[tuple[int, Any]] = []
    if lines[0][1].lstrip().startswith("["):
        try:
            items = list(enumerate(parse_json("\n".join(line for _, line in lines)), start=1))
        except ValueError as error:
            yield lines[0][0], f"a JSON array that is not JSON ({_json_fault(error)})"
    else:
        for number, line in lines:
            try:
                items.append((number, parse_json(line)))
            except ValueError as error:
                items.append((number, ValueError(f"not JSON ({_json_fault(error)})")))
    for number, item in items:
        reason = str(item) if isinstance(item, ValueError) else "not a JSON object"
        yield number, item if isinstance(item, dict) else reason


def read_table(path: Path, key: str) -> Table:
    """The rows of a table: tabs (never quoted), commas, semicolons or bars, JSON lines or a JSON array.

    Args:
        path: the file.
        key: the configuration key that named it, for messages.

    Raises:
        UserError: the file is missing, empty, or of another kind.
    """
    ending = path.suffix.lower()
    if ending not in ENDINGS:
        raise UserError(f"{key}: {path.name} is neither .tsv, .csv nor .jsonl", remedy="convert the manifest")
    content = _content(path, key)
    numbered = list(read_lines(content))
    faults = [(number, "not UTF-8") for number, line in numbered if line is None]
    lines = [(number, line) for number, line in numbered if line is not None]
    if not lines:
        raise UserError(f"{key}: {path} holds no rows", remedy="check that this is the right file")
    json_file = lines[0][1].lstrip()[0] in "{["
    if ending in (".jsonl", ".ndjson", ".json") or (json_file and ending == ".txt"):
        found: Iterator[tuple[int, Row | str]] = _json_rows(content, lines)
        columns: list[str] = []
    else:
        columns, found = _delimited(lines, ending)
    rows = []
    for number, row in found:
        if isinstance(row, str):
            faults.append((number, row))
        else:
            rows.append((number, row))
    return Table(columns or list(dict.fromkeys(name for _, row in rows for name in row)), rows, sorted(faults))


def usual_name(name: object) -> str:
    """The name of a column without case, spaces and hyphens."""
    return re.sub(r"[\s-]+", "_", str(name).strip().lower())


def require_column(table: Table, wanted: str | None, usual: tuple[str, ...], key: str, path: Path) -> str | None:
    """The column to read: the configured one, else the first usual one that is there in any case, else None.

    Raises:
        UserError: the configured column is not in the file.
    """
    if wanted is not None:
        if wanted not in table.columns:
            raise UserError(f"{key}: {path.name} has no column {wanted}", remedy=f"it has {', '.join(table.columns)}")
        return wanted
    there = {usual_name(name): name for name in reversed(table.columns)}
    return next((there[name] for name in usual if name in there), None)
