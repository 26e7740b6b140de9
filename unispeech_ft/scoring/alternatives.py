"""What else a phone may have been: the other phones of the model, and the posterior of each.

The posterior of phone k for a phone that a CTC path marks in the frames F is the mean of its softmax output there,
`1/|F| · Σ_{t ∈ F} p_t(k)`: of the phone itself this is the posterior that `scoring.timing` gives. Over all phones, the
blank and the special rows it sums to 1. It says what the model would have heard in these frames, not in the word.

Shapes: `T` frames, `V` rows of the head, `N` phones of a path, `K` phones of the model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from unispeech_ft.phonemes.tokenizer import PhoneTokenizer
from unispeech_ft.scoring.greedy import Segment


def mean_posteriors(
    marks: Sequence[Segment], log_posteriors: npt.NDArray[np.floating], tokenizer: PhoneTokenizer
) -> list[dict[str, float]]:
    """Of each phone of a path, the posterior of every phone of the model.

    Args:
        marks: `N`, the frames that mark each phone.
        log_posteriors: `[T, V]`, log softmax of the head.
        tokenizer: what the rows stand for.
    """
    names = tokenizer.phones
    rows = [tokenizer.ids[name] for name in names]
    shares = (np.exp(log_posteriors[mark.start_frame : mark.end_frame, rows]).mean(axis=0) for mark in marks)
    return [dict(zip(names, share.tolist(), strict=True)) for share in shares]


def likeliest(means: Mapping[str, float], phone: str, count: int) -> tuple[tuple[str, float], ...]:
    """The other phones of the highest posteriors, at most `count`, the likeliest first."""
    others = sorted((-mean, name) for name, mean in means.items() if name != phone)
    return tuple((name, -mean) for mean, name in others[:count])
