"""Greedy CTC decoding: the best label of every frame → labels, with or without times.

Shapes: `B` batch, `T` frames. Frame ids are the argmax over the labels, of *one utterance's own frames*: padded
frames are cut away first (`collapse_batch` does it), and a negative id such as −100 is refused, because a padded
prediction that reaches the score would count as an insertion.

Source: Graves et al. 2006, "Connectionist Temporal Classification", section 3.2 (best path decoding).
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

FrameIds = Sequence[int] | npt.NDArray[Any]


class Segment(NamedTuple):
    """One emitted label and the frames it covers: `start_frame` included, `end_frame` not."""

    label: int
    start_frame: int
    end_frame: int


def segments(frame_ids: FrameIds, blank: int, special_ids: Iterable[int] = ()) -> list[Segment]:
    """Runs of equal labels, without the blank and the special ids.

    Repeats are collapsed first and ids dropped afterwards, so a special id between two equal labels separates them,
    as the blank does.

    Args:
        frame_ids: `[T]`, the best label of each unpadded frame.
        blank: the id of the CTC blank.
        special_ids: ids that are never phones (`<pad>`, `</s>`, `<unk>`), dropped like the blank.

    Raises:
        ValueError: the ids are not `[T]` integers, or one of them is negative.
    """
    ids = _one_utterance(frame_ids)
    if ids.size == 0:
        return []
    dropped = {blank, *special_ids}
    starts = np.concatenate(([0], np.flatnonzero(np.diff(ids)) + 1))
    ends = np.concatenate((starts[1:], [ids.size]))
    runs = zip(ids[starts].tolist(), starts.tolist(), ends.tolist(), strict=True)
    return [Segment(label, start, end) for label, start, end in runs if label not in dropped]


def collapse(frame_ids: FrameIds, blank: int, special_ids: Iterable[int] = ()) -> list[int]:
    """Frame labels → emitted labels: collapse repeats, then drop the blank and the special ids.

    Args and errors as in `segments`.

    Example:
        >>> collapse([0, 5, 5, 0, 5, 7, 7], blank=0)
        [5, 5, 7]
    """
    return [segment.label for segment in segments(frame_ids, blank, special_ids)]


def collapse_batch(
    frame_ids: npt.NDArray[Any], num_frames: Sequence[int], blank: int, special_ids: Iterable[int] = ()
) -> list[list[int]]:
    """`collapse` for a padded batch: each utterance keeps its own frames and nothing of the padding.

    Args:
        frame_ids: `[B, T]`, any value after an utterance's own frames.
        num_frames: `[B]`, each utterance's number of real frames.
        blank: the id of the CTC blank.
        special_ids: ids that are never phones.

    Raises:
        ValueError: the shapes disagree, or a number of frames is outside 0…T.
    """
    batch = np.asarray(frame_ids)
    if batch.ndim != 2 or len(num_frames) != batch.shape[0]:
        raise ValueError(f"frame_ids must be [B, T] with B numbers of frames, got {batch.shape} and {len(num_frames)}")
    outside = [int(frames) for frames in num_frames if not 0 <= int(frames) <= batch.shape[1]]
    if outside:
        raise ValueError(f"num_frames must lie in 0…{batch.shape[1]}, got {outside}")
    dropped = tuple(special_ids)
    return [collapse(row[: int(frames)], blank, dropped) for row, frames in zip(batch, num_frames, strict=True)]


def blank_share(utterances: Iterable[FrameIds], blank: int) -> float | None:
    """Share (0…1) of all unpadded frames whose best label is the blank; None when there is no frame.

    Raises:
        ValueError: as in `segments`.
    """
    blanks = frames = 0
    for frame_ids in utterances:
        ids = _one_utterance(frame_ids)
        blanks += int(np.count_nonzero(ids == blank))
        frames += ids.size
    return blanks / frames if frames else None


def _one_utterance(frame_ids: FrameIds) -> npt.NDArray[Any]:
    ids = np.asarray(frame_ids)
    if ids.ndim != 1:
        raise ValueError(f"frame ids must be one utterance's [T], got {list(ids.shape)}; use collapse_batch for [B, T]")
    if ids.size == 0:
        return np.zeros(0, dtype=np.int64)
    if ids.dtype.kind not in "iu":
        raise ValueError(f"frame ids must be integers, got {ids.dtype}; take the argmax of the logits first")
    if ids.min() < 0:
        raise ValueError(f"frame id {ids.min()} is padding, not a label; cut the frames to the utterance's own length")
    return ids
