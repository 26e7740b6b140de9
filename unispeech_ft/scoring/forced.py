"""Forced alignment: the best CTC path that says given labels, by torchaudio.

Shapes: `T` frames, `V` rows of the head, `N` labels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from unispeech_ft.scoring.greedy import Segment


def forced_segments(log_posteriors: npt.NDArray[np.float32], labels: Sequence[int], blank: int) -> list[Segment]:
    """The frames that mark each label.

    Args:
        log_posteriors: `[T, V]`, enough frames for the labels and a blank between equal ones.
        labels: `N`, at least one.
        blank: the id of the CTC blank.
    """
    import torch
    from torchaudio.functional import forced_align, merge_tokens

    emissions = torch.from_numpy(np.ascontiguousarray(log_posteriors))[None]
    path, scores = forced_align(emissions, torch.tensor([labels], dtype=torch.int32), blank=blank)
    return [Segment(span.token, span.start, span.end) for span in merge_tokens(path[0], scores[0], blank=blank)]
