"""Long recordings: chunks, the voices of each, and which of them are one person.

`T` frames, `P` local speakers, `E` values of a vector, `M` local speakers of all chunks.
Source: downstreams/speaker_diarization of microsoft/UniSpeech (constrained clustering with average linkage).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import pdist, squareform

from unispeech_ft.data.audio import AUDIO_ENDINGS, SAMPLE_RATE_HZ, BadClip, Waveform, read_audio
from unispeech_ft.data.row import row_of
from unispeech_ft.errors import UserError
from unispeech_ft.models.families import frame_grid
from unispeech_ft.models.front_end import FrontEnd
from unispeech_ft.models.loader import small_files
from unispeech_ft.models.saved import saved_front_end
from unispeech_ft.scoring.diarization import Segment, segments_of
from unispeech_ft.tasks.speaker_diarization.evaluate import smoothed
from unispeech_ft.tasks.speaker_diarization.model import hear, load_diarization

# Two local speakers of one chunk are two people, however alike they sound.
CANNOT_LINK = 1e4
# A local speaker who speaks in a smaller share of a chunk is silent.
LEAST_SHARE = 0.02
# torch's own, as in training.
EPS = 1e-5


@dataclass(frozen=True)
class Settings:
    """How segments are made.

    Attributes:
        threshold: of the probability of speaking.
        median: frames that are smoothed over.
        chunk_s: of a recording heard at once.
        apart: distance above which two local speakers are two people.
        num_speakers: where it is known.
    """

    threshold: float
    median: int
    chunk_s: float
    apart: float
    num_speakers: int | None = None


def same_people(
    vectors: npt.NDArray[np.float64], chunks: Sequence[int], apart: float, num_speakers: int | None = None
) -> list[int]:
    """The person of each local speaker, from 0 in the order of appearance.

    Args:
        vectors: `[M, E]`, of unit length.
        chunks: of each local speaker; two of one chunk are never one person.
        num_speakers: of the recording, where it is known; no fewer than speak in one chunk.
    """
    if len(vectors) < 2:
        return [0] * len(vectors)
    distances = squareform(pdist(vectors))
    together = np.asarray(chunks)[:, None] == np.asarray(chunks)[None, :]
    distances[together & ~np.eye(len(vectors), dtype=bool)] = CANNOT_LINK
    tree = linkage(squareform(distances), method="average")
    if num_speakers is None:
        labels = fcluster(tree, apart, criterion="distance")
    else:
        most_at_once = max(np.bincount(np.asarray(chunks)))
        labels = fcluster(tree, max(num_speakers, int(most_at_once)), criterion="maxclust")
    seen: dict[int, int] = {}
    return [seen.setdefault(int(label), len(seen)) for label in labels]


@torch.no_grad()
def diarize(network: Any, front_end: FrontEnd, samples: Waveform, settings: Settings) -> list[Segment]:
    """Who speaks when in a recording `[S]`; people are called S1, S2 … in the order in which they speak.

    Args:
        network: in evaluation mode.
    """
    grid, length = frame_grid(network.config), round(settings.chunk_s * SAMPLE_RATE_HZ)
    pieces: list[tuple[float, npt.NDArray[np.bool_]]] = []
    vectors: list[npt.NDArray[np.float64]] = []
    owners: list[tuple[int, int]] = []
    for start in range(0, len(samples), length):
        chunk = samples[start : start + length]
        if not front_end.num_frames(len(chunk)):
            continue  # what is left at the end is shorter than a frame
        said = hear(network, row_of([front_end(chunk).cpu().numpy()]).to(network.device))
        probabilities = network.head.probabilities(said.logits).cpu().numpy()
        active = smoothed(probabilities, settings.threshold, settings.median)
        for speaker in np.flatnonzero(active.mean(axis=0) > LEAST_SHARE).tolist():
            # Where another speaks as well, a frame says less of this voice.
            alone = active[:, speaker] & (active.sum(axis=1) == 1)
            used = alone if alone.any() else active[:, speaker]
            mean = said.vectors[:, speaker].double().cpu().numpy()[used].mean(axis=0)
            vectors.append(mean / max(float(np.linalg.norm(mean)), 1e-12))
            owners.append((len(pieces), speaker))
        pieces.append((start / SAMPLE_RATE_HZ, active))
    if not vectors:
        return []
    people = same_people(np.stack(vectors), [piece for piece, _ in owners], settings.apart, settings.num_speakers)
    found: list[Segment] = []
    for (piece, speaker), person in zip(owners, people, strict=True):
        start_s, active = pieces[piece]
        found += segments_of(active[:, [speaker]], [f"S{person + 1}"], grid.step_s, start_s + grid.offset_s)
    return sorted(found, key=lambda item: (item.start_s, item.speaker))


def load_diarizer(name: str, num_speakers: int | None = None) -> tuple[Any, FrontEnd, Settings]:
    """The network of a model folder, its front end, and the settings that validation chose.

    Raises:
        UserError: it is no folder of this task.
    """
    network = load_diarization(name)
    front_end = saved_front_end(name, small_files(name), network, EPS)
    said = {key: network.config.head.get(key) for key in ("threshold", "median", "chunk_s", "apart")}
    if None in said.values():
        raise UserError(f"{name}: config.json: head lacks what validation chose", remedy="train it to its end")
    return network, front_end, Settings(**said, num_speakers=num_speakers)


def read_recordings(folder: Path, names: Sequence[str], key: str) -> dict[str, Waveform]:
    """The recordings of a folder by the names of an RTTM file.

    Raises:
        UserError: one is missing or cannot be read.
    """
    files = {path.stem: path for path in sorted(folder.rglob("*")) if path.suffix.lower() in AUDIO_ENDINGS}
    missing = [name for name in names if name not in files]
    if missing:
        raise UserError(
            f"{key}: {folder} lacks {len(missing)} of {len(names)} recordings ({missing[0]} …)",
            remedy="name the folder of the audio that the RTTM file speaks of",
        )
    try:
        return {name: read_audio(files[name]) for name in names}
    except BadClip as error:
        raise UserError(f"{key}: {error}", remedy="mend that recording, or take it out of the RTTM file") from None
