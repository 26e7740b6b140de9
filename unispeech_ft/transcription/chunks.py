"""Recordings of any length → chunks of 16 kHz mono speech, read block by block.

`S` samples at 16 kHz. At no time is more of a recording in memory than one chunk and one block.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from unispeech_ft.data.audio import SAMPLE_RATE_HZ, BadClip, Waveform, waveform_blocks
from unispeech_ft.errors import UserError

# A window longer than the closure of a stop finds pauses between words.
QUIET_WINDOW_S = 0.2
QUIET_HOP_S = 0.01
CONVERT = "give WAV, FLAC, MP3, Ogg or Opus; convert other formats first"
REMEDIES = {"no such file": "check the path", "the file is empty": "give a recording"}


@dataclass(frozen=True)
class Chunk:
    """A stretch of a recording: `waveform` `[S]`, and where it starts in the recording, in samples at 16 kHz."""

    waveform: Waveform
    start_sample: int

    @property
    def start_s(self) -> float:
        return self.start_sample / SAMPLE_RATE_HZ


def recording_blocks(path: Path, channel: int | None = None) -> Iterator[Waveform]:
    """An audio file of any format, sampling rate and number of channels → 16 kHz mono blocks `[S]`.

    Raises:
        UserError: see `data.audio.native_blocks`.
    """
    try:
        yield from waveform_blocks(path, channel)
    except BadClip as reason:
        raise UserError(f"{path}: {reason}", remedy=reason.remedy or REMEDIES.get(str(reason), CONVERT)) from None


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
