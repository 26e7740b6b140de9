"""Recordings → transcripts: phones with times.

Chunks of all files pass through the model together, sorted by length; transcripts come in the order of the files.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path

from unispeech_ft.data.ahead import ahead, one_ahead
from unispeech_ft.data.audio import AUDIO_ENDINGS, SAMPLE_RATE_HZ
from unispeech_ft.data.sources.folders import files_below, passed_over
from unispeech_ft.errors import UserError, warn
from unispeech_ft.models.saved import SavedModel
from unispeech_ft.scoring.confidence import mean_posterior
from unispeech_ft.transcription.chunks import Chunk, cut_chunks, recording_blocks
from unispeech_ft.transcription.decoding import GREEDY, ChunkPhones, Decoding, decode_chunks, joined, start_chunks
from unispeech_ft.transcription.timed import Transcript

MAX_CHUNK_S = 20.0
SEARCH_S = 5.0
# So much speech is in memory before it passes through the model.
POOL_S = 120.0
# And so many such pools are decoded while a GPU works on one.
POOLS_AHEAD = 2


@dataclass(frozen=True)
class End:
    """Behind the last chunk of a recording, or of a stretch of it that starts at `start_s`."""

    path: str
    num_samples: int
    start_s: float | None = None


# What a recording becomes: its chunks and their end, or why it has none.
Item = Chunk | End | UserError


def audio_files(names: Iterable[str | Path]) -> tuple[list[Path], list[UserError]]:
    """Files as named, in place of a folder all audio files below it, sorted; and the folders that hold none."""
    files: list[Path] = []
    faults: list[UserError] = []
    for path in map(Path, names):
        if not path.is_dir():
            files.append(path)
            continue
        below = files_below(path)
        found = [file for file in below if file.suffix.lower() in AUDIO_ENDINGS]
        files += found
        strangers = passed_over(below)
        if strangers:
            warn(f"{path}: passed over are {strangers}")
        if not found:
            endings = " ".join(AUDIO_ENDINGS)
            faults.append(UserError(f"{path}: no audio file in this folder", remedy=f"looked for {endings}"))
    return files, faults


def _chunks_of(path: Path, max_chunk_s: float, search_s: float, channel: int | None) -> Iterator[Item]:
    num_samples = 0
    try:
        for chunk in cut_chunks(recording_blocks(path, channel), max_chunk_s, search_s):
            num_samples = chunk.start_sample + len(chunk.waveform)
            yield chunk
    except UserError as error:
        yield error
    else:
        yield End(str(path), num_samples)


def _pools(items: Iterable[Item]) -> Iterator[list[Item]]:
    pool: list[Item] = []
    num_samples = 0
    for item in items:
        pool.append(item)
        num_samples += len(item.waveform) if isinstance(item, Chunk) else 0
        if num_samples >= POOL_S * SAMPLE_RATE_HZ:
            yield pool
            pool, num_samples = [], 0
    if pool:
        yield pool


def _transcript(saved: SavedModel, end: End, heard: ChunkPhones) -> Transcript:
    found = Transcript(end.path, end.num_samples / SAMPLE_RATE_HZ, heard.phones, heard.words, end.start_s)
    posterior = mean_posterior([item.posterior for item in heard.phones])
    if saved.confidence is None or posterior is None:
        return found
    unlike = posterior < saved.confidence.unlike_below
    return replace(found, confidence=saved.confidence.of(posterior), unlike=unlike)


def transcribe_files(
    saved: SavedModel,
    paths: Iterable[Path],
    *,
    max_chunk_s: float = MAX_CHUNK_S,
    search_s: float = SEARCH_S,
    decoding: Decoding = GREEDY,
    channel: int | None = None,
) -> Iterator[Transcript | UserError]:
    """Transcribes recordings of any format and length; the memory that it takes does not grow with either.

    Args:
        saved: see `models.saved.load_saved`.
        paths: audio files.
        max_chunk_s: longer recordings are cut where it is quiet.
        search_s: how far before the longest possible chunk a quiet place is looked for.
        decoding: how phones are found.
        channel: of recordings with several, from 0; None for the mean of all.

    Yields:
        For each file, in order, its transcript, or the fault for which it has none.
    """
    read = partial(_chunks_of, max_chunk_s=max_chunk_s, search_s=search_s, channel=channel)
    return transcripts_of(saved, chain.from_iterable(map(read, paths)), decoding)


def transcripts_of(saved: SavedModel, items: Iterable[Item], decoding: Decoding) -> Iterator[Transcript | UserError]:
    """For each end of chunks the transcript of those before it."""
    heard = ChunkPhones([])
    on_cpu = saved.built.model.device.type == "cpu"
    pools = _pools(items)
    started = (
        (pool, start_chunks(saved, [item for item in pool if isinstance(item, Chunk)]))
        for pool in (pools if on_cpu else ahead(pools, POOLS_AHEAD))
    )
    for pool, chunks in started if on_cpu else one_ahead(started):
        decoded = iter(decode_chunks(saved, chunks, decoding))
        for item in pool:
            if isinstance(item, Chunk):
                heard = joined(heard, next(decoded))
                continue
            if isinstance(item, UserError):
                yield item
            else:
                yield _transcript(saved, item, heard)
            heard = ChunkPhones([])
