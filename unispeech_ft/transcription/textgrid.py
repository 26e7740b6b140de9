"""Praat's TextGrids: fresh ones with a transcript (tiers `words`, where they are known, and `phones`), and tiers added
to those of others. Our tiers are contiguous, pauses are empty intervals.

In a file of others all that is foreign stays as it was, character by character, in its encoding and its long or short
form; our tiers are those with a mark behind their names.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from unispeech_ft.data.sources.praat import LIST, Grid, GridTier, read_grid
from unispeech_ft.data.sources.tiers import MARK
from unispeech_ft.errors import UserError, first_line, raise_all
from unispeech_ft.files import write_bytes

TIER, WORD_TIER = "phones", "words"
# Praat compares times; digits below the microsecond are noise of binary fractions.
DIGITS = 6
ENDING = ".TextGrid"
# The space in the third line, which Praat does not keep, tells a file that we wrote and nobody has changed.
FRESH = 'File type = "ooTextFile"\nObject class = "TextGrid"\n \n'
Span = tuple[float, float, str]


def output_paths(folder: Path, given: Iterable[str | Path], files: Sequence[Path], ending: str) -> list[Path]:
    """Where the file of each recording goes: by its name, below `folder` as it lies below the folder searched.

    Args:
        folder: of the files; for one recording also the file itself.
        given: recordings and folders as the user named them.
        files: the recordings.

    Raises:
        UserError: two recordings would write the same file, or the folder is a file.
    """
    searched = [path for path in map(Path, given) if path.is_dir()]
    if folder.suffix.lower() == ending.lower() and not folder.is_dir():
        if len(files) > 1:
            raise UserError(f"{folder} is one file, for {len(files)} recordings", remedy="name a folder")
        return [folder for _ in files]
    if folder.is_file():
        raise UserError(f"{folder} is a file, and no {ending}", remedy="name a folder")
    paths = []
    for file in files:
        root = next((root for root in searched if file.is_relative_to(root)), None)
        paths.append(folder / (file.relative_to(root) if root else Path(file.name)).with_suffix(ending))
    same = [path for path, count in Counter(paths).items() if count > 1]
    remedy = "give them different names, or transcribe them into different folders"
    raise_all([UserError(f"several recordings would write {path}", remedy=remedy) for path in same])
    return paths


def read_phones(path: Path) -> list[Span]:
    """(start, end, phone) in seconds of the tier `phones`, pauses as empty phones.

    Raises:
        UserError: it cannot be read, or has no such tier.
    """
    try:
        tiers = {tier.name: list(tier.intervals) for tier in read_grid(path.read_bytes()).tiers}
        return tiers[TIER]
    except (OSError, ValueError, KeyError) as error:
        raise UserError(
            f"{path} cannot be read ({first_line(error)})", remedy=f"give TextGrids with a tier named {TIER}"
        ) from None


def write_tiers(path: Path, duration_s: float, tiers: Mapping[str, Sequence[Span]]) -> None:
    """Writes one TextGrid (UTF-8, Praat's long form); its folder is made if missing.

    Args:
        tiers: (start, end, label) in seconds, by the name of the tier.

    Raises:
        UserError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, fresh_grid(duration_s, tiers).content())
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror})", remedy="choose another folder") from error


def fresh_grid(duration_s: float, tiers: Mapping[str, Sequence[Span]]) -> Grid:
    """A TextGrid of ours; see `write_tiers`."""
    text = f"{FRESH}xmin = 0\nxmax = {_seconds(duration_s)}\ntiers? <exists>\nsize = 0\nitem []:\n"
    return _with(read_grid(text.encode()), tiers)


def is_fresh(content: bytes) -> bool:
    """Whether a file is as `write_tiers` wrote it."""
    return content.startswith(FRESH.encode())


def with_marked(grid: Grid, tiers: Mapping[str, Sequence[Span]]) -> Grid:
    """A TextGrid with tiers added, a mark behind their names, in the place of those that had these.

    A tier without intervals only takes an earlier one out.
    """
    ours = {name + MARK: spans for name, spans in tiers.items()}
    left = [tier for tier in grid.tiers if tier.name not in ours]
    return _with(replace(grid, tiers=left), {name: spans for name, spans in ours.items() if spans})


def _with(grid: Grid, tiers: Mapping[str, Sequence[Span]]) -> Grid:
    text, write = grid.text(), _long if LIST.match(grid.head[1]) else _short
    newline = next((end for end in ("\r\n", "\n", "\r") if end in text), "\n")
    new = [
        GridTier(name, write(name, list(_contiguous(spans, *grid.ends_s)), grid.ends_s).replace("\n", newline))
        for name, spans in tiers.items()
    ]
    return replace(grid, tiers=[*grid.tiers, *new])


def _contiguous(spans: Sequence[Span], start: str, end: str) -> Iterator[tuple[str, str, str]]:
    """Intervals from the start of the file to its end, with empty ones between the spans."""
    last = start
    for start_s, end_s, label in sorted(spans, key=lambda span: span[0]):
        first = _seconds(max(start_s, float(last)))
        close = end if end_s >= float(end) else _seconds(end_s)
        if float(first) >= float(close):
            continue
        if float(first) > float(last):
            yield last, first, ""
        yield (first if float(first) > float(last) else last), close, label
        last = close
    if float(last) < float(end):
        yield last, end, ""


def _long(name: str, intervals: Sequence[tuple[str, str, str]], ends: tuple[str, str]) -> str:
    step = "\n" + 8 * " "
    head = (f"class = {_quoted('IntervalTier')}", f"name = {_quoted(name)}", f"xmin = {ends[0]}", f"xmax = {ends[1]}")
    lines = [*head, f"intervals: size = {len(intervals)}"]
    for number, (start, end, label) in enumerate(intervals, start=1):
        lines += [f"intervals [{number}]:", f"    xmin = {start}", f"    xmax = {end}", f"    text = {_quoted(label)}"]
    return "\n    item [1]:" + "".join(step + line for line in lines)


def _short(name: str, intervals: Sequence[tuple[str, str, str]], ends: tuple[str, str]) -> str:
    rows = (line for start, end, label in intervals for line in (start, end, _quoted(label)))
    return "".join(f"\n{line}" for line in (_quoted("IntervalTier"), _quoted(name), *ends, str(len(intervals)), *rows))


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _seconds(value_s: float) -> str:
    return f"{value_s:.{DIGITS}f}".rstrip("0").rstrip(".")
