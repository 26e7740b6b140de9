"""What audio files hold, whatever their headers say: streams that follow one another, each with its true length.

libsndfile reads as many frames as a header states or lets it guess. So the frames of an MP3 are counted, and a header
with the count is put before them; a chain of Ogg streams, or of files of any other kind, is cut where one begins; and
a WAV that was written before its length was known gets that length. All in memory, on views of the file.
"""

from __future__ import annotations

import io
import mmap
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

Content = bytes | mmap.mmap
Piece = bytes | memoryview

UNKNOWN_LENGTH = 0x7FFF0000  # what writes to a pipe states this or more
OGG_FIRST_PAGE, OGG_LAST_PAGE = 2, 4
BITRATES = {
    (3, 1): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),  # MPEG 1, layer III
    (3, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),  # MPEG 1, layer II
    (2, 1): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),  # MPEG 2 and 2.5
}
RATES_HZ = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
LAYER_3 = 1
OTHER_FORMATS = (b"fLaC", b"FORM", b".snd", b"caff", b"RF64", b"riff", b"\x1a\x45\xdf\xa3")
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
XING_FLAGS = 3  # frames and bytes are stated
# A file's own count is believed where encoder delay and padding explain what lacks.
DELAY_FRAMES = 3


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


def streams(content: Content) -> list[Stream]:
    """The streams of a file, in order; most files are one that can be read as it is.

    Raises:
        Truncated: the file ends before its own header says.
    """
    if content[:4] == b"RIFF" and content[8:12] == b"WAVE":
        return _waves(content)
    if content[:4] == b"OggS":
        return _ogg(content)
    start = next((start for start in STARTS if start.match(content)), None)
    if start is not None:
        places = [found.start() for found in start.finditer(content)]
        for place, end in zip(places, [*places[1:], len(content)], strict=True):
            if end - place + 1 < _stated_size(content, place) < UNKNOWN_LENGTH:
                raise Truncated
        return _cut(content, places)
    return _mpeg(content) or [Stream()]


def _stated_size(content: Content, start: int) -> int:
    """Bytes of the file that begins at `start`, as its header states them; 0 where it does not."""
    kind = content[start : start + 4]
    try:
        if kind == b"FORM":
            return 8 + int(struct.unpack_from(">I", content, start + 4)[0])
        if kind == b".snd":
            return int(sum(struct.unpack_from(">II", content, start + 4)))
        if kind == b"RF64":
            return 8 + int(struct.unpack_from("<Q", content, start + 20)[0])
        if kind == b"riff":
            return int(struct.unpack_from("<Q", content, start + 16)[0])
        place = 8
        while kind == b"caff":
            name, size = struct.unpack_from(">4sQ", content, start + place)
            place += 12 + size
            if name == b"data":
                return int(place)
    except struct.error:
        pass
    return 0


def _waves(content: Content) -> list[Stream]:
    """Each WAV, and what stands behind its sound, up to where another begins."""
    found, start = [], 0
    while start < len(content):
        stream, start = _wave(content, start)
        found.append(stream)
    return found


def _wave(content: Content, start: int) -> tuple[Stream, int]:
    """The WAV that begins at `start`, and where the next begins or the file ends."""
    place = start + 12
    while place + 8 <= len(content):
        kind, size = struct.unpack_from("<4sI", content, place)
        there = len(content) - place - 8
        if kind == b"data":
            unknown = size >= UNKNOWN_LENGTH or (size == 0 and there > 8 and not _is_chunk(content, place + 8))
            if size > there + 1 and not unknown:
                raise Truncated
            if not unknown or 0 < size <= there:
                return _whole_wave(content, start, _next_wave(content, place))
            another = WAVE_START.search(content, place + 8)
            end = another.start() if another else len(content)
            header = bytearray(content[start : place + 8])
            struct.pack_into("<I", header, 4, end - 8 - start)
            struct.pack_into("<I", header, place + 4 - start, end - 8 - place)
            return Stream((bytes(header), memoryview(content)[place + 8 : end])), end
        place += 8 + size + size % 2
    return _whole_wave(content, start, len(content))


def _whole_wave(content: Content, start: int, end: int) -> tuple[Stream, int]:
    alone = start == 0 and end == len(content)
    return Stream(() if alone else (memoryview(content)[start:end],)), end


def _next_wave(content: Content, place: int) -> int:
    """Where a WAV begins behind the chunk at `place` and those that follow it; else the end."""
    while _is_chunk(content, place):
        size = struct.unpack_from("<I", content, place + 4)[0]
        place += 8 + size
        for start in (place, place + size % 2):
            if content[start : start + 4] == b"RIFF" and content[start + 8 : start + 12] == b"WAVE":
                return start
        place += size % 2
    return len(content)


def _is_chunk(content: Content, place: int) -> bool:
    if place + 8 > len(content):
        return False
    name, size = struct.unpack_from("<4sI", content, place)
    return bool(name.strip().isalnum()) and place + 8 + size <= len(content)


def _ogg(content: Content) -> list[Stream]:
    """Each stream begins with pages that say so; a file whose last page does not say that it is the last is cut."""
    starts: list[int] = []
    place, first_before, last = 0, False, False
    while place >= 0 and place + 27 <= len(content):
        flags, segments = content[place + 5], content[place + 26]
        first = bool(flags & OGG_FIRST_PAGE)
        if first and not first_before:
            starts.append(place)
        first_before, last = first, bool(flags & OGG_LAST_PAGE)
        end = place + 27 + segments + sum(content[place + 27 : place + 27 + segments])
        if end > len(content):
            raise Truncated
        place = end if content[end : end + 4] == b"OggS" else content.find(b"OggS", end)
    if not last:
        raise Truncated
    return _cut(content, starts)


def _cut(content: Content, starts: list[int]) -> list[Stream]:
    if len(starts) < 2:
        return [Stream()]
    view = memoryview(content)
    return [Stream((view[a:b],)) for a, b in zip(starts, [*starts[1:], len(content)], strict=True)]


@dataclass(frozen=True)
class _Frame:
    """One frame of MPEG audio: where it is, and what must be alike in all frames of a stream."""

    place: int
    size: int
    samples: int
    kind: tuple[int, int, int, bool]

    @property
    def end(self) -> int:
        return self.place + self.size


def _frame_at(content: Content, place: int) -> _Frame | None:
    if place + 4 > len(content):
        return None
    first, second, third, fourth = content[place : place + 4]
    version, layer = second >> 3 & 3, second >> 1 & 3
    bitrate, rate = third >> 4, third >> 2 & 3
    if first != 0xFF or second < 0xE0 or version == 1 or layer not in (1, 2) or bitrate in (0, 15) or rate == 3:
        return None
    kbits = BITRATES[3 if version == 3 else 2, layer if version == 3 else 1][bitrate]
    samples = 576 if layer == 1 and version != 3 else 1152
    rate_hz = RATES_HZ[version][rate]
    size = samples // 8 * kbits * 1000 // rate_hz + (third >> 1 & 1)
    return _Frame(place, size, samples, (version, layer, rate, fourth >> 6 == 3))


def _after_tags(content: Content, place: int) -> int:
    while content[place : place + 3] == b"ID3" and place + 10 <= len(content):
        a, b, c, d = content[place + 6 : place + 10]
        place += 10 + (a << 21 | b << 14 | c << 7 | d)
    return place


def _frames(content: Content) -> Iterator[_Frame]:
    """The whole frames of MPEG audio, whatever lies between them."""
    place = _after_tags(content, 0)
    while place < len(content):
        frame = _frame_at(content, place)
        follower = frame and (frame.end >= len(content) - 128 or _frame_at(content, frame.end))
        if frame and (follower or content[frame.end : frame.end + 3] in (b"ID3", b"TAG", b"APE")):
            if frame.end > len(content):
                return
            yield frame
            place = frame.end
        else:
            skipped = _after_tags(content, place)
            place = skipped if skipped > place else content.find(b"\xff", place + 1)
            if place < 0:
                return


@dataclass
class _Run:
    """Frames alike that follow one another, `ranges` of the file apart from what lies between them."""

    first: _Frame
    count: int
    ranges: list[tuple[int, int]]

    def take(self, frame: _Frame) -> None:
        start, end = self.ranges[-1]
        if end == frame.place:
            self.ranges[-1] = (start, frame.end)
        else:
            self.ranges.append((frame.place, frame.end))
        self.count += 1


def _mpeg(content: Content) -> list[Stream]:
    if content[:4] in OTHER_FORMATS or content[4:8] == b"ftyp":
        return []
    runs: list[_Run] = []
    for frame in _frames(content):
        if runs and runs[-1].first.kind == frame.kind:
            runs[-1].take(frame)
        else:
            runs.append(_Run(frame, 1, [(frame.place, frame.end)]))
    # A header that is none, found while looking for the next frame, is alone.
    runs = [run for run in runs if run.count > 2]
    covered = sum(end - start for run in runs for start, end in run.ranges)
    if not runs or covered < len(content) / 2 or any(r.first.kind[1] != LAYER_3 for r in runs):
        return []
    stated = _stated(content, runs[0].first)
    if len(runs) == 1 and stated and len(runs[0].ranges) == 1:
        count = runs[0].count - 1
        if stated[0] > count + DELAY_FRAMES and stated[1] > len(content) and runs[0].ranges[-1][1] < len(content):
            raise Truncated
        if abs(stated[0] - count) <= 1:
            return [Stream()]
    return [_mended(content, run) for run in runs]


def _tag_place(frame: _Frame) -> int:
    version, _, _, mono = frame.kind
    side = (17 if mono else 32) if version == 3 else (9 if mono else 17)
    return frame.place + 4 + side


def _stated(content: Content, frame: _Frame) -> tuple[int, int] | None:
    """Frames and bytes that a first frame states (0 where it does not), or None where it holds sound."""
    place = _tag_place(frame)
    for start in (place, place + 2):
        if content[start : start + 4] in (b"Xing", b"Info"):
            flags, *numbers = struct.unpack_from(">III", content, start + 4)
            frames = numbers.pop(0) if flags & 1 else 0
            return frames, numbers.pop(0) if flags & 2 else 0
    if content[frame.place + 36 : frame.place + 40] == b"VBRI":
        size, count = struct.unpack_from(">II", content, frame.place + 46)
        return count, size
    return None


def _mended(content: Content, run: _Run) -> Stream:
    """The frames of a run, behind one without sound that states how many they are."""
    (start, end), *others = run.ranges
    count, first = run.count, run.first
    if count > 1 and _stated(content, first) is not None:
        count, start = count - 1, first.end
    size = sum(b - a for a, b in [(start, end), *others])
    head = bytearray(content[first.place : first.place + 4])
    head[1] |= 1  # no checksum
    head[2] = (head[2] & 0x0C) | 0xD0
    frame = _frame_at(bytes(head), 0)
    assert frame is not None
    silent = head + bytes(frame.size - 4)
    tag = struct.pack(">4sIII", b"Xing", XING_FLAGS, count, frame.size + size)
    place = _tag_place(frame)
    silent[place : place + len(tag)] = tag
    view = memoryview(content)
    return Stream((bytes(silent), *(view[a:b] for a, b in [(start, end), *others])))
