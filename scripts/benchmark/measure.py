"""Measured rounds and what they say: medians with their spread, and ratios of values of the same round."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Block:
    """Some updates (or utterances) of one side, one after another.

    Attributes:
        seconds: wall time.
        count: updates, or utterances.
        audio_s: seconds of audio in them, without padding.
        padding_share: part of the samples that was padding.
    """

    seconds: float
    count: int
    audio_s: float
    padding_share: float = 0.0

    @property
    def audio_rate(self) -> float:
        """Audio seconds a second."""
        return self.audio_s / self.seconds

    @property
    def rate(self) -> float:
        """Updates, or utterances, a second."""
        return self.count / self.seconds


@dataclass(frozen=True)
class Figure:
    """Median and range of one figure over the rounds."""

    median: float
    lowest: float
    highest: float

    @staticmethod
    def of(values: Sequence[float]) -> Figure:
        return Figure(statistics.median(values), min(values), max(values))

    def __str__(self) -> str:
        return f"{self.median:.3g} ({self.lowest:.3g}–{self.highest:.3g})"


def now(device: str) -> float:
    """Seconds, once the device has done what it was given."""
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def alternate(sides: Mapping[str, Callable[[], Block]], rounds: int) -> dict[str, list[Block]]:
    """Runs each side once a round; every second round in the opposite order, so that drift hits both alike."""
    blocks: dict[str, list[Block]] = {name: [] for name in sides}
    for number in range(rounds):
        names = list(sides) if number % 2 == 0 else list(sides)[::-1]
        for name in names:
            blocks[name].append(sides[name]())
    return blocks


def ratio(ours: Sequence[Block], theirs: Sequence[Block]) -> Figure:
    """Our audio seconds a second over theirs, round by round."""
    return Figure.of([mine.audio_rate / other.audio_rate for mine, other in zip(ours, theirs, strict=True)])
