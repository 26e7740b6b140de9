"""Forced alignment: the best CTC path that says given labels, by Viterbi's rule.

A label and the blanks around it are states; a frame stays in a state, goes on by one, or leaves a blank out. Between
equal labels stands the blank as a label, which cannot be left out. Of equal paths the one that stays longer is taken,
and at the end the label rather than the blank behind it. So does `torchaudio.functional.forced_align`, but where going
on by one and by two tie and beat staying: it stays then, on a worse path.

Shapes: `T` frames, `V` rows of the head, `N` labels, those between equal ones among them.

Source: Graves et al. 2006, "Connectionist Temporal Classification", with the maximum in place of the sum.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from unispeech_ft.scoring.greedy import Segment, segments

Scores = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]
Search = Callable[[Scores, Labels, int], Labels]


def forced_segments(log_posteriors: Scores, labels: Sequence[int], blank: int) -> list[Segment]:
    """The frames that mark each label.

    Args and errors: as in `forced_path`.
    """
    return segments(forced_path(log_posteriors, labels, blank), blank)


def forced_path(log_posteriors: Scores, labels: Sequence[int], blank: int) -> Labels:
    """The best path of a clip: `[T]`, the row of the head in each frame.

    Args:
        log_posteriors: `[T, V]`.
        labels: `N`, none of them the blank.
        blank: the id of the CTC blank.

    Raises:
        ValueError: there are fewer frames than the labels need with a blank between equal ones.
    """
    row = np.array(labels, dtype=np.int64)
    row = np.insert(row, np.flatnonzero(row[1:] == row[:-1]) + 1, blank)
    if len(row) > len(log_posteriors):
        raise ValueError(f"labels that need {len(row)} frames, but there are {len(log_posteriors)}")
    return _compiled()(np.ascontiguousarray(log_posteriors, dtype=np.float32), row, blank)


@functools.cache
def _compiled() -> Search:
    """`_search` as machine code: made once an installation (2 s), and read from then on (half a second a process)."""
    from numba import njit

    try:
        return njit(nogil=True, cache=True)(_search)
    except RuntimeError:  # no folder to keep it in: made in each process
        return njit(nogil=True)(_search)


def _search(log_posteriors: Scores, labels: Labels, blank: int) -> Labels:
    """The best path `[T]`, in the part of Python that numba compiles.

    Place `n` is label `n` (from 1) and the blank behind it; place 0 is the first blank alone. A frame visits, from the
    last, the places that have been reached by then and from which the end still is.
    """
    num_frames, num_labels = len(log_posteriors), len(labels)
    # By how many states the best path to a label goes on, and 4 where that to the blank behind it comes from the label.
    moves = np.zeros((num_frames, num_labels + 1), dtype=np.uint8)
    in_label = np.full(num_labels + 1, -np.inf, dtype=np.float32)
    in_blank = np.full(num_labels + 1, -np.inf, dtype=np.float32)
    in_blank[0] = 0.0  # before the first frame: as if in the first blank
    for frame in range(num_frames):
        emitted = log_posteriors[frame]
        first, last = max(1, num_labels - (num_frames - 1 - frame)), min(num_labels, frame + 1)
        for place in range(last, first - 1, -1):
            best, move = in_label[place], 0
            best_behind = in_blank[place]
            if best > best_behind:
                best_behind, move = best, 4
            if in_blank[place - 1] > best:
                best, move = in_blank[place - 1], move | 1
            if in_label[place - 1] > best:
                best, move = in_label[place - 1], (move & 4) | 2
            moves[frame, place] = move
            in_label[place] = best + emitted[labels[place - 1]]
            in_blank[place] = best_behind + emitted[blank]
        in_blank[0] += emitted[blank]
    path = np.full(num_frames, blank, dtype=np.int64)
    place = num_labels
    spoken = place > 0 and not in_blank[place] > in_label[place]
    for frame in range(num_frames - 1, -1, -1):
        move = moves[frame, place]
        if spoken:
            path[frame] = labels[place - 1]
            spoken = move & 3 != 1
            place -= int(move & 3 != 0)
        else:
            spoken = move >= 4
    return path
