"""What pre-training draws by lot for a micro-batch, as numpy arrays drawn by name.

`B` clips, `N` frames of their row, `M` masked frames, `K` negatives.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from unispeech_ft.randomness import Stream, generator


def draw_negatives(
    num_frames: Sequence[int], time_mask: npt.NDArray[np.bool_], count: int, name: Sequence[int]
) -> npt.NDArray[np.int64]:
    """Frames of the row that are the negatives of each masked frame, `[M, K]`, masked frames in the order of the row.

    A frame's negatives are drawn with replacement from all the other frames of its own clip, masked or not. (A clip of
    a single frame has itself as negative, which then counts for nothing.)

    Args:
        num_frames: `[B]`.
        time_mask: `[N]`.
        count: `K`.
        name: seed, update and micro-batch.
    """
    random = generator(name[0], Stream.NEGATIVES, *name[1:])
    drawn, start = [], 0
    for frames in num_frames:
        masked = np.flatnonzero(time_mask[start : start + frames])
        others = random.integers(0, max(1, frames - 1), size=(len(masked), count))
        others += (others >= masked[:, None]) & (frames > 1)
        drawn.append(others + start)
        start += frames
    return np.concatenate(drawn)


def draw_instances(num_masked: int, count: int, name: Sequence[int], *, with_itself: bool) -> npt.NDArray[np.int64]:
    """Places, among the masked frames of the row, of those that each masked frame is compared with, `[M, K]`.

    They are drawn with replacement from the masked frames of all clips. (A frame that is alone has itself.)

    Args:
        num_masked: `M`.
        count: `K`.
        name: seed, update and micro-batch.
        with_itself: a frame may be drawn for itself.
    """
    random = generator(name[0], Stream.INSTANCES, *name[1:])
    if with_itself or num_masked < 2:
        return random.integers(0, max(1, num_masked), size=(num_masked, count))
    drawn = random.integers(0, num_masked - 1, size=(num_masked, count))
    return drawn + (drawn >= np.arange(num_masked)[:, None])


def draw_replacement(num_frames: int, share: float, name: Sequence[int]) -> npt.NDArray[np.bool_]:
    """`[N]`, frames of which the CTC branch sees the quantised latent, each with probability `share`."""
    random = generator(name[0], Stream.REPLACEMENT, *name[1:])
    return random.random(num_frames) < share
