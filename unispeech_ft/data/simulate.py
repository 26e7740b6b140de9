"""Conversations and mixtures made of single clips, each by its name: who speaks when is then known to the sample.

Each speaker says one clip after another with pauses between; the speakers overlap as it comes, and without pauses all
the time. A conversation is a clip like any other: the batch plan counts it, and its features are computed once.

`S` samples, `P` speakers of a conversation.
Source: Fujita et al. 2019 (end-to-end neural diarization), egs/mini_librispeech of hitachi-speech/EEND: exponential
pauses, rooms with probability ½, noise at 5 to 20 dB.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from unispeech_ft.config.labelled import AugmentationConfig, SimulationConfig
from unispeech_ft.data.audio import SAMPLE_RATE_HZ, Waveform
from unispeech_ft.data.augmentation import Audio, in_room, noises_and_rooms, piece_of, with_noise
from unispeech_ft.data.labelled import Clips
from unispeech_ft.data.utterances import SPLITS, Split
from unispeech_ft.errors import UserError
from unispeech_ft.randomness import Stream, generator
from unispeech_ft.scoring.diarization import Segment

# Speech is what stands less than so much below the loudest tenth of a second of its clip,
SPEECH_DB, HOP_S, WINDOW_S = 35.0, 0.01, 0.1
# and, where that lets noise through, so much above the quietest tenth, as long as it stands so much below the loudest.
ABOVE_NOISE_DB, SURELY_SPEECH_DB, QUIETEST = 6.0, 20.0, 0.1
# Names this rule among what conversations are known by.
SPANS = 2
# What is left of a clip after trimming, and pauses within it that count as speech.
MIN_SPEECH_S, BRIDGED_S = 0.1, 0.25


def speech_spans(waveform: Waveform) -> list[tuple[int, int]]:
    """(first, end) samples of the stretches of a clip in which somebody speaks, by their loudness."""
    hop, window = round(HOP_S * SAMPLE_RATE_HZ), round(WINDOW_S * SAMPLE_RATE_HZ)
    if len(waveform) < window:
        return []
    sums = np.concatenate([[0.0], np.cumsum(np.square(waveform, dtype=np.float64))])
    middles = np.arange(0, len(waveform), hop)
    power = sums[np.minimum(middles + window // 2, len(waveform))] - sums[np.maximum(middles - window // 2, 0)]
    if not power.max() > 0:
        return []
    power_db = 10 * np.log10(power + np.finfo(float).tiny)
    noise_db, loudest_db = float(np.quantile(power_db, QUIETEST)), float(power_db.max())
    above_noise_db = min(noise_db + ABOVE_NOISE_DB, loudest_db - SURELY_SPEECH_DB)
    loud = power_db > max(loudest_db - SPEECH_DB, above_noise_db)
    changes = np.flatnonzero(np.diff(np.concatenate([[False], loud, [False]]).astype(int)))
    runs = [(int(a), int(b)) for a, b in zip(changes[::2], changes[1::2], strict=True)]
    joined: list[tuple[int, int]] = []
    for first, end in runs:
        if joined and (first - joined[-1][1]) * HOP_S < BRIDGED_S:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((first, end))
    kept = [(first, end) for first, end in joined if (end - first) * HOP_S >= MIN_SPEECH_S]
    return [(first * hop, min(end * hop, len(waveform))) for first, end in kept]


@dataclass(frozen=True)
class Turn:
    """A clip in a conversation.

    Attributes:
        speaker: of the conversation, from 0.
        row: of the clip.
        cut: its samples that are used.
        start: sample of the conversation at which they begin.
        gain: they are multiplied by.
        spans: (first, end) samples of the conversation in which somebody speaks.
    """

    speaker: int
    row: int
    cut: tuple[int, int]
    start: int
    gain: float
    spans: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Conversations:
    """So many conversations; a row is one of them.

    Attributes:
        audio: the clips.
        speakers: of each clip that is used → rows of its clips.
        name_of_all: of the split, for their ids.
        num: how many.
        settings: how they are made.
        sounds: rooms and noises.
        seed: of the run.
    """

    audio: Audio
    speakers: dict[str, list[int]]
    name_of_all: str
    num: int
    settings: SimulationConfig
    sounds: AugmentationConfig
    seed: int
    _spans: dict[int, list[tuple[int, int]]] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        if len(self.speakers) < self.settings.speakers[0]:
            raise UserError(
                f"{self.name_of_all}: {len(self.speakers)} speakers, and a conversation needs"
                f" {self.settings.speakers[0]}",
                remedy="give more speakers, or set aside more of them for this split",
            )

    def __len__(self) -> int:
        return self.num

    @cached_property
    def key(self) -> str:
        """Identifies the sound of all conversations."""
        said = [self.audio.key, self.speakers, self.name_of_all, self.num, self.seed]
        said += [self.settings.model_dump(), self.sounds.model_dump(), SPANS]
        return hashlib.sha256(json.dumps(said).encode()).hexdigest()

    @property
    def num_samples(self) -> npt.NDArray[np.int64]:
        """`S` of each."""
        return np.full(self.num, round(self.settings.duration_s * SAMPLE_RATE_HZ), dtype=np.int64)

    def name(self, row: int) -> str:
        """`SPLIT-N`."""
        return f"{self.name_of_all}-{row}"

    @cached_property
    def _noises(self) -> tuple[list[Waveform], list[Waveform]]:
        return noises_and_rooms(self.sounds, self.seed)

    def _random(self, row: int, purpose: int) -> np.random.Generator:
        part = int.from_bytes(hashlib.sha256(self.name_of_all.encode()).digest()[:4])
        return generator(self.seed, Stream.SIMULATION, part, row, purpose)

    def _spans_of(self, row: int) -> list[tuple[int, int]]:
        if row not in self._spans:
            self._spans[row] = speech_spans(self.audio.waveform(row))
        return self._spans[row]

    def voices(self, row: int) -> list[str]:
        """The names of the speakers of a conversation, `P`."""
        random = self._random(row, 0)
        least, most = self.settings.speakers
        count = int(random.integers(least, min(most, len(self.speakers)) + 1))
        names = sorted(self.speakers)
        return [names[place] for place in random.choice(len(names), count, replace=False).tolist()]

    def turns(self, row: int) -> list[Turn]:
        """Who says which clip when in a conversation."""
        random, length = self._random(row, 1), int(self.num_samples[row])
        found: list[Turn] = []
        for speaker, name in enumerate(self.voices(row)):
            gain = 10 ** (random.uniform(-1, 1) * self.settings.level_db / 20)
            start = round(random.exponential(self.settings.pause_s) * SAMPLE_RATE_HZ)
            for _ in range(length):  # a clip without speech takes no time
                clip = self.speakers[name][int(random.integers(len(self.speakers[name])))]
                spans = self._spans_of(clip)
                if start >= length:
                    break
                if not spans:
                    continue
                first, end = spans[0][0], spans[-1][1]
                heard = tuple(
                    (a - first + start, min(b - first + start, length)) for a, b in spans if a - first + start < length
                )
                found.append(Turn(speaker, clip, (first, end), start, gain, heard))
                start += end - first + round(random.exponential(self.settings.pause_s) * SAMPLE_RATE_HZ)
        return found

    def sources(self, row: int) -> npt.NDArray[np.float32]:
        """Each speaker alone, in the room where there is one: `[P, S]`."""
        length, random = int(self.num_samples[row]), self._random(row, 2)
        alone = np.zeros((len(self.voices(row)), length), dtype=np.float32)
        for turn in self.turns(row):
            samples = self.audio.waveform(turn.row)[slice(*turn.cut)][: length - turn.start]
            level = float(np.sqrt(np.mean(np.square(samples)))) or 1.0
            alone[turn.speaker, turn.start : turn.start + len(samples)] += samples * (0.05 * turn.gain / level)
        rooms = self._noises[1]
        if rooms and random.random() < self.settings.room_share:
            alone = np.stack([in_room(voice, rooms[int(random.integers(len(rooms)))]) for voice in alone])
        return alone

    def mixture(self, row: int) -> tuple[Waveform, npt.NDArray[np.float32]]:
        """A conversation `[S]`, noise included, and each speaker alone as loud as there: `[P, S]`; float32."""
        sources = self.sources(row)
        mixed = sources.sum(axis=0)
        noises, random = self._noises[0], self._random(row, 3)
        if noises:
            noise = piece_of(noises[int(random.integers(len(noises)))], len(mixed), random)
            mixed = with_noise(mixed, noise, float(random.uniform(*self.sounds.snr_db)))
        peak = max(float(np.abs(mixed).max()), 1.0)
        return np.asarray(mixed / peak, dtype=np.float32), np.asarray(sources / peak, dtype=np.float32)

    def waveform(self, row: int) -> Waveform:
        """A conversation: `[S]`, float32."""
        return self.mixture(row)[0]

    def segments(self, row: int) -> list[Segment]:
        """Who speaks when; stretches of one speaker that touch are one."""
        found: list[Segment] = []
        for speaker, name in enumerate(self.voices(row)):
            spans = sorted(span for turn in self.turns(row) if turn.speaker == speaker for span in turn.spans)
            bounds = [spans[0]] if spans else []
            for _, span in pairwise(spans):
                if span[0] <= bounds[-1][1]:
                    bounds[-1] = (bounds[-1][0], max(bounds[-1][1], span[1]))
                else:
                    bounds.append(span)
            found += [Segment(name, first / SAMPLE_RATE_HZ, end / SAMPLE_RATE_HZ) for first, end in bounds]
        return found

    def activity(self, row: int, centres_s: npt.NDArray[np.float64], most: int) -> npt.NDArray[np.bool_]:
        """Who speaks at each frame: `[T, most]`, columns in the order of `voices`.

        Args:
            centres_s: `[T]`, of the frames.
        """
        active = np.zeros((len(centres_s), most), dtype=bool)
        samples = centres_s * SAMPLE_RATE_HZ
        for turn in self.turns(row):
            for first, end in turn.spans:
                active[(samples >= first) & (samples < end), turn.speaker] = True
        return active


def clips_by_speaker(speakers: Sequence[str | None], rows: Sequence[int]) -> dict[str, list[int]]:
    """Rows of the clips of each known speaker."""
    found: dict[str, list[int]] = {}
    for speaker, row in zip(speakers, rows, strict=True):
        if speaker:
            found.setdefault(speaker, []).append(int(row))
    return found


def simulate(
    clips: Clips, settings: SimulationConfig, sounds: AugmentationConfig, seed: int, held_out: str
) -> dict[Split, Conversations]:
    """The conversations of training, validation and test; each split has its own speakers.

    Args:
        sounds: rooms and noises.
        held_out: key of the share of speakers that validation and test get, for people.

    Raises:
        UserError: a split has no clips, or too few speakers.
    """
    found: dict[Split, Conversations] = {}
    for split in SPLITS:
        if split not in clips.splits:
            raise UserError(f"{split} has no speakers", remedy=f"raise {held_out}, or name its manifest")
        part = clips.splits[split]
        speakers = clips_by_speaker(part.speakers, part.rows)
        num = settings.conversations if split == "train" else settings.scored
        found[split] = Conversations(part.audio, speakers, split, num, settings, sounds, seed)
    return found


def describe_conversations(conversations: Mapping[Split, Conversations]) -> list[str]:
    """Lines for people."""
    return [
        f"{split}: {len(part)} simulated conversations of {part.settings.duration_s:g} s, {len(part.speakers)} speakers"
        for split, part in conversations.items()
    ]
