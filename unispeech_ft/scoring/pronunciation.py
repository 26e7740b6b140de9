"""How well each phone of a known sequence was said, told from CTC posteriors without cutting the sound into phones.

Each phone is set against all that could have been said in its place, the rest of the sequence as it is: every other
phone of the model, and nothing. What was said besides is found in the same way between the phones.

Shapes: `T` frames, `V` rows of the head, `N` labels, `K` candidates.
Source: Cao et al. 2024, "A framework for phoneme-level pronunciation assessment using CTC" (segmentation-free goodness
of pronunciation), here with deletion, and insertions on their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Logs = npt.NDArray[np.float64]
NEVER = -np.inf


@dataclass(frozen=True)
class Likelihoods:
    """Log probabilities of whole sequences given the sound, summed over all CTC paths.

    Attributes:
        said: of the labels as they are.
        substituted: `[N, K]`, with a candidate in the place of a label; the label itself among them.
        deleted: `[N]`, without a label.
        inserted: `[N + 1, K]`, with a candidate before a label, the last behind all.
    """

    said: float
    substituted: Logs
    deleted: Logs
    inserted: Logs


def likelihoods(
    log_posteriors: npt.NDArray[np.floating], labels: Sequence[int], candidates: Sequence[int], blank: int
) -> Likelihoods:
    """The sequences that differ from the labels in one place.

    Args:
        log_posteriors: `[T, V]`, log softmax of the head; enough frames for the labels.
        labels: `N`, at least one.
        candidates: `K`, rows of the head that are phones.
        blank: the id of the CTC blank.
    """
    emissions = np.asarray(log_posteriors, dtype=np.float64)
    prefix, suffix = _prefixes(emissions, labels, blank), _suffixes(emissions, labels, blank)
    every = np.arange(len(labels) + 1)
    substituted = _with_candidate(emissions, labels, candidates, blank, prefix, suffix, every[:-1], every[1:])
    inserted = _with_candidate(emissions, labels, candidates, blank, prefix, suffix, every, every)
    deleted = np.array([_joined(labels, prefix, suffix, place, place + 1) for place in range(len(labels))])
    said = float(np.logaddexp(prefix.in_label[-1, -1], prefix.in_blank[-1, -1]))
    return Likelihoods(said, substituted, deleted, inserted)


@dataclass(frozen=True)
class _Prefixes:
    """The labels before each place.

    Attributes:
        in_label: `[N + 1, T]`, log probability that frames up to this one say them and the last is being said.
        in_blank: `[N + 1, T]`, the same with blank behind them.
    """

    in_label: Logs
    in_blank: Logs


def _prefixes(emissions: Logs, labels: Sequence[int], blank: int) -> _Prefixes:
    num, frames = len(labels), len(emissions)
    in_label, in_blank = (np.full((num + 1, frames), NEVER) for _ in range(2))
    silence = emissions[:, blank]
    in_blank[0] = np.cumsum(silence)
    own = emissions[:, list(labels)]
    repeats = np.array([False, *(first == second for first, second in zip(labels, labels[1:], strict=False))])
    in_label[1, 0] = own[0, 0]
    for t in range(1, frames):
        entered = np.logaddexp(in_blank[:-1, t - 1], np.where(repeats, NEVER, in_label[:-1, t - 1]))
        in_label[1:, t] = np.logaddexp(in_label[1:, t - 1], entered) + own[t]
        in_blank[1:, t] = np.logaddexp(in_blank[1:, t - 1], in_label[1:, t - 1]) + silence[t]
    return _Prefixes(in_label, in_blank)


def _suffixes(emissions: Logs, labels: Sequence[int], blank: int) -> Logs:
    """`[N + 1, T + 1]`, log probability that the frames from this one on say the labels from a place on, the first of
    them at once; of the last place, which has none, that nothing is left."""
    num, frames = len(labels), len(emissions)
    repeats = np.array([*(first == second for first, second in zip(labels, labels[1:], strict=False)), False])
    found = np.full((num + 1, frames + 1), NEVER)
    found[num, frames] = 0.0
    behind = np.full(num, NEVER)  # the blank behind each label, from this frame on
    for t in range(frames - 1, -1, -1):
        after = found[1:, t + 1]
        in_label = np.logaddexp(np.logaddexp(found[:-1, t + 1], behind), np.where(repeats, NEVER, after))
        found[:-1, t] = in_label + emissions[t, list(labels)]
        behind = np.logaddexp(behind, after) + emissions[t, blank]
    return found


def _with_candidate(
    emissions: Logs,
    labels: Sequence[int],
    candidates: Sequence[int],
    blank: int,
    prefix: _Prefixes,
    suffix: Logs,
    firsts: npt.NDArray[np.int64],
    nexts: npt.NDArray[np.int64],
) -> Logs:
    """`[P, K]`: the labels before `firsts[p]`, a candidate, and the labels from `nexts[p]` on."""
    names = np.asarray(candidates)
    before = np.array([-1, *labels])[firsts][:, None] == names
    after = np.array([*labels, -1])[nexts][:, None] == names
    shape = (len(firsts), len(names))
    in_candidate, in_blank, total = (np.full(shape, NEVER) for _ in range(3))
    start = np.where(firsts == 0, 0.0, NEVER)[:, None]
    for t in range(len(emissions)):
        entered = (
            np.broadcast_to(start, shape)
            if t == 0
            else np.logaddexp(
                prefix.in_blank[firsts, t - 1, None], np.where(before, NEVER, prefix.in_label[firsts, t - 1, None])
            )
        )
        in_blank = np.logaddexp(in_blank, in_candidate) + emissions[t, blank]
        in_candidate = np.logaddexp(in_candidate, entered) + emissions[t, names]
        leaves = np.logaddexp(in_blank, np.where(after, NEVER, in_candidate))
        total = np.logaddexp(total, leaves + suffix[nexts, t + 1, None])
    return total


def _joined(labels: Sequence[int], prefix: _Prefixes, suffix: Logs, first: int, then: int) -> float:
    """The labels before `first` and those from `then` on, nothing between."""
    starts = suffix[then, 1:]
    repeats = first > 0 and then < len(labels) and labels[first - 1] == labels[then]
    leaves = prefix.in_blank[first] if repeats else np.logaddexp(prefix.in_blank[first], prefix.in_label[first])
    at_once = suffix[then, 0] if first == 0 else NEVER
    return float(np.logaddexp(np.logaddexp.reduce(leaves + starts), at_once))


@dataclass(frozen=True)
class Judged:
    """What a phone of a sequence came to.

    Attributes:
        right: 0 to 1, that it was said, among all that could have been said in its place.
        heard: the likeliest that was said in its place, an index of the candidates; None for nothing.
        probability: of that, 0 to 1.
    """

    right: float
    heard: int | None
    probability: float


@dataclass(frozen=True)
class Added:
    """What was said besides: before label `place`, a candidate's index, and how likely it is, 0 to 1."""

    place: int
    heard: int
    probability: float


def judge(found: Likelihoods, labels: Sequence[int], candidates: Sequence[int]) -> tuple[list[Judged], list[Added]]:
    """Each label, and for each gap that is likelier filled than not what fills it."""
    columns = {label: column for column, label in enumerate(candidates)}
    judged = []
    for row, deleted, label in zip(found.substituted, found.deleted, labels, strict=True):
        logs = np.append(row, deleted)
        shares = np.exp(logs - np.logaddexp.reduce(logs))
        best = int(np.argmax(shares))
        judged.append(Judged(float(shares[columns[label]]), best if best < len(row) else None, float(shares[best])))
    added = []
    for place, row in enumerate(found.inserted):
        logs = np.append(row, found.said)
        shares = np.exp(logs - np.logaddexp.reduce(logs))
        best = int(np.argmax(shares))
        if best < len(row):
            added.append(Added(place, best, float(shares[best])))
    return judged, added
