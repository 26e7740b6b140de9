"""Recordings of any length → chunks of 16 kHz mono speech, read block by block.

`S` samples at 16 kHz. At no time is more of a recording in memory than one chunk and one block.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from unispeech_ft.data.audio import SAMPLE_RATE_HZ, Waveform, declares_more_than_it_holds
from unispeech_ft.errors import UserError

BLOCK_S = 20.0
# A window longer than the closure of a stop finds pauses between words.
QUIET_WINDOW_S = 0.2
QUIET_HOP_S = 0.01
# A file may hold this much less than its header says: encoders round up, by MP3 frames or by a share.
MISSING_FRAMES, MISSING_SHARE = 2304, 0.01
CONVERT = "give WAV, FLAC, MP3, Ogg or Opus; convert other formats first"


@dataclass(frozen=True)
class Chunk:
    """A stretch of a recording: `waveform` `[S]`, and where it starts in the recording, in samples at 16 kHz."""

    waveform: Waveform
    start_sample: int

    @property
    def start_s(self) -> float:
        return self.start_sample / SAMPLE_RATE_HZ


def _check_whole(path: Path) -> None:
    try:
        with path.open("rb") as file:
            if not file.seek(0, 2):
                raise UserError(f"{path}: the file is empty", remedy="give a recording")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as encoded:
                truncated = declares_more_than_it_holds(encoded)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file", remedy="check the path") from None
    except OSError as error:
        remedy = "check the path and its permissions"
        raise UserError(f"{path}: the file cannot be read ({error.strerror})", remedy=remedy) from None
    if truncated:
        raise _truncated(path)


def _truncated(path: Path) -> UserError:
    return UserError(f"{path}: the file ends before its header says", remedy="copy it again, or convert what is there")


def _mono_blocks(path: Path) -> Iterator[tuple[Waveform, int]]:
    """Blocks of the file's own sampling rate, channels averaged, with that rate in Hz."""
    import soundfile

    try:
        with soundfile.SoundFile(path) as file:
            declared, rate_hz = file.frames, file.samplerate
            num_read = 0
            while len(samples := file.read(round(BLOCK_S * rate_hz), dtype="float32", always_2d=True)):
                num_read += len(samples)
                yield samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1), rate_hz
    except (soundfile.LibsndfileError, RuntimeError, TypeError, OSError) as error:
        reason = str(error).rsplit(": ", 1)[-1].strip().rstrip(".")
        raise UserError(f"{path}: not audio that can be decoded ({reason})", remedy=CONVERT) from None
    if not num_read:
        raise UserError(f"{path}: no samples in the file", remedy="give a recording")
    if declared - num_read > max(MISSING_SHARE * declared, MISSING_FRAMES):
        raise _truncated(path)


def waveform_blocks(path: Path) -> Iterator[Waveform]:
    """An audio file of any format, sampling rate and number of channels → 16 kHz mono blocks `[S]`.

    Joined, the blocks equal `data.audio.read_audio` to a rounding error of single precision, 1e-7.

    Raises:
        UserError: the file is missing, empty, truncated or not audio, or holds samples that are not finite.
    """
    import soxr

    _check_whole(path)
    resampler: soxr.ResampleStream | None = None
    for mono, rate_hz in _mono_blocks(path):
        if not np.isfinite(mono).all():
            raise UserError(f"{path}: samples that are not finite numbers", remedy="export the recording again")
        if rate_hz == SAMPLE_RATE_HZ:
            yield mono
            continue
        resampler = resampler or soxr.ResampleStream(rate_hz, SAMPLE_RATE_HZ, 1, dtype="float32", quality="HQ")
        yield resampler.resample_chunk(mono)
    if resampler is not None:
        yield resampler.resample_chunk(np.zeros(0, dtype=np.float32), last=True)


def quietest_sample(waveform: Waveform) -> int:
    """Middle of the window of `QUIET_WINDOW_S` with the least energy; the last of several alike.

    Args:
        waveform: `[S]`; one shorter than the window is cut in its middle.
    """
    window, hop = round(QUIET_WINDOW_S * SAMPLE_RATE_HZ), round(QUIET_HOP_S * SAMPLE_RATE_HZ)
    if len(waveform) <= window:
        return len(waveform) // 2
    import librosa

    level = librosa.feature.rms(y=waveform, frame_length=window, hop_length=hop, center=False)[0]
    last = len(level) - 1 - int(np.argmin(level[::-1]))
    return last * hop + window // 2


def cut_chunks(blocks: Iterable[Waveform], max_chunk_s: float, search_s: float) -> Iterator[Chunk]:
    """Cuts a recording where it is quiet; one of at most `max_chunk_s` stays whole.

    Args:
        blocks: the recording, `[S]` each.
        max_chunk_s: no chunk is longer, in seconds.
        search_s: a cut lies in the last so many seconds before that.
    """
    longest, searched = round(max_chunk_s * SAMPLE_RATE_HZ), round(search_s * SAMPLE_RATE_HZ)
    if not 0 < searched < longest:
        raise ValueError(f"search_s must lie between 0 and max_chunk_s, got {search_s} and {max_chunk_s}")
    held = np.zeros(0, dtype=np.float32)
    start = 0
    for block in blocks:
        held = np.concatenate((held, block))
        while len(held) > longest:
            cut = longest - searched + quietest_sample(held[longest - searched : longest])
            yield Chunk(held[:cut], start)
            held, start = held[cut:].copy(), start + cut
    if len(held):
        yield Chunk(held, start)
