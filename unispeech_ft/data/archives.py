"""Tar archives of others, read member by member: packed or not, checked to their last byte, with limits on what they
may unfold to."""

from __future__ import annotations

import bz2
import gzip
import lzma
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any

# Speech is packed three times smaller at best; what unfolds more than so many times was made to fill a disk.
MOST_EXPANSION, ALWAYS_ALLOWED_BYTES = 20, 256 * 2**20
MOST_MEMBERS, MOST_FOLDERS = 10_000_000, 32
PACKINGS: dict[bytes, Any] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}
# What a damaged archive raises, whatever packs it.
DAMAGE = (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, ValueError, OSError)


class _Header(tarfile.TarInfo):
    """The library takes a damaged header, or none, for the end of the archive; only its mark is the end."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> _Header:
        try:
            return super().fromtarfile(archive)  # type: ignore[return-value]
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"damaged or cut short: {error}") from None


class _Bounded:
    """A stream that may not give more than so many bytes."""

    def __init__(self, stream: IO[bytes], most_bytes: int) -> None:
        self.stream, self.most_bytes, self.given = stream, most_bytes, 0

    def read(self, size: int) -> bytes:
        found = self.stream.read(size)
        self.given += len(found)
        if self.given > self.most_bytes:
            raise tarfile.ReadError(f"it unfolds to more than {self.most_bytes / 2**20:.0f} MiB")
        return found


def members(path: Path) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
    """The plain files of an archive, in order, each to be read or extracted before the next is asked for.

    After the last one everything behind it is read, so that the packing's own checksum is compared.

    Raises:
        one of `DAMAGE`: it is damaged or cut short, unfolds to too much, or nests its folders too deeply.
    """
    most_bytes = ALWAYS_ALLOWED_BYTES + MOST_EXPANSION * path.stat().st_size
    with path.open("rb") as file:
        head = file.read(6)
        file.seek(0)
        unpack = next((unpack for magic, unpack in PACKINGS.items() if head.startswith(magic)), None)
        stream = _Bounded(unpack(file) if unpack else file, most_bytes)
        options: Any = {"fileobj": stream, "mode": "r|", "tarinfo": _Header}
        with tarfile.open(**options) as archive:
            count, size_bytes = 0, 0
            for member in archive:
                archive.members.clear()  # type: ignore[attr-defined]  # the library keeps every one that it has passed
                count, size_bytes = count + 1, size_bytes + member.size
                if count > MOST_MEMBERS or size_bytes > most_bytes:
                    raise tarfile.ReadError(f"it unfolds to {count} members and {size_bytes / 2**20:.0f} MiB")
                if len(PurePosixPath(member.name).parts) > MOST_FOLDERS:
                    raise tarfile.ReadError(f"its folders nest deeper than {MOST_FOLDERS}")
                if member.isfile():
                    yield archive, member
            while stream.read(2**20):
                pass
