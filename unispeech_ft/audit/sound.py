"""Faults of recordings: clipping, silence, and clips that are too short or long for what is said in them.

`S` samples, `F` windows of 25 ms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from unispeech_ft.audit.findings import Finding, level_of_share
from unispeech_ft.data.audio import SAMPLE_RATE_HZ, Waveform
from unispeech_ft.data.labels import LabelledSplit

WINDOW_SAMPLES = SAMPLE_RATE_HZ // 40
FULL_SCALE = 0.99
CLIPPED_SHARE = 0.001
QUIET_DBFS = -55.0
SILENT_BELOW_LOUDEST_DB = 40.0
SILENT_SHARE = 0.7
SERIOUS_SHARE = 0.05
OUTLIER_DEVIATIONS = 6.0
LEAST_DEVIATION = 0.1


@dataclass(frozen=True)
class Sound:
    """What is measured of one clip.

    Attributes:
        clipped_share: samples at full scale.
        loudest_dbfs: level of the loudest window of 25 ms.
        silent_share: windows 40 dB or more below the loudest.
    """

    clipped_share: float
    loudest_dbfs: float
    silent_share: float


def measure(waveform: Waveform) -> Sound:
    """Clipping and silence of a waveform `[S]`, full scale ±1."""
    whole = waveform[: len(waveform) // WINDOW_SAMPLES * WINDOW_SAMPLES]
    windows = (whole if len(whole) else waveform).reshape(-1, WINDOW_SAMPLES if len(whole) else len(waveform))
    power = np.maximum(np.mean(np.square(windows.astype(np.float64)), axis=1), 1e-12)
    levels_db = 10 * np.log10(power)
    loudest = float(levels_db.max())
    silent = float(np.mean(levels_db < loudest - SILENT_BELOW_LOUDEST_DB))
    return Sound(float(np.mean(np.abs(waveform) >= FULL_SCALE)), loudest, silent)


def sound_findings(split: str, sounds: dict[str, Sound]) -> list[Finding]:
    """Clips that are clipped, nearly silent, or mostly silence."""
    clipped = {name: sound.clipped_share for name, sound in sounds.items() if sound.clipped_share > CLIPPED_SHARE}
    quiet = {name: -sound.loudest_dbfs for name, sound in sounds.items() if sound.loudest_dbfs < QUIET_DBFS}
    silent = {name: sound.silent_share for name, sound in sounds.items() if sound.silent_share > SILENT_SHARE}
    kinds = [
        ("clipping", clipped, f"are clipped (more than {100 * CLIPPED_SHARE:g} % of their samples at full scale)"),
        ("quiet", quiet, f"never get louder than {QUIET_DBFS:g} dBFS"),
        ("silence", silent, f"are silent for more than {100 * SILENT_SHARE:g} % of their time"),
    ]
    findings = []
    for name, found, what in kinds:
        if found:
            worst = tuple(sorted(found, key=lambda id_: -found[id_]))
            level = level_of_share(len(found), len(sounds), SERIOUS_SHARE)
            said = f"{len(found)} of {len(sounds)} clips {what}"
            findings.append(Finding(name, level, split, said, len(found), worst, "listen to them"))
    return findings


def split_sounds(labelled: LabelledSplit) -> dict[str, Sound]:
    """Measures every clip of a split, by utterance id."""
    return {n: measure(labelled.audio.waveform(row)) for n, row in zip(labelled.ids, labelled.rows, strict=True)}


def duration_outliers(labelled: LabelledSplit) -> list[Finding]:
    """Utterances with far more or fewer phones a second than the others: wrong sentence, or a cut recording."""
    if len(labelled) < 10:
        return []
    counts = np.array([len(phones) for phones in labelled.phones], dtype=np.float64)
    rates = np.log(counts / (labelled.num_samples / SAMPLE_RATE_HZ))
    middle = float(np.median(rates))
    deviation = max(1.4826 * float(np.median(np.abs(rates - middle))), LEAST_DEVIATION)
    far = np.abs(rates - middle) / deviation
    places: Sequence[int] = [int(place) for place in np.argsort(-far) if far[place] > OUTLIER_DEVIATIONS]
    if not places:
        return []
    shown = tuple(f"{labelled.ids[place]} ({np.exp(rates[place]):.1f} a second)" for place in places)
    what = f"{len(places)} utterances have far more or fewer phones a second than the usual {np.exp(middle):.1f}"
    level = level_of_share(len(places), len(labelled), SERIOUS_SHARE)
    return [Finding("duration_outliers", level, labelled.split, what, len(places), shown, "listen to them")]
