"""What the head says of chunks of recordings → phones in time, and words where they are looked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from unispeech_ft.data.audio import SAMPLE_RATE_HZ, pack, sounds, unpack
from unispeech_ft.models.decoding import FrameOutputs, Started, marks_of, started_batches
from unispeech_ft.models.saved import SavedModel
from unispeech_ft.scoring.alternatives import likeliest, mean_posteriors
from unispeech_ft.scoring.beam import Search
from unispeech_ft.scoring.words import WordSearch
from unispeech_ft.transcription.chunks import Chunk
from unispeech_ft.transcription.timed import TimedPhone, TimedWord


@dataclass(frozen=True)
class Decoding:
    """How phones are found.

    Attributes:
        search: see `scoring.beam`; None decodes greedily.
        words: see `scoring.words`; takes the place of `search`.
        alternatives: so many other phones are given with each.
    """

    search: Search | None = None
    words: WordSearch | None = None
    alternatives: int = 0


GREEDY = Decoding()


@dataclass(frozen=True)
class ChunkPhones:
    """What was recognised in one chunk, timed from the start of its recording.

    Attributes:
        opening_frames: that mark the first phone, if the very first frame does; else 0.
        closing_frames: that mark the last phone, if the very last frame does; else 0.
        opening_means, closing_means: over these, the posterior of every phone, where alternatives are wanted.
    """

    phones: list[TimedPhone]
    opening_frames: int = 0
    closing_frames: int = 0
    words: list[TimedWord] = field(default_factory=list)
    opening_means: Mapping[str, float] = field(default_factory=dict)
    closing_means: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class StartedChunks:
    """Chunks on their way through the model.

    Attributes:
        heard: places among all chunks of those that hold sound.
        batches: indices in `heard`, and what the head says of them.
    """

    chunks: Sequence[Chunk]
    heard: Sequence[int]
    batches: Sequence[tuple[list[int], Started]]


def start_chunks(saved: SavedModel, chunks: Sequence[Chunk]) -> StartedChunks:
    """Sends chunks through the model.

    Each is treated as evaluation treats a clip, its 16-bit storage included, so that both find the same phones.
    """
    front_end = saved.built.front_end
    heard = [
        place
        for place, chunk in enumerate(chunks)
        if front_end.num_frames(len(chunk.waveform)) and sounds(chunk.waveform)
    ]
    if not heard:
        return StartedChunks(chunks, [], [])
    features = front_end.several([unpack(*pack(chunks[place].waveform)) for place in heard])
    num_samples = [len(chunks[place].waveform) for place in heard]
    return StartedChunks(chunks, heard, list(started_batches(saved.built.model, features.__getitem__, num_samples)))


def decode_chunks(saved: SavedModel, started: StartedChunks, decoding: Decoding = GREEDY) -> list[ChunkPhones]:
    """Phones of each chunk; none where there is no sound at all."""
    found = [ChunkPhones([])] * len(started.chunks)
    for indices, batch in started.batches:
        for index, outputs in zip(indices, batch.outputs(), strict=True):
            place = started.heard[index]
            found[place] = _chunk_phones(saved, outputs, started.chunks[place], decoding)
    return found


def _chunk_phones(saved: SavedModel, outputs: FrameOutputs, chunk: Chunk, decoding: Decoding) -> ChunkPhones:
    tokenizer, search = saved.tokenizer, decoding.search
    said: list[tuple[str, list[int]]] = []
    if decoding.words:
        said = decoding.words(outputs.log_posteriors)
        labels = [label for _, own in said for label in own]
        search = lambda _: labels  # noqa: E731  # what `marks_of` takes
    marks = marks_of(outputs, tokenizer, search)
    times = saved.phone_times(marks, outputs.log_posteriors, len(chunk.waveform) / SAMPLE_RATE_HZ)
    wanted = decoding.alternatives
    means = mean_posteriors(marks, outputs.log_posteriors, tokenizer) if wanted else [{} for _ in marks]
    phones = []
    for mark, (start_s, end_s, posterior), others in zip(marks, times, means, strict=True):
        phone = tokenizer.tokens[mark.label]
        span = chunk.start_s + start_s, chunk.start_s + end_s
        phones.append(TimedPhone(phone, *span, posterior, likeliest(others, phone, wanted)))
    opening = marks[0].end_frame if marks and marks[0].start_frame == 0 else 0
    closes = bool(marks) and marks[-1].end_frame == len(outputs.best_rows)
    closing = marks[-1].end_frame - marks[-1].start_frame if closes else 0
    first, last = (means[0], means[-1]) if means else ({}, {})
    return ChunkPhones(phones, opening, closing, _timed_words(said, phones), first, last)


def _timed_words(said: Sequence[tuple[str, Sequence[int]]], phones: Sequence[TimedPhone]) -> list[TimedWord]:
    words, place = [], 0
    for word, labels in said:
        if word:
            words.append(TimedWord(word, phones[place].start_s, phones[place + len(labels) - 1].end_s))
        place += len(labels)
    return words


def joined(first: ChunkPhones, second: ChunkPhones) -> ChunkPhones:
    """The phones of two chunks that follow one another.

    A phone that is marked up to the cut and straight on behind it is one phone, as CTC reads it without the cut, unless
    words end and begin there. Its posterior is the mean over the frames of both sides.
    """
    if not second.phones:
        return replace(first, closing_frames=0, closing_means={})
    if not first.phones:
        return second
    before, after = first.phones[-1], second.phones[0]
    left, right = first.closing_frames, second.opening_frames
    words = [*first.words, *second.words]
    if words or not (left and right and before.phone == after.phone):
        phones = [*first.phones, *second.phones]
        return replace(
            second, phones=phones, opening_frames=first.opening_frames, words=words, opening_means=first.opening_means
        )
    share = left / (left + right)
    means = {
        phone: share * mean + (1 - share) * second.opening_means[phone] for phone, mean in first.closing_means.items()
    }
    whole = TimedPhone(
        before.phone,
        before.start_s,
        after.end_s,
        share * before.posterior + (1 - share) * after.posterior,
        likeliest(means, before.phone, len(before.alternatives)),
    )
    one = len(second.phones) == 1 and bool(second.closing_frames)
    return ChunkPhones(
        [*first.phones[:-1], whole, *second.phones[1:]],
        first.opening_frames,
        second.closing_frames + (left if one else 0),
        words,
        first.opening_means,
        means if one else second.closing_means,
    )
