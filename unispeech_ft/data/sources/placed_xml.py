"""XML with the place of each element in its text, so that a change can leave every other byte as it was.

Nothing is fetched, and a document that declares entities is refused: they could unfold to more than memory holds, or
name files that are none of its business.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NoReturn
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

BOMS = (
    (codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF32_LE, "utf-32-le"), (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"),
)  # fmt: skip
DECLARED = re.compile(rb"""<\?xml[^>]*\sencoding\s*=\s*["']([\w.-]+)""")
START_TAG = re.compile(rb"""<(?:[^>"']|"[^"]*"|'[^']*')*>""")


@dataclass(frozen=True)
class Place:
    """Where an element stands, in bytes of `Document.utf8`.

    Attributes:
        start: of its start tag.
        opened: behind its start tag.
        closed: of its end tag; as `opened` where it has none.
        end: behind it.
    """

    start: int
    opened: int
    closed: int
    end: int


@dataclass(frozen=True)
class Document:
    """A file of XML.

    Attributes:
        root: its elements; prefixes of namespaces are part of their names.
        places: of each.
        utf8: its text as UTF-8, without a byte order mark.
        bom: the mark that it had.
        codec: of the file.
    """

    root: Element
    places: dict[Element, Place]
    utf8: bytes
    bom: bytes = b""
    codec: str = "utf-8"

    def changed(self, changes: Iterable[tuple[int, int, str]]) -> Document:
        """The document with stretches of bytes replaced; changes at one place stand in the order given.

        Args:
            changes: (start, end, new text), apart from one another.
        """
        parts, done = [], 0
        for start, end, text in sorted(changes, key=lambda change: change[:2]):
            parts += [self.utf8[done:start], text.encode()]
            done = end
        utf8 = b"".join((*parts, self.utf8[done:]))
        return Document(*_parsed(utf8), utf8, self.bom, self.codec)

    def content(self) -> bytes:
        """The file; characters that its encoding lacks are written as references."""
        return self.bom + self.utf8.decode().encode(self.codec, "xmlcharrefreplace")


def read_document(content: bytes) -> Document:
    """Reads a file of XML in any encoding that Python knows.

    Raises:
        ValueError: it is not well-formed, or declares entities.
    """
    bom, codec = next(((bom, codec) for bom, codec in BOMS if content.startswith(bom)), (b"", ""))
    if not codec:
        declared = DECLARED.match(content)
        wide = {b"<\0": "utf-16-le", b"\0<": "utf-16-be"}
        codec = wide.get(content[:2], declared[1].decode() if declared else "utf-8")
    try:
        utf8 = content[len(bom) :].decode(codec).encode()
    except (LookupError, UnicodeError) as error:
        raise ValueError(f"not XML: {error}") from None
    if b"\0" in utf8:
        raise ValueError("not XML: it holds characters without a meaning (code 0)")
    return Document(*_parsed(utf8), utf8, bom, codec)


def _parsed(utf8: bytes) -> tuple[Element, dict[Element, Place]]:
    parser, builder = expat.ParserCreate("utf-8"), TreeBuilder()
    parser.buffer_text = True
    places: dict[Element, Place] = {}
    open_: list[tuple[Element, int, int, bool]] = []

    def start(name: str, attributes: dict[str, str]) -> None:
        first = parser.CurrentByteIndex
        tag = START_TAG.match(utf8, first)
        assert tag, "expat has found a start tag here"
        open_.append((builder.start(name, attributes), first, tag.end(), tag[0].endswith(b"/>")))

    def end(name: str) -> None:
        element, first, opened, empty = open_.pop()
        closed = opened if empty else parser.CurrentByteIndex
        places[element] = Place(first, opened, closed, opened if empty else utf8.index(b">", closed) + 1)
        builder.end(name)

    def refuse(*_: object) -> NoReturn:
        raise ValueError("it declares entities, which are not read")

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler = builder.data
    parser.EntityDeclHandler = refuse
    try:
        parser.Parse(utf8, True)
    except expat.ExpatError as error:
        raise ValueError(f"not XML: {error}") from None
    return builder.close(), places
