"""Mixtures of a split → speakers → SI-SDRi, beside what masks made of the true speakers reach.

`P` speakers, `S` samples.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from unispeech_ft.data.batch_plan import evaluation_batches
from unispeech_ft.data.row import row_of
from unispeech_ft.models.decoding import seconds_per_batch
from unispeech_ft.models.feature_cache import ComputedFeatures, FeatureStore
from unispeech_ft.scoring.bootstrap import percentile_interval
from unispeech_ft.scoring.separation import improvement
from unispeech_ft.tasks.speech_separation.mixtures import Mixtures
from unispeech_ft.tasks.speech_separation.model import separated, sounds_of, spectra

if TYPE_CHECKING:
    from accelerate import Accelerator

UNITS_A_DB = 10_000


def separate_some(
    network: Any, mixtures: Mixtures, store: FeatureStore | ComputedFeatures, rows: Sequence[int]
) -> npt.NDArray[np.float32]:
    """Mixtures by row → `[rows, P, S]`.

    Args:
        network: in evaluation mode.
    """
    row = row_of([store.clip(place) for place in rows]).to(network.device)
    heard = torch.from_numpy(np.stack([mixtures.waveform(place) for place in rows])).to(network.device)
    return separated(network, row, heard).cpu().numpy()


def improvements(
    network: Any, mixtures: Mixtures, store: FeatureStore | ComputedFeatures, accelerator: Accelerator
) -> list[float]:
    """The SI-SDRi of each mixture of a split, every process a part of them."""
    was_training = network.training
    network.eval()
    num_samples = mixtures.num_samples.tolist()
    batches = evaluation_batches(num_samples, seconds_per_batch(network, num_samples))
    mine: list[tuple[int, float]] = []
    for places in batches[accelerator.process_index :: accelerator.num_processes]:
        with accelerator.autocast():
            found = separate_some(network, mixtures, store, places)
        for place, speakers in zip(places, found, strict=True):
            mine.append((place, improvement(speakers, mixtures.sources(place), mixtures.waveform(place))))
    network.train(was_training)
    if accelerator.num_processes > 1:
        from accelerate.utils import gather_object

        mine = gather_object(mine)
    by_place = dict(mine)
    return [by_place[place] for place in range(len(mixtures))]


def ceilings(mixtures: Mixtures, window: int, hop: int) -> list[float]:
    """The SI-SDRi of each mixture with ratio masks of the true magnitudes, which hardly any network gets above."""
    found = []
    for place in range(len(mixtures)):
        heard, sources = mixtures.waveform(place), mixtures.sources(place)
        mixed, alone = (spectra(torch.from_numpy(sounds), window, hop) for sounds in (heard, sources))
        masks = alone.abs() / alone.abs().sum(dim=0).clamp(min=1e-8)
        best = sounds_of(masks * mixed, window, hop, len(heard))
        found.append(improvement(best.numpy(), sources, heard))
    return found


@dataclass(frozen=True)
class Summary:
    """What `summary.json` holds; dB. The interval is drawn by mixture (10,000 draws, seed 0)."""

    si_sdri_db: float
    si_sdri_db_ci95: tuple[float, float] | None
    si_sdri_db_oracle_ratio_mask: float
    mixtures: int
    mixtures_sha256: str
    speakers_of_a_mixture: int
    mixture_s: float
    speakers: int
    window: int
    hop: int
    model: str
    split: str
    seconds: float


def summarize(
    found: Sequence[float], mixtures: Mixtures, *, window: int, hop: int, model: str, split: str, started: float
) -> Summary:
    """The figures of a split from the SI-SDRi of each mixture."""
    units = [round(UNITS_A_DB * value) for value in found]
    ends = percentile_interval(lambda d, n: d / n / UNITS_A_DB, (units, [1] * len(units)), 10_000, 0)
    made = mixtures.conversations
    return Summary(
        float(np.mean(found)),
        ends,
        float(np.mean(ceilings(mixtures, window, hop))),
        len(found),
        hashlib.sha256(mixtures.key.encode()).hexdigest(),
        made.settings.speakers[1],
        made.settings.duration_s,
        len(made.speakers),
        window,
        hop,
        model,
        split,
        round(time.perf_counter() - started, 3),
    )


def result_line(summary: Summary) -> str:
    """The outcome for people."""
    ends = summary.si_sdri_db_ci95
    interval = f"{ends[0]:.2f}–{ends[1]:.2f} dB, by mixture" if ends else "none"
    return (
        f"{summary.split} SI-SDRi {summary.si_sdri_db:.2f} dB  (95 % interval {interval}; the mixture itself 0,"
        f" oracle ratio mask {summary.si_sdri_db_oracle_ratio_mask:.2f} dB; {summary.mixtures} mixtures of"
        f" {summary.mixture_s:g} s, {summary.speakers} speakers, {summary.speakers_of_a_mixture} at once)"
    )
