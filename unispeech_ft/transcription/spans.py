"""Stretches of a recording, transcribed without the rest; it is decoded once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from unispeech_ft.data.audio import SAMPLE_RATE_HZ, BadClip, cut_segments
from unispeech_ft.errors import UserError
from unispeech_ft.models.saved import SavedModel
from unispeech_ft.scoring.beam import Search
from unispeech_ft.transcription.chunks import CONVERT, Chunk, cut_chunks
from unispeech_ft.transcription.transcripts import MAX_CHUNK_S, SEARCH_S, End, Item, Transcript, transcripts_of


def transcribe_spans(
    saved: SavedModel,
    path: Path,
    spans: Sequence[tuple[float, float]],
    *,
    search: Search | None = None,
    channel: int | None = None,
) -> Iterator[Transcript | UserError]:
    """Transcribes stretches of a recording; times are those of the recording.

    Args:
        spans: (start, end) in seconds, in the order of their starts; they may overlap.
        search: see `scoring.beam`; None decodes greedily.
        channel: of recordings with several, from 0; None for the mean of all.

    Yields:
        For each stretch, in order, its transcript, or the fault for which it has none.

    Raises:
        UserError: the recording cannot be read.
    """
    return transcripts_of(saved, _items(path, spans, channel), search)


def _items(path: Path, spans: Sequence[tuple[float, float]], channel: int | None) -> Iterator[Item]:
    named = {str(index): span for index, span in enumerate(spans)}
    try:
        for name, waveform in cut_segments(path, named, channel):
            start_s, end_s = named[name]
            if isinstance(waveform, BadClip):
                what = f"{path}: an interval from {start_s:.3f} to {end_s:.3f} s cannot be transcribed ({waveform})"
                yield UserError(what, remedy="check that the annotation is this recording's")
                continue
            for chunk in cut_chunks([waveform], MAX_CHUNK_S, SEARCH_S):
                yield Chunk(chunk.waveform, round(start_s * SAMPLE_RATE_HZ) + chunk.start_sample)
            yield End(str(path), len(waveform), start_s)
    except BadClip as reason:
        raise UserError(f"{path}: {reason}", remedy=reason.remedy or CONVERT) from None
