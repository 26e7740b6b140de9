"""A model's own transcripts of recordings that nobody labelled, as a manifest to train on (`data.further`).

Source: Xie et al. 2020, "Self-training with Noisy Student"; Kahn et al. 2020, "Self-training for End-to-End Speech
Recognition", for the filter by confidence.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from unispeech_ft.data.audio import SAMPLE_RATE_HZ
from unispeech_ft.errors import UserError
from unispeech_ft.files import write_text
from unispeech_ft.models.saved import SavedModel
from unispeech_ft.scoring.confidence import mean_posterior
from unispeech_ft.transcription.chunks import cut_chunks, recording_blocks
from unispeech_ft.transcription.decoding import GREEDY
from unispeech_ft.transcription.transcripts import SEARCH_S, End, Item, transcripts_of
from unispeech_ft.transcription.unlabelled import Recording

# Fewer say nothing of a phone's neighbours.
LEAST_PHONES = 4


class OwnLabel(NamedTuple):
    """What a model heard in a stretch of a recording, the share of it that is probably right, and who speaks."""

    path: str
    start_s: float
    end_s: float
    phones: tuple[str, ...]
    confidence: float
    speaker: str | None = None


def _stretches(paths: Iterable[Path], longest_s: float, channel: int | None) -> Iterator[Item]:
    for path in paths:
        try:
            for chunk in cut_chunks(recording_blocks(path, channel), longest_s, min(SEARCH_S, longest_s / 2)):
                yield chunk
                yield End(str(path), len(chunk.waveform), chunk.start_s)
        except UserError as error:
            yield error


def own_labels(
    saved: SavedModel, recordings: Sequence[Recording], longest_s: float, channel: int | None = None
) -> Iterator[OwnLabel | UserError]:
    """What a model hears in recordings, cut where it is quiet, or the fault of one that cannot be read.

    Stretches of few phones, and those that are unlike the speech that the model was made for, are left out. Of a model
    that does not say what its posteriors mean, their mean stands for the confidence.

    Args:
        longest_s: of a stretch.
        channel: of each recording, from 0, that is heard; None for the mean of all.
    """
    speakers = {str(item.path): item.speaker for item in recordings}
    for found in transcripts_of(saved, _stretches([item.path for item in recordings], longest_s, channel), GREEDY):
        if isinstance(found, UserError):
            yield found
            continue
        posterior = mean_posterior([item.posterior for item in found.phones])
        if posterior is None or len(found.phones) < LEAST_PHONES or found.unlike:
            continue
        start_s = found.start_s or 0.0
        confidence = posterior if found.confidence is None else found.confidence
        phones = tuple(item.phone for item in found.phones)
        yield OwnLabel(found.path, start_s, start_s + found.duration_s, phones, confidence, speakers[found.path])


def surest(labels: Sequence[OwnLabel], share: float) -> list[OwnLabel]:
    """Those that are likeliest right, up to a share of the time of all, in the order of recordings and times."""
    room = share * sum(label.end_s - label.start_s for label in labels)
    kept: list[OwnLabel] = []
    for label in sorted(labels, key=lambda item: (-item.confidence, item.path, item.start_s)):
        room -= label.end_s - label.start_s
        if room < -1 / SAMPLE_RATE_HZ:
            break
        kept.append(label)
    return sorted(kept)


def write_labels(file: Path, labels: Sequence[OwnLabel]) -> None:
    """Writes them as a manifest, whole or not at all."""
    lines = ["path\tstart\tend\tphones\tconfidence\tspeaker\n"]
    for label in labels:
        path = Path(label.path).resolve()
        cells = (str(path), f"{label.start_s:.4f}", f"{label.end_s:.4f}", " ".join(label.phones))
        lines.append("\t".join((*cells, f"{label.confidence:.4f}", label.speaker or "")) + "\n")
    write_text(file, "".join(lines))
