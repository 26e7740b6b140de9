"""The frames of MPEG audio, counted, and MP3s with a header that states how many they are."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from unispeech_ft.data.pieces import Content, Stream, Truncated

BITRATES = {
    (3, 1): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),  # MPEG 1, layer III
    (3, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),  # MPEG 1, layer II
    (2, 1): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),  # MPEG 2 and 2.5
}
RATES_HZ = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
LAYER_3 = 1
TAG_BYTES = 128  # of ID3v1, at the end
TAGS = (b"ID3", b"TAG", b"APE")
XING_FLAGS = 3  # frames and bytes are stated
# A file's own count is believed where encoder delay and padding explain what lacks.
DELAY_FRAMES = 3


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


def after_tags(content: Content, place: int) -> int:
    """The place behind the ID3 tags that begin at a place."""
    while content[place : place + 3] == b"ID3" and place + 10 <= len(content):
        a, b, c, d = content[place + 6 : place + 10]
        place += 10 + (a << 21 | b << 14 | c << 7 | d)
    return place


def begins_mpeg(content: Content, place: int) -> bool:
    """Whether frames of MPEG audio begin at a place, or a tag and then they."""
    frame = _frame_at(content, after_tags(content, place))
    return frame is not None and _frame_at(content, frame.end) is not None


def _frames(content: Content, start: int, begins_other: Callable[[Content, int], bool]) -> Iterator[_Frame]:
    """The whole frames of MPEG audio, whatever lies between them but a file of another kind."""
    place = after_tags(content, start)
    while place < len(content):
        frame = _frame_at(content, place)
        follower = frame and (frame.end >= len(content) - TAG_BYTES or _frame_at(content, frame.end))
        if frame and (follower or content[frame.end : frame.end + 3] in TAGS or begins_other(content, frame.end)):
            if frame.end > len(content):
                return
            yield frame
            place = frame.end
        elif begins_other(content, place):
            return
        else:
            tagged = after_tags(content, place)
            if content[place : place + 3] == b"TAG":
                tagged = place + TAG_BYTES
            place = tagged if tagged > place else content.find(b"\xff", place + 1)
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


def mpeg_streams(
    content: Content, start: int, begins_other: Callable[[Content, int], bool]
) -> tuple[list[Stream], int]:
    """The streams of the MP3 that begins at `start`, and where another file begins behind it; no streams where it is
    none.

    Args:
        begins_other: whether a file of another kind begins at a place.

    Raises:
        Truncated: it ends before its own header says.
    """
    runs: list[_Run] = []
    for frame in _frames(content, start, begins_other):
        if runs and runs[-1].first.kind == frame.kind:
            runs[-1].take(frame)
        else:
            runs.append(_Run(frame, 1, [(frame.place, frame.end)]))
    # A header that is none, found while looking for the next frame, is alone.
    runs = [run for run in runs if run.count > 2]
    if not runs:
        return [], len(content)
    last = runs[-1].ranges[-1][1]
    end = next((place for place in (last, last + TAG_BYTES) if begins_other(content, place)), len(content))
    covered = sum(b - a for run in runs for a, b in run.ranges)
    if covered < (end - start) / 2 or any(run.first.kind[1] != LAYER_3 for run in runs):
        return [], len(content)
    stated = _stated(content, runs[0].first)
    if len(runs) == 1 and stated and len(runs[0].ranges) == 1:
        count = runs[0].count - 1
        if stated[0] > count + DELAY_FRAMES and stated[1] > len(content) - start and last < len(content):
            raise Truncated
        if abs(stated[0] - count) <= 1:
            alone = start == 0 and last == len(content)
            return [Stream(() if alone else (memoryview(content)[start:last],))], end
    return [_mended(content, run) for run in runs], end


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
