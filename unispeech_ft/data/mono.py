"""Several channels → one, and what no microphone gives: `S` samples."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

LOUDEST = 1e4
# The mean square of a second without sound (16-bit rounding), and the share of it left where channels cancel.
SILENT_POWER, CANCELLED = 1e-9, 1e-3
# What is left over a whole block where an encoder has changed the channels; of ones that differ, one over their number.
CANCELLED_THROUGHOUT = 0.2
SHORTEST_JUDGED_S = 0.1
AGAIN = "copy or export it again, or take it out"
Waveform = npt.NDArray[np.float32]


class BadClip(Exception):
    """A clip that cannot be used; the message is the reason.

    Attributes:
        remedy: what to do about it; empty where nothing is known but to convert the file or to take it out.
    """

    def __init__(self, reason: str, remedy: str = "") -> None:
        super().__init__(reason)
        self.remedy = remedy


def to_mono(samples: Waveform, rate_hz: int, channel: int | None) -> Waveform:
    """One channel, or the mean of `[S, channels]`; refuses what no microphone gives."""
    if not np.isfinite(samples).all():
        raise BadClip("samples that are not finite numbers", AGAIN)
    if len(samples) and max(float(samples.max()), -float(samples.min())) > LOUDEST:
        raise BadClip(f"a sample of {float(np.abs(samples).max()):.2g}, where full scale is 1", AGAIN)
    if channel is not None:
        if not 0 <= channel < samples.shape[1]:
            there = f"the file has {samples.shape[1]} (counted from 0; data.channel, --channel)"
            raise BadClip(f"channel {channel} is asked for, but {there}", "name one that it has")
        return np.ascontiguousarray(samples[:, channel])
    if samples.shape[1] == 1:
        return samples[:, 0]
    mean: Waveform = samples.mean(axis=1)
    if _cancel(samples, mean, rate_hz):
        raise BadClip(
            "the channels cancel out (one is the inverted other), so that their mean is silence; choose one"
            " (data.channel 0, or --channel 0)",
            "name the one that holds the speech",
        )
    return mean


def _cancel(samples: Waveform, mean: Waveform, rate_hz: int) -> bool:
    """Whether several channels hold sound and their mean nearly none for a second, or throughout but little.

    What is left over after the last whole second is judged with it.
    """
    if len(samples) < SHORTEST_JUDGED_S * rate_hz:
        return False
    seconds = np.arange(max(1, len(samples) // rate_hz)) * rate_hz
    if _left(samples, mean, seconds) < CANCELLED:
        return True
    return len(samples) >= rate_hz and _left(samples, mean, seconds[:1]) < CANCELLED_THROUGHOUT / samples.shape[1]


def _left(samples: Waveform, mean: Waveform, starts: npt.NDArray[np.int64]) -> float:
    """Of the stretches that begin at `starts`, the least share of the channels' power that their mean has."""
    channels = np.stack([_powers(side, starts) for side in samples.T])
    sounding = channels > SILENT_POWER
    loud = sounding.sum(axis=0)
    expected = (channels * sounding).sum(axis=0) / np.maximum(loud, 1)
    # Channels without sound make the mean quieter, but cancel nothing.
    left = _powers(mean, starts) * np.square(samples.shape[1] / np.maximum(loud, 1))
    return float(np.min(np.divide(left, expected, out=np.ones_like(left), where=loud > 1)))


def _powers(mono: Waveform, starts: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Mean squares of the stretches that begin at `starts`, the last up to the end."""
    powers: npt.NDArray[np.float64] = np.add.reduceat(np.square(mono, dtype=np.float64), starts)
    return powers / np.diff(starts, append=len(mono))
