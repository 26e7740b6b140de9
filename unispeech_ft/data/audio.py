"""Encoded audio → 16 kHz mono waveforms, with soundfile (MP3, FLAC, Ogg, Opus, WAV) and soxr's HQ resampler.

`S` samples. The result equals `librosa.load(path, sr=16000, res_type="soxr_hq")` to the bit.
"""

from __future__ import annotations

import io
import mmap
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

SAMPLE_RATE_HZ = 16_000
RESAMPLER = "soxr HQ"
Waveform = npt.NDArray[np.float32]

_OGG_END_OF_STREAM = 4


class BadClip(Exception):
    """A clip that cannot be used; the message is the reason."""


def declares_more_than_it_holds(encoded: bytes | mmap.mmap) -> bool:
    """Whether a RIFF or Ogg file ends before its own headers say; soundfile reads such files without a word."""
    if encoded[:4] == b"RIFF" and len(encoded) >= 8:
        declared = struct.unpack("<I", encoded[4:8])[0]
        return declared not in (0, 0xFFFFFFFF) and declared + 8 > len(encoded) + 1
    if encoded[:4] == b"OggS":
        last_page = encoded.rfind(b"OggS")
        return last_page + 5 < len(encoded) and not encoded[last_page + 5] & _OGG_END_OF_STREAM
    return False


def _decode(encoded: bytes) -> tuple[Waveform, int]:
    import soundfile

    if not encoded:
        raise BadClip("the file is empty")
    try:
        with soundfile.SoundFile(io.BytesIO(encoded)) as file:
            declared, rate_hz = file.frames, file.samplerate
            samples = file.read(dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, RuntimeError, TypeError, OSError) as error:
        reason = str(error).rsplit(": ", 1)[-1].strip().rstrip(".")
        raise BadClip(f"not audio that can be decoded ({reason})") from None
    missing = declared - len(samples)
    if declares_more_than_it_holds(encoded) or missing > max(0.01 * declared, 2304):
        raise BadClip(f"truncated: {len(samples) / rate_hz:.2f} s decoded of more that the file declares")
    if not len(samples):
        raise BadClip("no samples in the file")
    mono = samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1)
    return mono, rate_hz


def decode_audio(encoded: bytes) -> Waveform:
    """Bytes of an audio file → waveform `[S]` at 16 kHz, float32, full scale ±1, channels averaged.

    Raises:
        BadClip: empty, truncated, silent to the bit, not finite, or not audio.
    """
    import soxr

    mono, rate_hz = _decode(encoded)
    waveform = mono if rate_hz == SAMPLE_RATE_HZ else soxr.resample(mono, rate_hz, SAMPLE_RATE_HZ, quality="HQ")
    waveform = np.ascontiguousarray(waveform, dtype=np.float32)
    if not len(waveform):
        raise BadClip("no samples in the file")
    if not np.isfinite(waveform).all():
        raise BadClip("samples that are not finite numbers")
    if not waveform.any():
        raise BadClip("digital silence")
    return waveform


def read_audio(path: Path | str) -> Waveform:
    """An audio file → waveform `[S]` at 16 kHz.

    Raises:
        BadClip: the file is missing or unreadable, or as in `decode_audio`.
    """
    try:
        encoded = Path(path).read_bytes()
    except FileNotFoundError:
        raise BadClip("no such file") from None
    except OSError as error:
        raise BadClip(f"the file cannot be read ({error.strerror})") from None
    return decode_audio(encoded)


def _check_whole(source: Path | bytes) -> None:
    if isinstance(source, Path):
        with source.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            truncated = declares_more_than_it_holds(content)
    else:
        truncated = declares_more_than_it_holds(source)
    if truncated:
        raise BadClip("truncated: the file ends before its own header says")


def decode_pieces(source: Path | bytes, max_duration_s: float, first_duration_s: float) -> Iterator[Waveform]:
    """A recording of any length, piece by piece, so that only a piece is ever decoded.

    A recording of at most `max_duration_s` comes whole. A longer one is cut: first a piece of `first_duration_s`, then
    pieces of `max_duration_s`, the last as long as it is. Pieces of digital silence are left out.

    Args:
        source: an audio file, or its bytes.

    Raises:
        BadClip: missing, empty, truncated, not finite, or not audio; pieces before the fault have been given by then.
    """
    import soundfile
    import soxr

    try:
        if not (source.stat().st_size if isinstance(source, Path) else len(source)):
            raise BadClip("the file is empty")
        _check_whole(source)
        with soundfile.SoundFile(source if isinstance(source, Path) else io.BytesIO(source)) as file:
            rate_hz = file.samplerate
            whole = file.frames <= max_duration_s * rate_hz
            wanted = round((max_duration_s if whole else first_duration_s) * rate_hz)
            while len(samples := file.read(max(1, wanted), dtype="float32", always_2d=True)):
                wanted = round(max_duration_s * rate_hz)
                mono = samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1)
                if rate_hz != SAMPLE_RATE_HZ:
                    mono = soxr.resample(mono, rate_hz, SAMPLE_RATE_HZ, quality="HQ")
                if not np.isfinite(mono).all():
                    raise BadClip("samples that are not finite numbers")
                if mono.any():
                    yield np.ascontiguousarray(mono, dtype=np.float32)
    except (soundfile.LibsndfileError, RuntimeError, TypeError) as error:
        raise BadClip(f"not audio that can be decoded ({str(error).rsplit(': ', 1)[-1].strip().rstrip('.')})") from None
    except FileNotFoundError:
        raise BadClip("no such file") from None
    except OSError as error:
        raise BadClip(f"the file cannot be read ({error.strerror})") from None


def pack(waveform: Waveform) -> tuple[bytes, float]:
    """A waveform as 16-bit integers scaled to its own peak, so that quiet clips keep their resolution.

    Returns:
        The little-endian samples, and the factor that turns them back into the waveform.
    """
    scale = float(np.abs(waveform).max()) / 32767 or 1.0
    return np.round(waveform / scale).astype("<i2").tobytes(), scale


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
