"""Which frames and channels SpecAugment hides, as numpy masks drawn by name (`B` rows, `T` frames, `C` channels).

`original` follows the fairseq sampler of the published recipe: every row of a micro-batch is cut to the number of
masked positions of the row with fewest, by dropping random ones. `independent` leaves each row its own, as
Transformers does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

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
        if mask.sampling == "original":
            return [generator(seed, stream, epoch, micro_batch)] * len(clips)
        return [generator(seed, stream, epoch, clip) for clip in clips]

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
