"""TextGrids of Praat, long or short, in UTF-8 or UTF-16, as parts that make the same file when they are joined.

Source: "TextGrid file formats" and "Writing text files" in Praat's manual.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from unispeech_ft.data.sources.placed_xml import BOMS

# Praat reads strings in quotation marks, flags, and numbers that stand alone, and passes over all else.
TOKEN = re.compile(r'"[^"]*(?:""[^"]*)*"|![^\r\n]*|<[^>\s]*>|[^\s"]+')
VALUE = re.compile(r'".*"|<.*>|[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?', re.DOTALL)
LIST = re.compile(r"\s*item\s*\[\s*\]\s*:")
OTHER_FORMS = ((b"ooBinaryFile", "binary"), (b"Praat chronological TextGrid", "chronological"))
NUMBER = re.compile(r"(\s*item\s*\[)\d+")


@dataclass(frozen=True)
class GridTier:
    """A tier.

    Attributes:
        text: as it is written.
        intervals: (start, end, label), in seconds; none of a tier of points.
    """

    name: str
    text: str
    intervals: tuple[tuple[float, float, str], ...] = ()
    of_points: bool = False


@dataclass(frozen=True)
class Grid:
    """A TextGrid as the texts of its parts, which make the file when they are joined.

    Attributes:
        head: up to the number of tiers, and what lies between that and the first tier.
        tail: behind the last tier.
        ends_s: first and last second, as they are written.
    """

    head: tuple[str, str]
    tiers: list[GridTier]
    tail: str
    ends_s: tuple[str, str]
    bom: bytes = b""
    codec: str = "utf-8"

    def text(self) -> str:
        """The text of the file; tiers of the long form are numbered anew."""
        tiers = (NUMBER.sub(rf"\g<1>{number}", tier.text, count=1) if NUMBER.match(tier.text) else tier.text
                 for number, tier in enumerate(self.tiers, start=1))  # fmt: skip
        return "".join((self.head[0], str(len(self.tiers)), self.head[1], *tiers, self.tail))

    def content(self) -> bytes:
        """The file."""
        return self.bom + self.text().encode(self.codec)


def read_grid(content: bytes) -> Grid:
    """Reads a TextGrid, long or short, in UTF-8 or UTF-16.

    Raises:
        ValueError: it is none.
    """
    other = next((form for start, form in OTHER_FORMS if start in content[:200].replace(b"\0", b"")), "")
    if other:
        raise ValueError(f"a TextGrid in Praat's {other} form: open it in Praat, and save it as a text file")
    bom, codec = next(((bom, codec) for bom, codec in BOMS if content.startswith(bom)), (b"", "utf-8"))
    try:
        text = content[len(bom) :].decode(codec)
    except UnicodeError:
        raise ValueError("neither UTF-8 nor UTF-16: open it in Praat, and save it as a text file") from None
    values = (found for found in TOKEN.finditer(text) if VALUE.fullmatch(found[0]))
    try:
        kinds = [next(values)[0] for _ in range(2)]
        start_s, end_s, exists, size = [next(values) for _ in range(4)]
        if not kinds[0].startswith('"ooTextFile') or kinds[1] != '"TextGrid"' or exists[0] != "<exists>":
            raise ValueError("not a TextGrid in Praat's text form")
        ends_s = start_s[0], end_s[0]
        if _time(ends_s[0]) > _time(ends_s[1]):
            raise ValueError(f"a damaged TextGrid: it ends at {ends_s[1]} s, before it begins")
        listed = LIST.match(text, size.end())
        first = place = listed.end() if listed else size.end()
        tiers = []
        for _ in range(_count(size[0])):
            points, name = next(values)[0] == '"TextTier"', _label(next(values)[0])
            _, _, count = [next(values) for _ in range(3)]
            found, last = [], count
            for _ in range(_count(count[0])):
                *times, last = [next(values) for _ in range(2 if points else 3)]
                found.append((_time(times[0][0]), _time(times[-1][0]), _label(last[0])))
            tiers.append(GridTier(name, text[place : last.end()], () if points else tuple(found), points))
            place = last.end()
    except StopIteration:
        raise ValueError("a TextGrid that is cut off") from None
    head = text[: size.start()], text[size.end() : first]
    return Grid(head, tiers, text[place:], ends_s, bom, codec)


def _count(text: str) -> int:
    if not text.isdecimal():
        raise ValueError(f"a damaged TextGrid: {text[:40]} stands where a number of tiers or intervals should")
    return int(text)


def _time(text: str) -> float:
    try:
        time_s = float(text)
    except ValueError:
        time_s = math.nan
    if not math.isfinite(time_s):
        raise ValueError(f"a damaged TextGrid: {text[:40]} stands where a time should")
    return time_s


def _label(quoted: str) -> str:
    if not quoted.startswith('"'):
        raise ValueError(f"a damaged TextGrid: {quoted[:40]} stands where a name or label in quotation marks should")
    return quoted[1:-1].replace('""', '"')
