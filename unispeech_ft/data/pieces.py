"""Files in memory as pieces: streams of a file, and pieces that are read as one file."""

from __future__ import annotations

import io
import mmap
from dataclasses import dataclass

Content = bytes | mmap.mmap
Piece = bytes | memoryview


@dataclass(frozen=True)
class Stream:
    """One stream of a file.

    Attributes:
        pieces: that, read one after another, are a file of their own; none where the file can be read as it is.
    """

    pieces: tuple[Piece, ...] = ()


class Truncated(Exception):
    """The file ends before its own header says."""


class Joined(io.RawIOBase):
    """Pieces of memory as one file."""

    def __init__(self, pieces: tuple[Piece, ...]) -> None:
        self._pieces = pieces
        self._size = sum(map(len, pieces))
        self._place = 0

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        self._place = max(0, start + offset)
        return self._place

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        room, start, done = len(buffer), 0, 0
        for piece in self._pieces:
            first = self._place + done - start
            if 0 <= first < len(piece) and done < room:
                part = piece[first : first + room - done]
                buffer[done : done + len(part)] = part
                done += len(part)
            start += len(piece)
        self._place += done
        return done
