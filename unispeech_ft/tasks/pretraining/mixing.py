"""Utterance mixing: pieces of other speech, or noise, within clips whose classes stay their own.

`S` samples at 16 kHz. What is mixed with what is drawn first (`draw_mixing`, by name), then `mix` is a pure function.
Source: Chen et al. 2022 (WavLM), section III-B; src/fairseq/data/audio/utterance_mixing_dataset.py of
microsoft/UniSpeech, with which tests/tasks/pretraining/test_mixing.py compares. The original mixes row after row of a
padded batch: padding counts as silence of the clip (and is silence no more once it has been normalised), and what is
mixed in may be a mixture already, or the clip itself. Here a clip ends where it ends and is mixed with the others as
they were; `mixing.over_padding`, `mixing.in_place` and `mixing.with_itself` bring the original's ways back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np

from unispeech_ft.data.audio import BadClip, Waveform, normalise_waveform, read_audio
from unispeech_ft.data.shards import read_units
from unispeech_ft.errors import UserError
from unispeech_ft.randomness import Stream, generator
from unispeech_ft.tasks.pretraining.config import MixingConfig

# Of which the clips of a micro-batch take theirs.
NOISES_A_MICRO_BATCH = 2
NOISES_IN_MEMORY = 32


@dataclass(frozen=True)
class Addition:
    """A piece that is added to a clip; places and lengths in samples.

    Attributes:
        source: number of the clip, or of the noise, that it is cut from.
        start: where it is cut from.
        place: where it is added.
        snr_db: the clip's power above the source's, both measured over their whole length.
    """

    kind: Literal["utterance", "noise"]
    source: int
    start: int
    place: int
    length: int
    snr_db: float


def _power(samples: Waveform) -> np.float32:
    return np.float32(np.square(samples).mean()) if len(samples) else np.float32(0)


def mix(
    clips: Sequence[Waveform],
    noises: Sequence[Waveform],
    additions: Sequence[Sequence[Addition]],
    *,
    normalize_eps: float | None,
    in_place: bool = False,
) -> list[Waveform]:
    """Clips `[S_i]` with pieces of each other and of noises in them; those without additions stay as they are.

    Args:
        noises: `[S_j]`.
        additions: to each clip, one after another; a silent source adds nothing.
        normalize_eps: of the normalisation of every clip that was mixed; None for none.
        in_place: pieces come from clips as they are by then, mixed already where they come first.
    """
    mixed = list(clips)
    for number, wanted in enumerate(additions):
        if not wanted:
            continue
        clip = mixed[number].copy()
        mixed[number] = clip if in_place else mixed[number]
        for addition in wanted:
            of_kind = noises if addition.kind == "noise" else mixed if in_place else clips
            source = of_kind[addition.source]
            piece = source[addition.start : addition.start + addition.length].copy()
            power = _power(source) * np.float32(10 ** (addition.snr_db / 10))
            if power > 0:
                clip[addition.place : addition.place + len(piece)] += np.sqrt(_power(clip) / power) * piece
        mixed[number] = clip if normalize_eps is None else normalise_waveform(clip, normalize_eps)
    return mixed


def _between(random: np.random.Generator, last: int) -> int:
    """A whole number from 0 to `last`."""
    return int(random.integers(0, max(0, last) + 1))


def draw_mixing(
    num_samples: Sequence[int], noise_samples: Sequence[int], mixing: MixingConfig, name: Sequence[int]
) -> list[list[Addition]]:
    """What is added to each clip of a micro-batch, drawn by name.

    Args:
        num_samples: of each clip.
        noise_samples: of each noise; only clips that are drawn for noise take any.
        name: seed, update and micro-batch.
    """
    random = generator(name[0], Stream.MIXING, *name[1:])
    found: list[list[Addition]] = []
    for clip, length in enumerate(num_samples):
        wanted: list[Addition] = []
        others = [other for other in range(len(num_samples)) if mixing.with_itself or other != clip]
        if random.random() < mixing.prob:
            noisy = bool(noise_samples) and random.random() < mixing.noise_prob
            lengths, (low, high) = (noise_samples, mixing.noise_snr_db) if noisy else (num_samples, mixing.snr_db)
            for _ in range(mixing.most_pieces if noisy or others else 0):
                source = (
                    _between(random, len(noise_samples) - 1) if noisy else others[_between(random, len(others) - 1)]
                )
                piece = min(_between(random, int(mixing.longest_share * length)), lengths[source])
                start, place = _between(random, lengths[source] - piece), _between(random, length - piece)
                snr_db = float(random.uniform(low, high))
                wanted.append(Addition("noise" if noisy else "utterance", source, start, place, piece, snr_db))
        found.append(wanted)
    return found


@lru_cache(maxsize=1)
def noise_files(root: str) -> tuple[str, ...]:
    """The recordings below a folder of noise, sorted.

    Raises:
        UserError: there are none.
    """
    folder = Path(root).expanduser()
    found = [] if not folder.is_dir() else [item["path"] for item in read_units([(str(folder), 0, 1)], "folder", "")]
    if not found:
        raise UserError(f"mixing.noise_root: no recordings below {folder}", remedy="name a folder of noise")
    return tuple(sorted(found))


@lru_cache(maxsize=NOISES_IN_MEMORY)
def _noise(path: str) -> Waveform:
    try:
        return read_audio(Path(path))
    except BadClip as error:
        raise UserError(f"mixing.noise_root: {path}: {error}", remedy="mend or remove it") from None


def drawn_noises(mixing: MixingConfig, name: Sequence[int]) -> list[Waveform]:
    """The noises of a micro-batch, drawn by name; none where noise is not wanted.

    Raises:
        UserError: there are none, or one cannot be read.
    """
    if mixing.noise_root is None or mixing.noise_prob == 0:
        return []
    files = noise_files(mixing.noise_root)
    random = generator(name[0], Stream.NOISE, *name[1:])
    return [_noise(files[place]) for place in random.integers(0, len(files), NOISES_A_MICRO_BATCH).tolist()]
