"""The length of a FLAC by its last frame, where its header does not state it, or states less.

The layout is that of RFC 9639, sections 8.2 and 9.1.
"""

from __future__ import annotations

from unispeech_ft.data.pieces import Content, Stream

# The five bytes of the header whose last 36 bits are the length in samples.
LENGTH, LENGTH_MASK = slice(21, 26), (1 << 36) - 1
BLOCK_SIZE = slice(10, 12)
HEADER_BYTES = 42
SYNC = b"\xff\xf8", b"\xff\xf9"  # frames are numbered, or their first samples are
LONGEST_HEADER = 17
LAST_BYTES = 1 << 20  # more than any frame has
# A frame may be followed by the beginning of another, of which so many are looked at.
MOST_ENDS = 4
EXTRA_BYTES_OF_SIZE = {6: 1, 7: 2}
EXTRA_BYTES_OF_RATE = {12: 1, 13: 2, 14: 2}


def flac_stream(content: Content, start: int, end: int) -> Stream | None:
    """The FLAC that lies from `start` to `end` with its length in its header; None where that is right, or unknown."""
    header = bytearray(content[start : start + HEADER_BYTES])
    stated = int.from_bytes(header[LENGTH], "big") & LENGTH_MASK
    there = _samples(
        content[max(start + HEADER_BYTES, end - LAST_BYTES) : end], int.from_bytes(header[BLOCK_SIZE], "big")
    )
    if there <= stated:
        return None
    header[LENGTH] = (int.from_bytes(header[LENGTH], "big") & ~LENGTH_MASK | there).to_bytes(5, "big")
    return Stream((bytes(header), memoryview(content)[start + HEADER_BYTES : end]))


def _samples(frames: bytes, block_size: int) -> int:
    """Samples up to the end of the last of these frames that is whole; 0 where there is none."""
    place, ends = len(frames), [len(frames)]
    while (place := max(frames.rfind(sync, 0, place) for sync in SYNC)) >= 0 and len(ends) <= MOST_ENDS:
        last = _end_of_frame(frames[place : place + LONGEST_HEADER].ljust(LONGEST_HEADER, b"\0"), block_size)
        if last and any(_is_whole(frames[place:end]) for end in ends):
            return last
        ends += [place] if last else []
    return 0


def _is_whole(frame: bytes) -> bool:
    """Whether these bytes are a frame from its first to its last: they end in the checksum of the others."""
    checksum = 0
    for byte in frame[:-2]:
        checksum = (checksum << 8 ^ CHECKSUMS_16[checksum >> 8 ^ byte]) & 0xFFFF
    return checksum == int.from_bytes(frame[-2:], "big")


def _end_of_frame(header: bytes, block_size: int) -> int:
    """Samples up to the end of a frame, by its header; 0 where it is none."""
    if header[3] & 1:
        return 0
    leading = 8 - (header[4] ^ 0xFF).bit_length()
    number_bytes = max(1, leading)
    number = header[4] & (0xFF >> (leading + 1))
    for byte in header[5 : 4 + number_bytes]:
        number = number << 6 | byte & 0x3F
    place = 4 + number_bytes
    kind, rate = header[2] >> 4, header[2] & 15
    extra = EXTRA_BYTES_OF_SIZE.get(kind, 0)
    size = int.from_bytes(header[place : place + extra], "big") + 1
    if not extra:
        size = 192 if kind == 1 else 144 << kind if kind < 6 else 1 << kind
    place += extra + EXTRA_BYTES_OF_RATE.get(rate, 0)
    if _checksum(header[:place]) != header[place]:
        return 0
    return (number if header[1] & 1 else number * block_size) + size


def _checksum(header: bytes) -> int:
    checksum = 0
    for byte in header:
        checksum = _divided(checksum ^ byte, 8, 0x07)
    return checksum


def _divided(value: int, bits: int, polynomial: int) -> int:
    """The remainder of eight more zero bits."""
    for _ in range(8):
        value = (value << 1 ^ (polynomial if value >> (bits - 1) & 1 else 0)) & ((1 << bits) - 1)
    return value


CHECKSUMS_16 = [_divided(byte << 8, 16, 0x8005) for byte in range(256)]
