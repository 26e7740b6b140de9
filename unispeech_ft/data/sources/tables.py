"""Rows of TSV, CSV and JSON files, in whatever dialect they come. Each row is read, or reported with its line."""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
import sys
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

from unispeech_ft.errors import UserError, first_line

Row = dict[str, Any]
ENDINGS = (".tsv", ".csv", ".txt", ".jsonl", ".ndjson", ".json")
DELIMITERS = "\t,;|"
QUOTED = re.compile(r'"(?:[^"]|"")*"(?:\t"(?:[^"]|"")*")*')
MOST_STRAY_ZEROS = 3
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
    # A header has ASCII letters, of which UTF-16 makes a zero each.
    head = content[:200]
    even, odd = head[::2].count(0), head[1::2].count(0)
    if odd > MOST_STRAY_ZEROS * (even + 1):
        return "utf-16-le", 0
    if even > MOST_STRAY_ZEROS * (odd + 1):
        return "utf-16-be", 0
    return "utf-8", 0


def read_lines(content: bytes) -> Iterator[tuple[int, str | None]]:
    """Numbered lines that are not blank, of any encoding of Unicode, ended by LF, CRLF or CR; None is not UTF-8."""
    encoding, mark = _encoding(content)
    content = content[mark:]
    if encoding != "utf-8":
        content = content.decode(encoding, errors="replace").encode("utf-8", errors="replace")
    if content.count(b"\r") - content.count(b"\r\n") > content.count(b"\n"):
        content = content.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    for number, raw in enumerate(content.split(b"\n"), start=1):
        try:
            line = raw.removesuffix(b"\r").decode("utf-8")
        except UnicodeDecodeError:
            yield number, None
            continue
        if line.strip():
            yield number, line


def _records(
    lines: list[tuple[int, str]], delimiter: str, quoted: bool, columns: int
) -> Iterator[tuple[int, list[str] | str]]:
    """(line number, cells or what is wrong with them) of each row; a cell in quotes may hold line breaks."""
    csv.field_size_limit(sys.maxsize)
    place = 0
    while place < len(lines):
        number, line = lines[place]
        place += 1
        cells = _cells([line], delimiter, quoted)
        if cells is not None:
            yield number, cells
            continue
        joined = [line]
        for _, following in lines[place : place + MOST_LINES]:
            alone = _cells([following], delimiter, quoted)
            if alone is not None and len(alone) == columns:
                break
            joined.append(following)
            cells = _cells(joined, delimiter, quoted)
            if cells is not None:
                break
        if cells is None:
            stray = "\r" in line and '"' not in line
            fault = "a quotation mark opens and does not close, or text follows one that closes"
            yield number, "a line break (CR) within the row that ends no row" if stray else fault
        else:
            place += len(joined) - 1
            yield number, cells


def _cells(lines: list[str], delimiter: str, quoted: bool) -> list[str] | None:
    """The cells of a row, or None where its quotation marks do not fit together, unless they are mere letters."""
    if not quoted:
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
    # Writers of tables quote every cell; nobody's sentences are all so.
    all_quoted = QUOTED.fullmatch(header) or body and all(QUOTED.fullmatch(line) for _, line in body)
    quoted = delimiter != "\t" or bool(all_quoted)
    columns = [name.strip() for name in _cells([header], delimiter, quoted) or header.split(delimiter)]
    records = _records(body, delimiter, quoted, len(columns))
    return columns, ((n, cells if isinstance(cells, str) else _fitted(cells, columns)) for n, cells in records)


def _json_values(lines: list[tuple[int, str]]) -> Iterator[tuple[int, Any]]:
    """(line number, value) of JSON values that may go over several lines; a ValueError is what is wrong there."""
    text = "\n".join(line for _, line in lines)
    starts = list(accumulate((len(line) + 1 for _, line in lines), initial=0))
    decode = json.JSONDecoder().raw_decode
    place = 0
    while place < len(lines):
        number, line = lines[place]
        first, last, opened = len(line) - len(line.lstrip()), place, False
        try:
            try:
                value, end = decode(line, first)
                rest = line[end:]
            except json.JSONDecodeError as error:
                if error.pos < len(line.rstrip()):
                    raise
                opened = True
                value, end = decode(text, starts[place] + first)
                last = bisect_right(starts, end - 1) - 1
                rest = text[end : starts[last + 1]]
            yield number, value if rest.strip() in ("", ",") else ValueError("not JSON (Extra data)")
        except (ValueError, RecursionError) as error:
            reason = "it is nested too deeply" if isinstance(error, RecursionError) else first_line(error)
            yield number, ValueError(f"not JSON ({error.msg if isinstance(error, json.JSONDecodeError) else reason})")
            while opened and last + 1 < len(lines) and _goes_on(line, lines[last + 1][1]):
                last += 1
        place = last + 1


def _goes_on(first: str, line: str) -> bool:
    """Whether a line belongs to a value that begins in a line before."""
    return line.lstrip()[0] in '}]"' or len(line) - len(line.lstrip()) > len(first) - len(first.lstrip())


def _json_rows(lines: list[tuple[int, str]]) -> Iterator[tuple[int, Row | str]]:
    items = list(_json_values(lines))
    number, value = items[0]
    if len(items) == 1 and isinstance(value, list):
        items = list(enumerate(value, start=1))
    elif len(items) == 1 and isinstance(value, dict) and {type(held) for held in value.values()} in ({dict}, {list}):
        items = [(number, ValueError("one object holds all rows: write an array of objects, or an object a line"))]
    elif isinstance(value, ValueError) and lines[0][1].lstrip()[0] == "[":
        items = [(number, ValueError(f"a JSON array that is {value}"))]
    for number, item in items:
        reason = str(item) if isinstance(item, ValueError) else "not a JSON object"
        yield number, item if isinstance(item, dict) else reason


def read_table(path: Path, key: str) -> Table:
    """The rows of a table: tabs (quoted where all cells are), commas, semicolons or bars, JSON lines or an array.

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
        found: Iterator[tuple[int, Row | str]] = _json_rows(lines)
        columns: list[str] = []
    else:
        columns, found = _delimited(lines, ending)
    twice = [name for name, count in Counter(columns).items() if name and count > 1]
    if twice:
        raise UserError(f"{key}: {path.name} has several columns {', '.join(twice)}", remedy="rename all but one")
    rows: list[tuple[int, Row]] = []
    for number, row in found:
        if isinstance(row, str):
            faults.append((number, row))
        else:
            rows.append((number, row))
    if not columns and not rows and not faults:
        raise UserError(f"{key}: {path} holds no rows", remedy="check that this is the right file")
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
