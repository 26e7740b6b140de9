"""What the page tells: aligned utterances, the cells of the confusion matrix, and which utterances are kept with sound.

Shapes: `S` samples.
"""

from __future__ import annotations

import base64
import heapq
import io
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from unispeech_ft.scoring.alignment import Pair, align
from unispeech_ft.scoring.per import UtteranceScore
from unispeech_ft.scoring.report.order import ipa_order, phone_class
from unispeech_ft.scoring.timing import PhoneTime, pair_times

WORST_SHOWN = 20
MAX_KEPT = 400
MAX_AXIS = 100
MAX_PAIRS = 400
EXAMPLES = {True: 3, False: 10}  # of a cell, by whether the phone was recognised rightly
# Base64 characters of sound in a page: about ten minutes. Everything else stays below 1.5 MB.
SOUND_BUDGET = 3_200_000
# MP3 plays in every browser. Of variable bit rate, it carries the header by which they skip the encoder's delay.
MP3 = {"format": "MP3", "subtype": "MPEG_LAYER_III", "bitrate_mode": "VARIABLE", "compression_level": 0.9}
LEAST_CHARACTERS_PER_S = 1000
NAME_SHOWN = 120
ENOUGH = 50  # a budget of which less than this part is left is spent


@dataclass(frozen=True)
class Recordings:
    """The sound behind a result.

    Attributes:
        times: of the phones of each hypothesis, by utterance id.
        waveform: utterance id → `[S]`, float32, full scale ±1.
        sample_rate_hz: of the waveforms; one that MP3 knows.
    """

    times: Mapping[str, Sequence[PhoneTime]]
    waveform: Callable[[str], npt.NDArray[np.float32]]
    sample_rate_hz: int = 16_000


@dataclass(frozen=True)
class Aligned:
    """A scored utterance, its alignment, and when each pair of it was said (nothing where that is unknown)."""

    score: UtteranceScore
    pairs: list[Pair]
    times: list[tuple[float, float]]

    @property
    def error_rate(self) -> float:
        return self.score.errors / max(1, len(self.score.reference))


def align_all(scores: Sequence[UtteranceScore], recordings: Recordings | None) -> list[Aligned]:
    """The utterances with their alignments, and with times where both they and the durations are known."""
    found = []
    for score in scores:
        pairs = align(score.reference, score.hypothesis).pairs
        times = recordings.times.get(score.id) if recordings else None
        known = times is not None and len(times) == len(score.hypothesis) and score.duration_s is not None
        found.append(Aligned(score, pairs, pair_times(pairs, times or (), score.duration_s or 0.0) if known else []))
    return found


def worst(aligned: Sequence[Aligned], limit: int = WORST_SHOWN) -> list[Aligned]:
    """The utterances with the highest error rates, those without an error left out."""
    wrong = [item for item in aligned if item.score.errors]
    wrong.sort(key=lambda item: (-item.error_rate, -item.score.errors, item.score.id))
    return wrong[:limit]


def kept_utterances(aligned: Sequence[Aligned], limit: int = MAX_KEPT) -> list[Aligned]:
    """Utterances to keep in the page, the most telling first: the worst, then those that show most new confusions.

    Greedy cover of the cells of the matrix; a wrong cell counts ten times a right one.
    """
    first = worst(aligned)
    chosen = {item.score.id for item in first}
    covered = {pair for item in first for pair in item.pairs}
    rest = {item.score.id: item for item in aligned if item.score.id not in chosen}

    def gain(item: Aligned) -> int:
        return sum(10 if pair[0] != pair[1] else 1 for pair in set(item.pairs) - covered)

    heap = [(-gain(item), -item.score.errors, name) for name, item in rest.items()]
    heapq.heapify(heap)
    while heap and len(first) < limit:
        _, errors, name = heapq.heappop(heap)
        # Gains only fall, so what is still best with its gain counted anew is best of all.
        entry = (-gain(rest[name]), errors, name)
        if heap and entry > heap[0]:
            heapq.heappush(heap, entry)
            continue
        first.append(rest[name])
        covered.update(rest[name].pairs)
    return first


def encode_sound(waveform: npt.NDArray[np.float32], sample_rate_hz: int) -> str:
    """MP3 in base64, 30 to 40 kbit/s at 16 kHz."""
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, waveform, sample_rate_hz, **MP3)
    return base64.b64encode(file.getvalue()).decode("ascii")


@dataclass(frozen=True)
class Sound:
    """An utterance's sound as `encode_sound` gives it, and its number of samples."""

    encoded: str
    num_samples: int


def sounds(kept: Sequence[Aligned], recordings: Recordings, budget: int = SOUND_BUDGET) -> Iterator[tuple[int, Sound]]:
    """Place and sound of the kept utterances with times, the first first, as long as `budget` characters last."""
    left = budget
    for place, item in enumerate(kept):
        if not item.times:
            continue
        # Spares encoding what cannot fit.
        if (item.score.duration_s or 0.0) * LEAST_CHARACTERS_PER_S > left:
            continue
        waveform = recordings.waveform(item.score.id)
        encoded = encode_sound(waveform, recordings.sample_rate_hz)
        if len(encoded) <= left:
            left -= len(encoded)
            yield place, Sound(encoded, len(waveform))
        if left < budget // ENOUGH:
            return


def shorten(name: str) -> str:
    """A name of the data, cut where it would fill the page."""
    return name if len(name) <= NAME_SHOWN else f"{name[:NAME_SHOWN]}…"


def page_data(aligned: Sequence[Aligned], kept: Sequence[Aligned], sound: Mapping[int, Sound]) -> dict[str, Any]:
    """What the page's script needs, as JSON values.

    `names` are phones; `axis` those of the matrix, in IPA order; -1 stands for no phone. `cells` are [said, heard,
    count, [[utterance, pair] …]]; `utterances` have pairs of names, and times in milliseconds.
    """
    counts: Counter[Pair] = Counter(pair for item in aligned for pair in item.pairs)
    frequency: Counter[str] = Counter()
    for (said, heard), count in counts.items():
        for phone in {said, heard} - {None}:
            frequency[str(phone)] += count
    axis = {phone for phone, _ in frequency.most_common(MAX_AXIS)}
    in_kept = {phone for item in kept for pair in item.pairs[:MAX_PAIRS] for phone in pair if phone is not None}
    names = ipa_order(axis | in_kept)
    place: dict[str | None, int] = {phone: number for number, phone in enumerate(names)} | {None: -1}
    examples: defaultdict[Pair, list[list[int]]] = defaultdict(list)
    for number in sorted(range(len(kept)), key=lambda number: number not in sound):
        for position, pair in enumerate(kept[number].pairs[:MAX_PAIRS]):
            if len(examples[pair]) < EXAMPLES[pair[0] == pair[1]]:
                examples[pair].append([number, position])
    shown = {None, *axis}
    return {
        "names": [shorten(name) for name in names],
        "axis": [place[phone] for phone in names if phone in axis],
        "classes": [phone_class(phone) for phone in names if phone in axis],
        "left_out": len(frequency) - len(axis),
        "cells": [
            [place[said], place[heard], count, examples[said, heard]]
            for (said, heard), count in counts.items()
            if said in shown and heard in shown
        ],
        "utterances": [_utterance(item, place) for item in kept],
        "sound": {str(number): [item.encoded, item.num_samples] for number, item in sound.items()},
    }


def _utterance(item: Aligned, place: Mapping[str | None, int]) -> dict[str, Any]:
    return {
        "id": shorten(item.score.id),
        "pairs": [[place[said], place[heard]] for said, heard in item.pairs[:MAX_PAIRS]],
        "times": [[round(1000 * start), round(1000 * end)] for start, end in item.times[:MAX_PAIRS]],
    }
