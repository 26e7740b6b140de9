"""Which frames and channels SpecAugment hides, as numpy masks drawn by name (`B` rows, `T` frames, `C` channels).

`original` follows the fairseq sampler of the published recipe: every row of a micro-batch is cut to the number of
masked positions of the row with fewest, by dropping random ones. `independent` leaves each row its own, as
Transformers does. A policy has so many spans of random lengths for each row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from unispeech_ft.config.sections import MaskConfig
from unispeech_ft.randomness import Stream, generator

BoolArray = npt.NDArray[np.bool_]
Sampling = Literal["original", "independent"]
MIN_TIME_SPANS = 2
# Streams of time and channel masks: of a clip, and of its second view.
FIRST_VIEW = (Stream.TIME_MASK, Stream.CHANNEL_MASK)
SECOND_VIEW = (Stream.SECOND_TIME_MASK, Stream.SECOND_CHANNEL_MASK)


class Policy(NamedTuple):
    """A row of Park et al. 2019 (SpecAugment), Table 1.

    Attributes:
        bands: `F`, channels of a span at most, of 80.
        num_bands: `m_F`, spans of channels.
        steps: `T`, of a span of time at most, of 10 ms; a frame here has 20.
        share: `p`, of a row that a span of time covers at most.
        num_times: `m_T`, spans of time.
    """

    bands: int
    num_bands: int
    steps: int
    share: float
    num_times: int


POLICIES = {
    "LB": Policy(27, 1, 100, 1.0, 1),
    "LD": Policy(27, 2, 100, 1.0, 2),
    "SM": Policy(15, 2, 70, 0.2, 2),
    "SS": Policy(27, 2, 70, 0.2, 2),
}


@dataclass(frozen=True)
class Masks:
    """Masks of one micro-batch: `time` `[B, T]`, `channels` `[B, C]`; None where nothing is masked."""

    time: BoolArray | None
    channels: BoolArray | None


def _row_positions(
    length: int, prob: float, span: int, min_spans: int, random: np.random.Generator
) -> npt.NDArray[np.int64]:
    """Masked positions of one row of `length`, sorted; rows shorter than a span are masked in part."""
    num_spans = max(int(prob * length / span + random.random()), min_spans)
    span = max(1, min(span, length - 1))
    num_spans = min(num_spans, length - span)
    if num_spans <= 0:
        return np.zeros(0, dtype=np.int64)
    starts = random.choice(length - span + 1, num_spans, replace=False)
    return np.unique(starts[:, None] + np.arange(span)[None, :])


def sample_mask(
    lengths: Sequence[int],
    width: int,
    prob: float,
    span: int,
    *,
    sampling: Sampling,
    min_spans: int,
    generators: Sequence[np.random.Generator],
) -> BoolArray:
    """A mask `[B, width]`, never set beyond a row's length.

    Args:
        lengths: positions of each row that exist.
        prob: expected share of masked positions if spans did not overlap.
        span: length of a masked span.
        min_spans: spans in a row at least.
        generators: one for each row (`independent`), or the same for all of them (`original`).
    """
    rows = [
        _row_positions(length, prob, span, min_spans, random)
        for length, random in zip(lengths, generators, strict=True)
    ]
    if sampling == "original":
        fewest = min(len(positions) for positions in rows)
        rows = [
            positions if len(positions) == fewest else random.choice(positions, fewest, replace=False)
            for positions, random in zip(rows, generators, strict=True)
        ]
    mask = np.zeros((len(rows), width), dtype=np.bool_)
    for row, positions in enumerate(rows):
        mask[row, positions] = True
    return mask


def _random_spans(
    lengths: Sequence[int], longest: Sequence[int], num_spans: int, generators: Sequence[np.random.Generator]
) -> BoolArray:
    """A mask `[B, max(lengths)]` with so many spans in each row, each of 0 to its row's `longest` positions."""
    mask = np.zeros((len(lengths), max(lengths)), dtype=np.bool_)
    for row, (length, most, random) in enumerate(zip(lengths, longest, generators, strict=True)):
        for _ in range(num_spans):
            span = int(random.integers(0, min(most, length - 1) + 1))
            start = int(random.integers(0, length - span + 1))
            mask[row, start : start + span] = True
    return mask


def sample_masks(
    frames: Sequence[int],
    num_channels: int,
    mask: MaskConfig,
    *,
    seed: int,
    epoch: int,
    micro_batch: int,
    clips: Sequence[int],
    streams: tuple[Stream, Stream] = FIRST_VIEW,
) -> Masks:
    """The masks of one planned micro-batch; a pure function of its arguments.

    Args:
        frames: `[B]` frames of each clip.
        num_channels: `C`, the hidden size.
        epoch, micro_batch: name of the micro-batch in the plan.
        clips: positions of its clips in the training split.
        streams: that time and channel masks are drawn from.
    """

    def generators(stream: Stream) -> list[np.random.Generator]:
        if mask.policy is None and mask.sampling == "original":
            return [generator(seed, stream, epoch, micro_batch)] * len(clips)
        return [generator(seed, stream, epoch, clip) for clip in clips]

    if mask.policy is not None:
        policy = POLICIES[mask.policy]
        longest = [min(policy.steps // 2, int(policy.share * length)) for length in frames]
        widest = [round(policy.bands / 80 * num_channels)] * len(clips)
        return Masks(
            _random_spans(frames, longest, policy.num_times, generators(streams[0])),
            _random_spans([num_channels] * len(clips), widest, policy.num_bands, generators(streams[1])),
        )
    time = channels = None
    if mask.time_prob > 0:
        time = sample_mask(
            frames,
            max(frames),
            mask.time_prob,
            mask.time_length,
            sampling=mask.sampling,
            min_spans=MIN_TIME_SPANS,
            generators=generators(streams[0]),
        )
    if mask.feature_prob > 0:
        channels = sample_mask(
            [num_channels] * len(clips),
            num_channels,
            mask.feature_prob,
            mask.feature_length,
            sampling=mask.sampling,
            min_spans=0,
            generators=generators(streams[1]),
        )
    return Masks(time, channels)
