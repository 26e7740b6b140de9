"""Stretches of a recording, transcribed or aligned without the rest; it is decoded once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from unispeech_ft.data.audio import SAMPLE_RATE_HZ, BadClip, Waveform, cut_segments, pack, unpack
from unispeech_ft.errors import UserError
from unispeech_ft.models.saved import SavedModel
from unispeech_ft.transcription.alignment import Words, align_words
from unispeech_ft.transcription.chunks import CONVERT, Chunk, cut_chunks
from unispeech_ft.transcription.decoding import GREEDY, Decoding
from unispeech_ft.transcription.timed import Transcript
from unispeech_ft.transcription.transcripts import MAX_CHUNK_S, SEARCH_S, End, Item, transcripts_of


def transcribe_spans(
    saved: SavedModel,
    path: Path,
    spans: Sequence[tuple[float, float]],
    *,
    decoding: Decoding = GREEDY,
    channel: int | None = None,
) -> Iterator[Transcript | UserError]:
    """Transcribes stretches of a recording; times are those of the recording.

    Args:
        spans: (start, end) in seconds, in the order of their starts; they may overlap.
        decoding: how phones are found.
        channel: of recordings with several, from 0; None for the mean of all.

    Yields:
        For each stretch, in order, its transcript, or the fault for which it has none.

    Raises:
        UserError: the recording cannot be read.
    """
    return transcripts_of(saved, _items(path, spans, channel), decoding)


def align_spans(
    saved: SavedModel,
    path: Path,
    spans: Sequence[tuple[float, float]],
    texts: Sequence[str],
    read: Callable[[str], Words],
    channel: int | None = None,
    alternatives: int = 0,
) -> Iterator[Transcript | UserError]:
    """Places the known texts of stretches of a recording in time, as `transcribe_spans` does what it hears.

    Args:
        texts: of each stretch.
        read: their words; see `phonemes.g2p.pronounce_words`.
        alternatives: so many other phones are given with each.
    """
    for index, waveform in _cuts(path, spans, channel):
        if isinstance(waveform, UserError):
            yield waveform
            continue
        start_s = spans[index][0]
        try:
            words = read(texts[index])
            name, samples = f"{path} from {start_s:.3f} s", unpack(*pack(waveform))
            found = align_words(saved, name, words, waveform=samples, alternatives=alternatives)
        except UserError as fault:
            yield fault
            continue
        phones = [replace(item, start_s=start_s + item.start_s, end_s=start_s + item.end_s) for item in found.phones]
        said = [replace(item, start_s=start_s + item.start_s, end_s=start_s + item.end_s) for item in found.words]
        yield Transcript(str(path), found.duration_s, phones, said, start_s)


def _items(path: Path, spans: Sequence[tuple[float, float]], channel: int | None) -> Iterator[Item]:
    for index, waveform in _cuts(path, spans, channel):
        if isinstance(waveform, UserError):
            yield waveform
            continue
        start_s = spans[index][0]
        for chunk in cut_chunks([waveform], MAX_CHUNK_S, SEARCH_S):
            yield Chunk(chunk.waveform, round(start_s * SAMPLE_RATE_HZ) + chunk.start_sample)
        yield End(str(path), len(waveform), start_s)


def _cuts(
    path: Path, spans: Sequence[tuple[float, float]], channel: int | None
) -> Iterator[tuple[int, Waveform | UserError]]:
    named = {str(index): span for index, span in enumerate(spans)}
    try:
        for name, waveform in cut_segments(path, named, channel):
            start_s, end_s = named[name]
            if isinstance(waveform, BadClip):
                what = f"{path}: an interval from {start_s:.3f} to {end_s:.3f} s cannot be transcribed ({waveform})"
                yield int(name), UserError(what, remedy="check that the annotation is this recording's")
            else:
                yield int(name), waveform
    except BadClip as reason:
        raise UserError(f"{path}: {reason}", remedy=reason.remedy or CONVERT) from None
