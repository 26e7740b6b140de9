"""Encoded audio → 16 kHz mono waveforms: soundfile (MP3, FLAC, Ogg, Opus, WAV), PyAV where it is installed for all
other formats, and soxr's HQ resampler.

`S` samples. There is one reader, of blocks (`native_blocks`); whole clips, pieces and chunks are made of what it reads.
A whole clip equals `librosa.load(path, sr=16000, res_type="soxr_hq")` to the bit.
"""

from __future__ import annotations

import io
import itertools
import mmap
import stat
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np

from unispeech_ft.data.containers import streams
from unispeech_ft.data.mono import AGAIN, to_mono
from unispeech_ft.data.mono import BadClip as BadClip
from unispeech_ft.data.mono import Waveform as Waveform
from unispeech_ft.data.pieces import Content, Joined, Stream, Truncated

SAMPLE_RATE_HZ = 16_000
RESAMPLER = "soxr HQ"
BLOCK_S = 20.0
# Of files and archive members that are audio by their name; AV_ENDINGS need PyAV.
SOUNDFILE_ENDINGS = (
    ".aif", ".aifc", ".aiff", ".au", ".caf", ".flac", ".mp2", ".mp3", ".mpga", ".nist", ".oga", ".ogg", ".opus",
    ".rf64", ".snd", ".sph", ".w64", ".wav", ".wave",
)  # fmt: skip
AV_ENDINGS = (
    ".3gp", ".aac", ".ac3", ".amr", ".m4a", ".m4b", ".mka", ".mkv", ".mov", ".mp4", ".spx", ".webm", ".wma", ".wv",
)  # fmt: skip
AUDIO_ENDINGS = SOUNDFILE_ENDINGS + AV_ENDINGS
# Recorders from telephones to ultrasound.
SLOWEST_HZ, FASTEST_HZ = 1000, 1_000_000
# Segments may end so much later than their recording: lists round.
END_TOLERANCE_S = 0.1
# A file may hold this much less than its header says: encoders round up, by MP3 frames or by a share.
MISSING_FRAMES, MISSING_SHARE = 2304, 0.01
# Containers that state how long they are; for others FFmpeg guesses.
STATE_DURATION = ("matroska,webm", "asf")


def native_blocks(
    source: Path | bytes, *, channel: int | None = None, block_s: float = BLOCK_S
) -> Iterator[tuple[Waveform, int]]:
    """A recording in blocks `[S]` of its own sampling rate, with that rate in Hz, which may change between streams.

    Args:
        source: an audio file, or its bytes.
        channel: which one, from 0; None for the mean of all.

    Raises:
        BadClip: missing, empty, truncated, not audio, samples that are no numbers or beyond all bounds, or channels
            that cancel out; blocks before the fault have been given by then.
    """
    try:
        if isinstance(source, bytes):
            yield from _blocks_of(source, source, channel, block_s)
            return
        if not stat.S_ISREG(source.stat().st_mode):
            raise BadClip("the file cannot be read (not a file)")
        with source.open("rb") as file:
            if not file.seek(0, io.SEEK_END):
                raise BadClip("the file is empty")
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        yield from _blocks_of(source, content, channel, block_s)
    except FileNotFoundError:
        raise BadClip("no such file") from None
    except (OSError, ValueError) as error:
        raise BadClip(f"the file cannot be read ({getattr(error, 'strerror', None) or error})") from None


def _blocks_of(
    source: Path | bytes, content: Content, channel: int | None, block_s: float
) -> Iterator[tuple[Waveform, int]]:
    if not len(content):
        raise BadClip("the file is empty")
    try:
        found = streams(content)
    except Truncated:
        raise BadClip("truncated: the file ends before its own header says", AGAIN) from None
    empty = True
    for stream in found:
        for samples, rate_hz in _decoded(source, content, stream, block_s):
            empty = False
            yield to_mono(samples, rate_hz, channel), rate_hz
    if empty:
        raise BadClip("no samples in the file")


def _decoded(source: Path | bytes, content: Content, stream: Stream, block_s: float) -> Iterator[tuple[Waveform, int]]:
    """Blocks `[S, channels]` of one stream, with their rate."""
    import soundfile

    try:
        file = soundfile.SoundFile(Joined(stream.pieces or (memoryview(content),)))
    except (soundfile.LibsndfileError, RuntimeError, TypeError) as error:
        yield from _by_av(Joined(stream.pieces) if stream.pieces else source, _reason(error), block_s)
        return
    with file:
        declared, rate_hz, num_read = file.frames, file.samplerate, 0
        _check_rate(rate_hz)
        try:
            while len(samples := file.read(max(1, round(block_s * rate_hz)), dtype="float32", always_2d=True)):
                num_read += len(samples)
                yield samples, rate_hz
        except (soundfile.LibsndfileError, RuntimeError) as error:
            raise BadClip(
                f"truncated or damaged: not all of its audio can be decoded ({_reason(error)})", AGAIN
            ) from None
    if declared - num_read > max(MISSING_SHARE * declared, MISSING_FRAMES):
        raise BadClip(f"truncated: {num_read / rate_hz:.2f} s decoded of more that the file declares", AGAIN)


def _check_rate(rate_hz: int) -> None:
    if not SLOWEST_HZ <= rate_hz <= FASTEST_HZ:
        raise BadClip(f"a sampling rate of {rate_hz} Hz")


def _reason(error: Exception) -> str:
    return str(error).rsplit(": ", 1)[-1].strip().rstrip(".")


def _by_av(source: Path | bytes | Joined, reason: str, block_s: float) -> Iterator[tuple[Waveform, int]]:
    """What soundfile cannot read, decoded by PyAV."""
    try:
        import av
    except ImportError:
        others = "m4a, AAC, WebM, Speex and others: pip install 'unispeech-ft[av]'"
        raise BadClip(f"not audio that can be decoded ({reason}); {others}") from None
    try:
        opened = (
            io.BytesIO(source) if isinstance(source, bytes) else source if isinstance(source, Joined) else str(source)
        )
        with av.open(opened, mode="r") as container:
            if not container.streams.audio:
                raise BadClip(f"not audio that can be decoded ({reason}; nor does PyAV find sound in it)")
            held: list[Waveform] = []
            num_s = 0.0
            for frame in container.decode(container.streams.audio[0]):
                _check_rate(frame.sample_rate)
                num_s += frame.samples / frame.sample_rate
                # Packed: PyAV reads beyond its memory where more than eight channels lie in planes of their own.
                packed = av.AudioResampler(format="flt").resample(frame)
                held += [np.float32(part.to_ndarray()).reshape(-1, part.layout.nb_channels) for part in packed]
                rate_hz = frame.sample_rate
                if sum(map(len, held)) >= block_s * rate_hz:
                    yield np.concatenate(held), rate_hz
                    held = []
            if held:
                yield np.concatenate(held), rate_hz
            states = container.format.name in STATE_DURATION and len(container.streams) == 1
            declared_s = (container.duration or 0) / av.time_base if states else 0.0
    except (av.FFmpegError, ValueError) as error:
        raise BadClip(f"not audio that can be decoded ({reason}; nor can PyAV, {type(error).__name__})") from None
    if declared_s - num_s > max(MISSING_SHARE * declared_s, END_TOLERANCE_S):
        raise BadClip(f"truncated: {num_s:.2f} s decoded of {declared_s:.2f} that the file declares", AGAIN)


def decode_audio(source: Path | bytes, channel: int | None = None) -> Waveform:
    """An audio file, or its bytes → waveform `[S]` at 16 kHz, float32, full scale ±1, channels averaged.

    Args:
        channel: take this one, from 0, instead.

    Raises:
        BadClip: see `native_blocks`; or silent to the bit.
    """
    import soxr

    parts = []
    for rate_hz, blocks in itertools.groupby(native_blocks(source, channel=channel), key=lambda block: block[1]):
        mono = np.concatenate([block for block, _ in blocks])
        parts.append(mono if rate_hz == SAMPLE_RATE_HZ else soxr.resample(mono, rate_hz, SAMPLE_RATE_HZ, quality="HQ"))
    waveform = np.ascontiguousarray(np.concatenate(parts), dtype=np.float32)
    if not len(waveform):
        raise BadClip("no samples in the file")
    if not sounds(waveform):
        raise BadClip("digital silence")
    return waveform


def has_one_channel(path: Path) -> bool:
    """Whether the header of an audio file says so; not where soundfile cannot read it."""
    import soundfile

    try:
        return bool(soundfile.info(path).channels == 1)
    except (soundfile.LibsndfileError, RuntimeError, TypeError):
        return False


def read_audio(path: Path | str, channel: int | None = None) -> Waveform:
    """An audio file → waveform `[S]` at 16 kHz; see `decode_audio`."""
    return decode_audio(Path(path), channel)


def waveform_blocks(source: Path | bytes, channel: int | None = None, block_s: float = BLOCK_S) -> Iterator[Waveform]:
    """A recording of any length → 16 kHz mono blocks `[S]`; at no time is more than one in memory.

    Joined, the blocks equal `decode_audio` to a rounding error of single precision, 1e-7.

    Raises:
        BadClip: see `native_blocks`.
    """
    import soxr

    nothing = np.zeros(0, dtype=np.float32)
    blocks = native_blocks(source, channel=channel, block_s=block_s)
    for rate_hz, group in itertools.groupby(blocks, key=lambda block: block[1]):
        if rate_hz == SAMPLE_RATE_HZ:
            yield from (block for block, _ in group)
            continue
        resampler = soxr.ResampleStream(rate_hz, SAMPLE_RATE_HZ, 1, dtype="float32", quality="HQ")
        yield from (resampler.resample_chunk(block) for block, _ in group)
        yield resampler.resample_chunk(nothing, last=True)


def duration_s(path: Path, channel: int | None = None) -> float:
    """Of a recording, as far as it can be decoded."""
    num_samples = 0
    with suppress(BadClip):
        for block in waveform_blocks(path, channel):
            num_samples += len(block)
    return num_samples / SAMPLE_RATE_HZ


def cut_segments(
    path: Path, spans: Mapping[str, tuple[float, float | None]], channel: int | None = None
) -> Iterator[tuple[str, Waveform | BadClip]]:
    """Stretches of a recording, by name, in the order of their starts; no more than they need is in memory.

    Args:
        spans: start and end in seconds; an end of None is the recording's.

    Yields:
        Name, and waveform `[S]` at 16 kHz or the reason why there is none.

    Raises:
        BadClip: see `native_blocks`; stretches before the fault have been given by then.
    """
    waiting = sorted(spans.items(), key=lambda item: item[1][0])
    held, start = np.zeros(0, dtype=np.float32), 0
    blocks = waveform_blocks(path, channel)
    ended = False
    while waiting:
        name, (start_s, end_s) = waiting[0]
        first, last = round(start_s * SAMPLE_RATE_HZ), None if end_s is None else round(end_s * SAMPLE_RATE_HZ)
        if not ended and (last is None or last > start + len(held)):
            block = next(blocks, None)
            ended = block is None
            if block is not None:
                drop = min(max(0, first - start), len(held))
                held, start = np.concatenate((held[drop:], block)), start + drop
            continue
        waiting.pop(0)
        yield name, _segment(held, start, first, start + len(held) if last is None else last)


def _segment(held: Waveform, start: int, first: int, last: int) -> Waveform | BadClip:
    """Samples `first` to `last` of a recording of which those from `start` on are held."""
    end = start + len(held)
    span = f"from {first / SAMPLE_RATE_HZ:.2f} to {last / SAMPLE_RATE_HZ:.2f} s"
    if first >= last:
        return BadClip(f"a segment {span} has no length")
    if last - end > END_TOLERANCE_S * SAMPLE_RATE_HZ:
        return BadClip(f"a segment {span} of a recording that ends after {end / SAMPLE_RATE_HZ:.2f} s")
    cut = held[first - start : last - start].copy()
    return cut if sounds(cut) else BadClip("digital silence")


def decode_pieces(
    source: Path | bytes, max_duration_s: float, first_duration_s: float
) -> Iterator[tuple[float, Waveform]]:
    """A recording of any length, piece by piece, so that only a piece is ever decoded; each with the second at which it
    begins.

    A recording of at most `max_duration_s` comes whole. A longer one is cut: first a piece of `first_duration_s`, then
    pieces of `max_duration_s`, the last as long as it is.

    Args:
        source: an audio file, or its bytes.

    Raises:
        BadClip: see `native_blocks`; pieces before the fault have been given by then.
    """
    import soxr

    start_s = 0.0
    for mono, rate_hz in _cut(native_blocks(source, block_s=max_duration_s), max_duration_s, first_duration_s):
        duration_s = len(mono) / rate_hz
        if rate_hz != SAMPLE_RATE_HZ:
            mono = soxr.resample(mono, rate_hz, SAMPLE_RATE_HZ, quality="HQ")
        yield start_s, np.ascontiguousarray(mono, dtype=np.float32)
        start_s += duration_s


def _cut(
    blocks: Iterator[tuple[Waveform, int]], max_duration_s: float, first_duration_s: float
) -> Iterator[tuple[Waveform, int]]:
    wanted_s = first_duration_s
    for rate_hz, group in itertools.groupby(blocks, key=lambda block: block[1]):
        held = np.zeros(0, dtype=np.float32)
        for block, _ in group:
            held = np.concatenate((held, block))
            while len(held) > round(max_duration_s * rate_hz):
                size = max(1, round(wanted_s * rate_hz))
                yield held[:size], rate_hz
                held, wanted_s = held[size:], max_duration_s
        if len(held):
            yield held, rate_hz


def pack(waveform: Waveform) -> tuple[bytes, float]:
    """A waveform as 16-bit integers scaled to its own peak, so that quiet clips keep their resolution.

    Returns:
        The little-endian samples, and the factor that turns them back into the waveform.
    """
    scale = float(np.abs(waveform).max()) / 32767 or 1.0
    return np.round(waveform / scale).astype("<i2").tobytes(), scale


def sounds(waveform: Waveform) -> bool:
    """Whether a sample is not 0; numpy's `any` takes ten times as long."""
    return len(waveform) > 0 and not (waveform.max() <= 0 <= waveform.min())


def unpack(samples: bytes, scale: float) -> Waveform:
    """The inverse of `pack`, within half a step of `scale`."""
    return np.frombuffer(samples, dtype="<i2").astype(np.float32) * np.float32(scale)


def normalise_waveform(waveform: Waveform, eps: float) -> Waveform:
    """Zero mean and unit variance over the clip, `(x - mean) / sqrt(var + eps)`, as layer_norm without weights.

    Args:
        waveform: `[S]`.
        eps: 1e-5 in the original code, 1e-7 in the stock feature extractors; quiet clips differ by it.
    """
    centred = waveform - waveform.mean(dtype=np.float64).astype(np.float32)
    variance = np.mean(np.square(centred), dtype=np.float64)
    normalised: Waveform = centred / np.float32(np.sqrt(variance + eps))
    return normalised
