"""What pre-training draws by lot for a micro-batch, as numpy arrays drawn by name.

`B` clips, `T` frames, `N` masked frames, `K` negatives.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from unispeech_ft.randomness import Stream, generator


def draw_negatives(
    num_frames: Sequence[int], time_mask: npt.NDArray[np.bool_], count: int, name: Sequence[int]
) -> npt.NDArray[np.int64]:
    """Flat places in `[B · T]` of the negatives of each masked frame, `[N, K]`, masked frames in row-major order.

    A frame's negatives are drawn with replacement from all the other frames of its own clip, masked or not, and never
    from padding. (A clip of a single frame has itself as negative, which then counts for nothing.)

    Args:
        num_frames: `[B]`.
        time_mask: `[B, T]`.
        count: `K`.
        name: seed, update and micro-batch.
    """
    random = generator(name[0], Stream.NEGATIVES, *name[1:])
    width = time_mask.shape[1]
    drawn = []
    for row, frames in enumerate(num_frames):
        masked = np.flatnonzero(time_mask[row])
        others = random.integers(0, max(1, frames - 1), size=(len(masked), count))
        others += (others >= masked[:, None]) & (frames > 1)
        drawn.append(others + row * width)
    return np.concatenate(drawn)


def draw_replacement(shape: tuple[int, int], share: float, name: Sequence[int]) -> npt.NDArray[np.bool_]:
    """`[B, T]`, frames of which the CTC branch sees the quantised latent, each with probability `share`."""
    random = generator(name[0], Stream.REPLACEMENT, *name[1:])
    return random.random(shape) < share
