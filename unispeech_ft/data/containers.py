"""What audio files hold, whatever their headers say: streams that follow one another, each with its true length.

libsndfile reads as many frames as a header states or lets it guess. So the frames of an MP3 are counted, and a header
with the count is put before them; files that were joined, of whatever kinds, are cut where one begins; and a WAV,
RF64 or FLAC that was written before its length was known gets that length. All in memory, on views of the file.
"""

from __future__ import annotations

import math
import re
import struct

from unispeech_ft.data.flac import flac_stream
from unispeech_ft.data.mpeg import after_tags, begins_mpeg, mpeg_streams
from unispeech_ft.data.pieces import Content, Stream, Truncated

UNKNOWN_LENGTH = 0x7FFF0000  # what writes to a pipe states this or more
OGG_FIRST_PAGE, OGG_LAST_PAGE = 2, 4
RF64_SIZES = 20  # of the file, of its data, and its samples
NIST_HEADER = 1024
NIST_NUMBER = re.compile(rb"^(\w+) -i (\d+)", re.MULTILINE)
OGG_START = re.compile(rb"OggS\0\x02")
WAVE_START = re.compile(rb"RIFF....WAVE", re.DOTALL)
# FLAC, AIFF, AU, CAF, NIST, RF64 and W64: enough of their headers that no sound looks like it.
STARTS = [
    re.compile(start, re.DOTALL)
    for start in (
        rb"fLaC\0\0\0\x22",
        rb"FORM....AIF[FC](?:COMM|FVER)",
        rb"\.snd\0\0..........\0\0..\0\0\0[\x01-\x10]",
        rb"caff\0\x01\0\0desc\0\0\0\0\0\0\0\x20",
        rb"NIST_1A\n   1024\n",
        rb"RF64\xff\xff\xff\xffWAVE",
        rb"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\0\0",
    )
]


def streams(content: Content) -> list[Stream]:
    """The streams of a file, in order; most files are one that can be read as it is.

    Raises:
        Truncated: the file ends before its own header says.
    """
    found: list[Stream] = []
    start = 0
    while start < len(content):
        more, start = _file_at(content, start)
        found += more
    return found


def _file_at(content: Content, start: int) -> tuple[list[Stream], int]:
    """The streams of the file that begins at `start`, and where the next begins or all ends."""
    tagged = after_tags(content, start)
    if tagged > start and _begins_other(content, tagged):
        start = tagged
    if WAVE_START.match(content, start):
        return _wave(content, start)
    if content[start : start + 4] == b"OggS":
        return _ogg(content, start)
    if any(kind.match(content, start) for kind in STARTS):
        return _other(content, start)
    # Boxes of MP4 and elements of Matroska hold bytes that look like frames.
    if content[start + 4 : start + 8] == b"ftyp" or content[start : start + 4] == b"\x1a\x45\xdf\xa3":
        return _whole(content, start, len(content)), len(content)
    found, end = mpeg_streams(content, start, _begins_other)
    return found or _whole(content, start, len(content)), end


def _whole(content: Content, start: int, end: int) -> list[Stream]:
    alone = start == 0 and end == len(content)
    return [Stream(() if alone else (memoryview(content)[start:end],))]


def _begins_other(content: Content, place: int) -> bool:
    """Whether a file of another kind than MPEG audio begins at a place."""
    return any(kind.match(content, place) for kind in (WAVE_START, OGG_START, *STARTS))


def _begins(content: Content, place: int) -> bool:
    return _begins_other(content, place) or begins_mpeg(content, place)


def _next(content: Content, place: int) -> int:
    """Where the next file begins whose kind tells itself apart from sound; else the end."""
    found = (kind.search(content, place) for kind in (WAVE_START, OGG_START, *STARTS))
    return min((match.start() for match in found if match), default=len(content))


def _other(content: Content, start: int) -> tuple[list[Stream], int]:
    end = _next(content, start + 4)
    if end - start + 1 < _stated_size(content, start) < UNKNOWN_LENGTH:
        raise Truncated
    mend = {b"RF64": _rf64, b"fLaC": flac_stream}.get(content[start : start + 4])
    mended = mend(content, start, end) if mend else None
    return [mended] if mended else _whole(content, start, end), end


def _rf64(content: Content, start: int, end: int) -> Stream | None:
    """The RF64 that lies from `start` to `end` with its length, which was not known when its header was written; None
    where it was."""
    place, block = start + 12, 1
    while place + 8 <= end:
        kind, size = struct.unpack_from("<4sI", content, place)
        if kind == b"fmt ":
            block = struct.unpack_from("<H", content, place + 20)[0] or 1
        if kind == b"data":
            there = end - place - 8
            (stated,) = struct.unpack_from("<Q", content, start + RF64_SIZES + 8)
            if 0 < stated <= there + 1:
                return None
            header = bytearray(content[start : place + 8])
            struct.pack_into("<QQQ", header, RF64_SIZES, end - start - 8, there, there // block)
            return Stream((bytes(header), memoryview(content)[place + 8 : end]))
        place += 8 + size + size % 2
    return None


def _stated_size(content: Content, start: int) -> int:
    """Bytes of the file that begins at `start`, as its header states them; 0 where it does not."""
    kind = content[start : start + 4]
    try:
        if kind == b"FORM":
            return 8 + int(struct.unpack_from(">I", content, start + 4)[0])
        if kind == b".snd":
            return int(sum(struct.unpack_from(">II", content, start + 4)))
        if kind == b"RF64":
            return 8 + int(struct.unpack_from("<Q", content, start + RF64_SIZES)[0])
        if kind == b"riff":
            return int(struct.unpack_from("<Q", content, start + 16)[0])
        if kind == b"NIST":
            said = dict(NIST_NUMBER.findall(content[start : start + NIST_HEADER]))
            numbers = [int(said.get(name, b"0")) for name in (b"sample_count", b"channel_count", b"sample_n_bytes")]
            return NIST_HEADER + math.prod(numbers) if b"-s3 pcm\n" in content[start : start + NIST_HEADER] else 0
        place = 8
        while kind == b"caff":
            name, size = struct.unpack_from(">4sQ", content, start + place)
            place += 12 + size
            if name == b"data":
                return int(place)
    except (struct.error, OverflowError):
        pass
    return 0


def _wave(content: Content, start: int) -> tuple[list[Stream], int]:
    place = start + 12
    while place + 8 <= len(content):
        kind, size = struct.unpack_from("<4sI", content, place)
        there = len(content) - place - 8
        if kind == b"data":
            unknown = size >= UNKNOWN_LENGTH or (size == 0 and there > 8 and not _is_chunk(content, place + 8))
            if size > there + 1 and not unknown:
                raise Truncated
            if not unknown or 0 < size <= there:
                end = _behind(content, place)
                return _whole(content, start, end), end
            end = _next(content, place + 8)
            header = bytearray(content[start : place + 8])
            struct.pack_into("<I", header, 4, end - 8 - start)
            struct.pack_into("<I", header, place + 4 - start, end - 8 - place)
            return [Stream((bytes(header), memoryview(content)[place + 8 : end]))], end
        place += 8 + size + size % 2
    return _whole(content, start, len(content)), len(content)


def _behind(content: Content, place: int) -> int:
    """Where a file begins behind the chunk at `place` and those that follow it; else the end."""
    while _is_chunk(content, place):
        size = struct.unpack_from("<I", content, place + 4)[0]
        place += 8 + size
        for start in (place, place + size % 2):
            if _begins(content, start):
                return start
        place += size % 2
    return len(content)


def _is_chunk(content: Content, place: int) -> bool:
    if place + 8 > len(content):
        return False
    name, size = struct.unpack_from("<4sI", content, place)
    return bool(name.strip().isalnum()) and place + 8 + size <= len(content)


def _ogg(content: Content, start: int) -> tuple[list[Stream], int]:
    """A stream begins with pages that say so; what ends without a page that says that it is the last is cut off."""
    place, first_before, last = start, True, False
    while place >= 0 and place + 27 <= len(content):
        flags, segments = content[place + 5], content[place + 26]
        first = bool(flags & OGG_FIRST_PAGE)
        if first and not first_before:
            return _whole(content, start, place), place
        first_before, last = first, bool(flags & OGG_LAST_PAGE)
        end = place + 27 + segments + sum(content[place + 27 : place + 27 + segments])
        if end > len(content):
            raise Truncated
        if last and content[end : end + 4] != b"OggS" and _begins(content, end):
            return _whole(content, start, end), end
        place = end if content[end : end + 4] == b"OggS" else content.find(b"OggS", end)
    if not last:
        raise Truncated
    return _whole(content, start, len(content)), len(content)
