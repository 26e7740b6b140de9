"""Changed copies of clips: another speed, a room, a noise. A copy is drawn once, by its name, and then a clip like any
other: the batch plan counts it, and its features are computed once.

`S` samples.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import conv1d, pad

from unispeech_ft.config.labelled import AugmentationConfig
from unispeech_ft.data.audio import AUDIO_ENDINGS, SAMPLE_RATE_HZ, BadClip, Waveform, read_audio
from unispeech_ft.data.simulated_sounds import SIMULATED, simulated_noises, simulated_rooms
from unispeech_ft.errors import UserError, warn
from unispeech_ft.randomness import Stream, generator


class Audio(Protocol):
    """Decoded clips by row."""

    @property
    def key(self) -> str: ...

    @property
    def num_samples(self) -> npt.NDArray[np.int64]: ...

    def waveform(self, row: int) -> Waveform: ...

    def name(self, row: int) -> str: ...


@dataclass(frozen=True)
class Change:
    """What a copy has of its own.

    Attributes:
        name: behind the clip's id; empty for the clip itself.
        speed: 0.9 is slower and lower.
        number: of a copy with room and noise, else None.
    """

    name: str = ""
    speed: float = 1.0
    number: int | None = None


def at_speed(waveform: Waveform, speed: float) -> Waveform:
    """`[S]` → about `[S / speed]`, resampled."""
    rate = round(SAMPLE_RATE_HZ * speed)
    shared = math.gcd(rate, SAMPLE_RATE_HZ)
    filters, reach = _sinc_filters(rate // shared, SAMPLE_RATE_HZ // shared)
    padded = pad(torch.from_numpy(waveform)[None, None], (reach, reach + rate // shared))
    changed = conv1d(padded, filters, stride=rate // shared)[0].T.reshape(-1)
    return np.asarray(changed[: int(samples_at_speed(np.array(len(waveform)), speed))].numpy(), dtype=np.float32)


def _sinc_filters(rate: int, wanted: int) -> tuple[torch.Tensor, int]:
    """Windowed-sinc filters `[wanted, 1, taps]` from one rate to another, without a common divisor, and their reach in
    samples: those of `torchaudio.functional.resample`, to the bit.

    Source: Smith, "Digital Audio Resampling Home Page", CCRMA.
    """
    crossings, cutoff = 6, 0.99 * min(rate, wanted)
    reach = math.ceil(crossings * rate / cutoff)
    places = torch.arange(-reach, reach + rate, dtype=torch.float32)[None, None] / rate
    phase = (torch.arange(0, -wanted, -1, dtype=torch.float32)[:, None, None] / wanted + places) * cutoff
    phase = phase.clamp(-crossings, crossings)
    window = torch.cos(phase * math.pi / crossings / 2) ** 2
    phase = phase * math.pi
    sinc = torch.where(phase == 0, torch.ones_like(phase), phase.sin() / phase)
    return sinc * (window * (cutoff / rate)), reach


def samples_at_speed(num_samples: npt.NDArray[np.int64], speed: float) -> npt.NDArray[np.int64]:
    """How many samples `at_speed` makes of so many."""
    rate = round(SAMPLE_RATE_HZ * speed)
    return -(-num_samples * SAMPLE_RATE_HZ // rate)


def in_room(waveform: Waveform, impulse: Waveform) -> Waveform:
    """Speech `[S]` in a room, from its direct sound on and as loud as before."""
    response = impulse[int(np.abs(impulse).argmax()) :]
    size = len(waveform) + len(response) - 1
    spectrum = torch.fft.rfft(torch.from_numpy(waveform), n=size) * torch.fft.rfft(torch.from_numpy(response), n=size)
    heard = torch.fft.irfft(spectrum, n=size)[: len(waveform)].numpy()
    return np.asarray(heard * _level(waveform) / max(_level(heard), 1e-8), dtype=np.float32)


def with_noise(waveform: Waveform, noise: Waveform, snr_db: float) -> Waveform:
    """Speech `[S]` and noise `[S]`, the speech so many decibels above."""
    speech, added = torch.from_numpy(waveform), torch.from_numpy(noise)
    energy, noise_energy = (torch.linalg.vector_norm(sound) ** 2 for sound in (speech, added))
    if not noise_energy > 0:
        return waveform
    snr_now_db = 10 * (torch.log10(energy) - torch.log10(noise_energy))
    gain = 10 ** ((snr_now_db - torch.tensor(snr_db)) / 20)
    return np.asarray((speech + gain * added).numpy(), dtype=np.float32)


def _level(waveform: Waveform) -> float:
    return float(np.sqrt(np.mean(np.square(waveform)))) if len(waveform) else 0.0


def piece_of(sound: Waveform, num_samples: int, random: np.random.Generator) -> Waveform:
    """So many samples from a random place of a sound, which goes round where it is shorter."""
    first = int(random.integers(len(sound)))
    return np.take(sound, np.arange(first, first + num_samples), mode="wrap")


def read_sounds(folder: str | None, key: str, *, but: str | None = None) -> list[Waveform]:
    """The sounds below a folder, in the order of their names; none without a folder. Those that cannot be read are left
    out with a warning.

    Args:
        but: a folder whose sounds are of another kind, which may lie below.

    Raises:
        UserError: it holds none that can be read.
    """
    if folder is None:
        return []
    root = Path(folder).expanduser()
    files = sorted(path for path in root.rglob("*") if path.suffix.lower() in AUDIO_ENDINGS)
    if but is not None and root.absolute() in (other := Path(but).expanduser().absolute()).parents:
        files = [path for path in files if not path.absolute().is_relative_to(other)]
    if not files:
        raise UserError(f"{key}: {folder} holds no audio", remedy="name a folder of audio files")
    found: list[Waveform] = []
    faults: list[str] = []
    for path in files:
        try:
            found.append(read_audio(path))
        except BadClip as error:
            faults.append(f"{path.relative_to(root)}: {error}")
    if not found:
        raise UserError(f"{key}: no audio of {folder} can be read ({faults[0]})", remedy="name a folder of audio files")
    if faults:
        warn(f"{key}: {len(faults)} of {len(files)} files of {folder} are left out ({faults[0]})")
    return found


def noises_and_rooms(settings: AugmentationConfig, seed: int) -> tuple[list[Waveform], list[Waveform]]:
    """What is below the two folders, of which one that lies in the other keeps its own; or what is simulated.

    Args:
        seed: of what is simulated.

    Raises:
        UserError: see `read_sounds`.
    """
    noise, rooms = settings.noise, settings.rooms
    noises = simulated_noises(seed) if noise == SIMULATED else read_sounds(noise, "augmentation.noise", but=rooms)
    return noises, simulated_rooms(seed) if rooms == SIMULATED else read_sounds(rooms, "augmentation.rooms", but=noise)


@dataclass(frozen=True)
class AugmentedAudio:
    """Prepared clips, then each of their changed copies, row behind row: copy `c` of row `r` is row
    `c · num_originals + r`.

    Attributes:
        changes: of each copy; the first is none.
    """

    audio: Audio
    changes: Sequence[Change]
    settings: AugmentationConfig
    seed: int
    noises: Sequence[Waveform]
    rooms: Sequence[Waveform]

    @property
    def num_originals(self) -> int:
        return len(self.audio.num_samples)

    @cached_property
    def key(self) -> str:
        """Identifies the audio by clips, settings, seed and sounds."""
        digest = hashlib.sha256(json.dumps([self.audio.key, self.settings.model_dump(), self.seed]).encode())
        for sound in (*self.noises, *self.rooms):
            digest.update(sound.tobytes())
        return digest.hexdigest()

    @cached_property
    def num_samples(self) -> npt.NDArray[np.int64]:
        """Samples at 16 kHz of each row."""
        return np.concatenate([samples_at_speed(self.audio.num_samples, change.speed) for change in self.changes])

    def duration_s(self, row: int) -> float:
        return float(self.num_samples[row]) / SAMPLE_RATE_HZ

    def name(self, row: int) -> str:
        """The id of a row."""
        return self.audio.name(row % self.num_originals) + self.changes[row // self.num_originals].name

    def waveform(self, row: int) -> Waveform:
        """The clip of a row: `[S]`, float32."""
        change = self.changes[row // self.num_originals]
        waveform = self.audio.waveform(row % self.num_originals)
        if change.speed != 1:
            waveform = at_speed(waveform, change.speed)
        if change.number is not None:
            random = generator(self.seed, Stream.AUGMENTATION, change.number, row % self.num_originals)
            if self.rooms and random.random() < self.settings.share:
                waveform = in_room(waveform, self.rooms[int(random.integers(len(self.rooms)))])
            if self.noises and random.random() < self.settings.share:
                noise = piece_of(self.noises[int(random.integers(len(self.noises)))], len(waveform), random)
                waveform = with_noise(waveform, noise, float(random.uniform(*self.settings.snr_db)))
        return waveform


def augmented_audio(audio: Audio, settings: AugmentationConfig, seed: int) -> AugmentedAudio:
    """The clips and their copies.

    Raises:
        UserError: see `read_sounds`.
    """
    changes = [Change(), *(Change(f"*{speed:g}", speed) for speed in settings.speeds if speed != 1)]
    changes += [Change(f"*copy{number}", number=number) for number in range(1, settings.copies + 1)]
    return AugmentedAudio(audio, changes, settings, seed, *noises_and_rooms(settings, seed))
