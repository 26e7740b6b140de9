"""Forced alignment: the best CTC path that says given labels, by Viterbi's rule.

A label and the blanks around it are states; a frame stays in a state, goes on by one, or leaves a blank out. Between
equal labels stands the blank as a label, which cannot be left out. Of equal paths the one that stays longer is taken,
and at the end the label rather than the blank behind it. So does `torchaudio.functional.forced_align`, but where going
on by one and by two tie and beat staying: it stays then, on a worse path.

Shapes: `B` clips, `T` frames (`T'` of a block), `V` rows of the head, `N` labels, those between equal ones among them
(in arrays of many clips: of the clip with the most).

Source: Graves et al. 2006, "Connectionist Temporal Classification", with the maximum in place of the sum.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from unispeech_ft.scoring.greedy import Segment, segments

Scores = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]
Moves = npt.NDArray[np.int8]
# A block of scores stays in a core's cache; of the blocks before, one byte a state is kept.
BLOCK_VALUES = 2**15


def forced_segments(log_posteriors: Scores, labels: Sequence[int], blank: int) -> list[Segment]:
    """The frames that mark each label.

    Args and errors: of one clip, as in `forced_paths`.
    """
    (path,) = forced_paths([log_posteriors], [labels], blank)
    return segments(path, blank)


def forced_paths(log_posteriors: Sequence[Scores], labels: Sequence[Sequence[int]], blank: int) -> list[Labels]:
    """The best path of each clip: `[T_i]`, the row of the head in each frame.

    Args:
        log_posteriors: `[T_i, V]`, float32; at least one clip.
        labels: `N_i`, none of them the blank.
        blank: the id of the CTC blank.

    Raises:
        ValueError: a clip has fewer frames than its labels need with a blank between equal ones.
    """
    said = [_parted(row, blank) for row in labels]
    for frames, row in zip(log_posteriors, said, strict=True):
        if len(row) > len(frames):
            raise ValueError(f"labels that need {len(row)} frames, but there are {len(frames)}")
    moves, last = _search(log_posteriors, said, blank)
    paths = []
    for clip, (frames, row, state) in enumerate(zip(log_posteriors, said, last, strict=True)):
        rows = np.full(2 * len(row) + 1, blank, dtype=np.int64)
        rows[1::2] = row
        paths.append(rows[_way_back([block[:, clip] for block in moves], state, len(frames))])
    return paths


def _parted(labels: Sequence[int], blank: int) -> Labels:
    """Labels with the blank between equal ones."""
    row = np.array(labels, dtype=np.int64)
    return np.insert(row, np.flatnonzero(row[1:] == row[:-1]) + 1, blank)


def _search(log_posteriors: Sequence[Scores], labels: Sequence[Labels], blank: int) -> tuple[list[Moves], list[int]]:
    """By how many states each frame goes on, blocks `[T', B, 2 N + 1]`, and the state in which each clip ends.

    What stands behind a clip's own frames and labels is never looked at: no way leads back from there.
    """
    num_clips, wide = len(labels), max(map(len, labels)) + 1
    scores = np.full((2, num_clips, wide), -np.inf, dtype=np.float32)
    scores[1, :, 0] = 0.0  # before the first frame: as if in the first blank
    moves: list[Moves] = []
    last = [0] * num_clips
    for first, emissions in _emission_blocks(log_posteriors, labels, blank):
        found = _recursion(scores, emissions)
        scores = found[-1]
        moves.append(_moves(found[:-1]))
        for clip, row in enumerate(labels):
            end = len(log_posteriors[clip]) - first
            if 0 < end < len(found):
                in_label, in_blank = found[end, :, clip, len(row)]
                last[clip] = 2 * len(row) - int(len(row) > 0 and not in_blank > in_label)
    return moves, last


def _emission_blocks(
    log_posteriors: Sequence[Scores], labels: Sequence[Labels], blank: int
) -> Iterator[tuple[int, Scores]]:
    """The first frame of each block, and what it adds to the scores: `[T', 2, B, N + 1]`."""
    num_clips, wide = len(labels), max(map(len, labels)) + 1
    num_frames, block_frames = max(map(len, log_posteriors)), 1 + BLOCK_VALUES // (2 * num_clips * wide)
    for first in range(0, num_frames, block_frames):
        emissions = np.zeros((min(block_frames, num_frames - first), 2, num_clips, wide), dtype=np.float32)
        emissions[:, 0, :, 0] = -np.inf
        for clip, (frames, row) in enumerate(zip(log_posteriors, labels, strict=True)):
            here = frames[first : first + block_frames]
            emissions[: len(here), 0, clip, 1 : len(row) + 1] = here.take(row, axis=1)
            emissions[: len(here), 1, clip] = here[:, blank, None]
        yield first, emissions


def _recursion(scores: Scores, emissions: Scores) -> Scores:
    """Scores of the best path to each state, before a block and after each of its frames: `[T' + 1, 2, B, N + 1]`.

    First come the labels before each blank, of which the first blank has none, then the blanks. So flat rows hold each
    state beside those from which it is reached, and a frame takes three passes over them.

    Args:
        scores: `[2, B, N + 1]`, before the block.
        emissions: `[T', 2, B, N + 1]`.
    """
    half = scores.size // 2
    found = np.empty((len(emissions) + 1, scores.size), dtype=np.float32)
    found[0] = scores.ravel()
    best = np.full(scores.size, -np.inf, dtype=np.float32)
    to_label, to_blank, going_on = best[1:half], best[half:], best[half:-1]
    rows = emissions.reshape(len(emissions), -1)
    before = found[:-1]
    steps = zip(before[:, :half], before[:, 1:half], before[:, half:], rows, found[1:], strict=True)
    for label_before, label, blank, emitted, out in steps:
        np.maximum(label_before, blank, out=to_blank)
        np.maximum(label, going_on, out=to_label)
        np.add(best, emitted, out=out)
    return found.reshape(-1, *scores.shape)


def _moves(scores: Scores) -> Moves:
    """By how many states the best path to each goes on, `[T', B, 2 N + 1]`, from scores before each frame."""
    before, blank = scores[:, 0], scores[:, 1]
    label, going = before[..., 1:], blank[..., :-1]
    moves = np.empty((*blank.shape[:-1], 2 * blank.shape[-1] - 1), dtype=np.int8)
    np.greater(before, blank, out=moves[..., 0::2], casting="unsafe")
    np.greater(going, label, out=moves[..., 1::2], casting="unsafe")
    np.copyto(moves[..., 1::2], 2, where=before[..., :-1] > np.maximum(label, going))
    return moves


def _way_back(moves: Sequence[Moves], state: int, num_frames: int) -> Labels:
    """The state in each frame of a clip, `[T]`, from the one in which it ends.

    Args:
        moves: `[T', 2 N + 1]`, blocks.
    """
    path = np.empty(num_frames, dtype=np.int64)
    first = sum(map(len, moves))
    for block in reversed(moves):
        first -= len(block)
        own = block[: max(0, num_frames - first)]
        flat, place, states = own.tobytes(), own.size, []
        for _ in range(len(own)):
            place -= own.shape[1]
            states.append(state)
            state -= flat[place + state]
        path[first : first + len(own)] = states[::-1]
    return path
