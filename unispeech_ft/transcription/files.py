"""Recordings → transcripts: phones with times.

Chunks of all files pass through the model together, sorted by length; transcripts come in the order of the files.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from unispeech_ft.data.audio import SAMPLE_RATE_HZ, pack, unpack
from unispeech_ft.data.plan import evaluation_batches
from unispeech_ft.errors import UserError
from unispeech_ft.models.families import frame_s
from unispeech_ft.models.saved import SavedModel
from unispeech_ft.scoring.greedy import segments
from unispeech_ft.training.evaluate import BATCH_S, best_rows
from unispeech_ft.transcription.chunks import Chunk, cut_chunks, waveform_blocks

MAX_CHUNK_S = 20.0
SEARCH_S = 5.0
# So much speech is in memory at most before it passes through the model.
POOL_S = 120.0
AUDIO_ENDINGS = (
    ".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".aiff", ".aif", ".au", ".caf", ".w64", ".rf64", ".m4a", ".aac",
    ".webm", ".wma", ".mp4",
)  # fmt: skip


@dataclass(frozen=True)
class TimedPhone:
    """One phone and the frames that emitted it; CTC places a phone within its sound, not around it."""

    phone: str
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Transcript:
    """What was said in one file.

    Attributes:
        path: as it was given.
        duration_s: of the recording.
        timed_phones: in the order of time.
    """

    path: str
    duration_s: float
    timed_phones: list[TimedPhone]

    @property
    def phones(self) -> list[str]:
        return [item.phone for item in self.timed_phones]
