"""Recordings → transcripts: phones with times.

Chunks of all files pass through the model together, sorted by length; transcripts come in the order of the files.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from unispeech_ft.data.audio import AUDIO_ENDINGS, SAMPLE_RATE_HZ, pack, unpack
from unispeech_ft.data.sources.folders import files_below, passed_over
from unispeech_ft.errors import UserError, warn
from unispeech_ft.models.decoding import FrameOutputs, clip_outputs, marks_of
from unispeech_ft.models.saved import SavedModel
from unispeech_ft.scoring.beam import Search
from unispeech_ft.scoring.confidence import mean_posterior
from unispeech_ft.transcription.ahead import ahead
from unispeech_ft.transcription.chunks import Chunk, cut_chunks, recording_blocks

MAX_CHUNK_S = 20.0
SEARCH_S = 5.0
# So much speech is in memory before it passes through the model.
POOL_S = 120.0
# And so many such pools are decoded while a GPU works on one.
POOLS_AHEAD = 2


@dataclass(frozen=True)
class TimedPhone:
    """One phone in time, and how sure the model is of it; `scoring.timing` has the rule of both.

    Attributes:
        start_s: from the start of the recording.
        end_s: no later than the next phone's start; what lies between them is a pause.
        posterior: 0 to 1, the mean of the phone's softmax output over the frames that mark it.
    """

    phone: str
    start_s: float
    end_s: float
    posterior: float


@dataclass(frozen=True)
class TimedWord:
    """A word that was known before, from the start of its first phone to the end of its last."""

    word: str
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Transcript:
    """What was said in one file.

    Attributes:
        path: as it was given, or found in a folder.
        duration_s: of the recording.
        phones: in the order of time.
        words: where they are known, as in an alignment of a sentence.
        start_s: in the recording, where a stretch of it is transcribed, which lasts `duration_s`.
        confidence: 0 to 1, the share of the phones that is probably right; None where the model does not say, or
            nothing was heard.
        unlike: whether it is unlike the speech that the model was validated on: another language, music, a noise.
    """

    path: str
    duration_s: float
    phones: list[TimedPhone]
    words: list[TimedWord] = field(default_factory=list)
    start_s: float | None = None
    confidence: float | None = None
    unlike: bool = False

    def __repr__(self) -> str:
        said = " ".join(item.phone for item in self.phones[:12]) + (" …" if len(self.phones) > 12 else "")
        return f"Transcript({self.path!r}, {self.duration_s:.2f} s, {len(self.phones)} phones: {said})"


def as_json(transcript: Transcript) -> str:
    """One line; times in seconds to the millisecond, posteriors to four digits."""
    phones = [
        {
            "phone": item.phone,
            "start_s": round(item.start_s, 3),
            "end_s": round(item.end_s, 3),
            "posterior": round(item.posterior, 4),
        }
        for item in transcript.phones
    ]
    line: dict[str, object] = {"path": transcript.path, "duration_s": round(transcript.duration_s, 3), "phones": phones}
    if transcript.start_s is not None:
        line["start_s"] = round(transcript.start_s, 3)
    if transcript.confidence is not None:
        line |= {"confidence": round(transcript.confidence, 4), "unlike": transcript.unlike}
    if transcript.words:
        line["words"] = [
            {"word": item.word, "start_s": round(item.start_s, 3), "end_s": round(item.end_s, 3)}
            for item in transcript.words
        ]
    return json.dumps(line, ensure_ascii=False)


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


@dataclass(frozen=True)
class ChunkPhones:
    """What was recognised in one chunk, timed from the start of its recording.

    Attributes:
        opening_frames: that mark the first phone, if the very first frame does; else 0.
        closing_frames: that mark the last phone, if the very last frame does; else 0.
    """

    phones: list[TimedPhone]
    opening_frames: int = 0
    closing_frames: int = 0


def decode_chunks(saved: SavedModel, chunks: Sequence[Chunk], search: Search | None = None) -> list[ChunkPhones]:
    """Phones of each chunk; none where there is no sound at all.

    Each chunk is treated as evaluation treats a clip, its 16-bit storage included, so that both find the same phones.
    """
    front_end = saved.built.front_end
    found = [ChunkPhones([])] * len(chunks)
    heard = [
        place
        for place, chunk in enumerate(chunks)
        if front_end.num_frames(len(chunk.waveform)) and chunk.waveform.any()
    ]
    if not heard:
        return found
    features = [
        values.cpu().numpy() for values in front_end.several([unpack(*pack(chunks[place].waveform)) for place in heard])
    ]
    num_samples = [len(chunks[place].waveform) for place in heard]
    for index, outputs in clip_outputs(saved.built.model, features.__getitem__, num_samples):
        found[heard[index]] = _chunk_phones(saved, outputs, chunks[heard[index]], search)
    return found


def _chunk_phones(saved: SavedModel, outputs: FrameOutputs, chunk: Chunk, search: Search | None) -> ChunkPhones:
    tokenizer = saved.tokenizer
    marks = marks_of(outputs, tokenizer, search)
    times = saved.phone_times(marks, outputs.log_posteriors, len(chunk.waveform) / SAMPLE_RATE_HZ)
    phones = [
        TimedPhone(tokenizer.tokens[mark.label], chunk.start_s + time.start_s, chunk.start_s + time.end_s, time[2])
        for mark, time in zip(marks, times, strict=True)
    ]
    opening = marks[0].end_frame if marks and marks[0].start_frame == 0 else 0
    closes = bool(marks) and marks[-1].end_frame == len(outputs.best_rows)
    return ChunkPhones(phones, opening, marks[-1].end_frame - marks[-1].start_frame if closes else 0)


def joined(first: ChunkPhones, second: ChunkPhones) -> ChunkPhones:
    """The phones of two chunks that follow one another.

    A phone that is marked up to the cut and straight on behind it is one phone, as CTC reads it without the cut. Its
    posterior is the mean over the frames of both sides.
    """
    if not second.phones:
        return ChunkPhones(first.phones)
    if not first.phones:
        return second
    before, after = first.phones[-1], second.phones[0]
    left, right = first.closing_frames, second.opening_frames
    if not (left and right and before.phone == after.phone):
        return ChunkPhones([*first.phones, *second.phones], first.opening_frames, second.closing_frames)
    posterior = (left * before.posterior + right * after.posterior) / (left + right)
    whole = TimedPhone(before.phone, before.start_s, after.end_s, posterior)
    closing = second.closing_frames + (left if len(second.phones) == 1 and second.closing_frames else 0)
    return ChunkPhones([*first.phones[:-1], whole, *second.phones[1:]], first.opening_frames, closing)


def _chunks_of(paths: Iterable[Path], max_chunk_s: float, search_s: float, channel: int | None) -> Iterator[Item]:
    for path in paths:
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


def _transcript(saved: SavedModel, end: End, phones: list[TimedPhone]) -> Transcript:
    duration_s = end.num_samples / SAMPLE_RATE_HZ
    found = mean_posterior([item.posterior for item in phones])
    if saved.confidence is None or found is None:
        return Transcript(end.path, duration_s, phones, start_s=end.start_s)
    unlike = found < saved.confidence.unlike_below
    sure = saved.confidence.of(found)
    return Transcript(end.path, duration_s, phones, start_s=end.start_s, confidence=sure, unlike=unlike)


def transcribe_files(
    saved: SavedModel,
    paths: Iterable[Path],
    *,
    max_chunk_s: float = MAX_CHUNK_S,
    search_s: float = SEARCH_S,
    search: Search | None = None,
    channel: int | None = None,
) -> Iterator[Transcript | UserError]:
    """Transcribes recordings of any format and length; the memory that it takes does not grow with either.

    Args:
        saved: see `models.saved.load_saved`.
        paths: audio files.
        max_chunk_s: longer recordings are cut where it is quiet.
        search_s: how far before the longest possible chunk a quiet place is looked for.
        search: see `scoring.beam`; None decodes greedily.
        channel: of recordings with several, from 0; None for the mean of all.

    Yields:
        For each file, in order, its transcript, or the fault for which it has none.
    """
    return transcripts_of(saved, _chunks_of(paths, max_chunk_s, search_s, channel), search)


def transcripts_of(saved: SavedModel, items: Iterable[Item], search: Search | None) -> Iterator[Transcript | UserError]:
    """For each end of chunks the transcript of those before it."""
    heard = ChunkPhones([])
    pools = _pools(items)
    if saved.built.model.device.type != "cpu":
        pools = ahead(pools, POOLS_AHEAD)
    for pool in pools:
        decoded = iter(decode_chunks(saved, [item for item in pool if isinstance(item, Chunk)], search))
        for item in pool:
            if isinstance(item, Chunk):
                heard = joined(heard, next(decoded))
                continue
            if isinstance(item, UserError):
                yield item
            else:
                yield _transcript(saved, item, heard.phones)
            heard = ChunkPhones([])
