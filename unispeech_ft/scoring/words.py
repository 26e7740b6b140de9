"""Words of a lexicon in what a CTC model hears: the best path through any words of it, one after another.

What fits no word stays phones: beside words, a path may say any phone of the model. A path's score is the sum of its
log posteriors over all frames, less a cost in nats for each word and for each phone outside words. The path of the
highest score is found exactly, without a beam. (flashlight-text's decoder, which serves the n-gram, holds the last
phone of a word for one frame only, unless words are spelt with a mark behind them that is a row of the head.)

Shapes: `T` frames, `V` rows of the head, `M` nodes of the lexicon's tree, `R` of them at its root, `E` where words end.
Sources: Graves et al. 2006 (the topology of CTC); Young et al. 1989, "Token passing".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import numpy.typing as npt

# Besides the words of a lexicon, people know others, which sound like them.
OTHER_WORDS = 1000
# By how much a phone outside words is less likely than one of all phones at random; in nats.
STRANGE = 2.0
# A word costs so much less at least than its phones outside words.
GAIN = 0.01
NEVER = np.float32(-1e30)

Ints = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float32]
# Log posteriors `[T, V]` → words with their labels, in the order of time; a phone outside words stands under "".
WordSearch = Callable[[npt.NDArray[np.float32]], list[tuple[str, list[int]]]]


@dataclass(frozen=True)
class _Tree:
    """The pronunciations of all words by their first phones.

    Attributes:
        labels, parents: `[M]`, the label of each node and the node before it, -1 at the root.
        words: `[M]`, the word that ends there; None where none does.
        ends, costs: `[E]`, the nodes where words end, and the cost of each.
    """

    labels: Ints
    parents: Ints
    words: list[str | None]
    ends: npt.NDArray[np.int64]
    costs: Floats


def _tree(entries: Iterable[tuple[str, Sequence[int]]], strangers: Iterable[int], costs: tuple[float, float]) -> _Tree:
    labels: list[int] = []
    parents: list[int] = []
    words: dict[int, tuple[str, float]] = {}
    known: dict[tuple[int, int], int] = {}

    def node(parent: int, label: int) -> int:
        labels.append(label)
        parents.append(parent)
        return len(labels) - 1

    for word, said in entries:
        place = -1
        for label in said:
            if (place, label) not in known:
                known[place, label] = node(place, label)
            place = known[place, label]
        if place >= 0:
            words.setdefault(place, (word, min(costs[0], len(said) * costs[1] - GAIN)))
    words |= {node(-1, label): ("", costs[1]) for label in strangers}
    names = [words[place][0] if place in words else None for place in range(len(labels))]
    prices = np.array([cost for _, cost in words.values()], np.float32)
    return _Tree(np.array(labels, np.int32), np.array(parents, np.int32), names, np.array([*words], np.int64), prices)


@dataclass(frozen=True)
class _Exit:
    """The best way to have said whole words: the node where the last ended, and the exit before it."""

    score: float
    node: int = -1
    before: int = -1


def word_search(
    entries: Iterable[tuple[str, Sequence[int]]],
    strangers: Iterable[int],
    blank: int,
    costs: tuple[float, float] | None = None,
) -> WordSearch:
    """A search for words.

    Args:
        entries: words and their labels; of words that sound alike, the first is found.
        strangers: labels that may stand outside words.
        blank: the id of the CTC blank.
        costs: of a word, and of a phone outside words; None for those of all words and all phones at random. A word of
            few phones costs no more than these; one of a single phone beside phones outside words is one of them.
    """
    entries, strangers = list(entries), list(strangers)
    if costs is None:
        costs = math.log(len(entries) + OTHER_WORDS), math.log(max(1, len(strangers))) + STRANGE
    tree = _tree(entries, strangers, costs)
    inner, root = np.flatnonzero(tree.parents >= 0), np.flatnonzero(tree.parents < 0)
    end_labels = tree.labels[tree.ends]
    above, repeats = tree.parents[inner], tree.labels[inner] == tree.labels[tree.parents[inner]]

    def search(log_posteriors: npt.NDArray[np.float32]) -> list[tuple[str, list[int]]]:
        frames = np.maximum(np.asarray(log_posteriors, np.float32), NEVER / 1e6)
        in_label, in_blank = (np.full(len(tree.labels), NEVER) for _ in range(2))
        of_label, of_blank = (np.zeros(len(tree.labels), np.int32) for _ in range(2))
        exits = [_Exit(0.0)]
        # The best exits whose last frame is a label, that or another, and the best whose last frame is blank.
        first, other, quiet = 0, 0, 0
        silence = 0.0
        for frame in frames:
            behind = np.where(repeats, NEVER, in_label[above])
            entered = np.where(behind > in_blank[above], behind, in_blank[above])
            entered_of = np.where(behind > in_blank[above], of_label[above], of_blank[above])
            better = in_label > in_blank
            in_blank, of_blank = (
                np.where(better, in_label, in_blank) + frame[blank],
                np.where(better, of_label, of_blank),
            )
            _keep(in_label, of_label, inner, entered, entered_of)
            _keep(in_label, of_label, root, *_entering(tree, root, exits, (first, other, quiet)))
            in_label += frame[tree.labels]
            silence += float(frame[blank])
            spoken, calm = in_label[tree.ends] - tree.costs, in_blank[tree.ends] - tree.costs
            best, still = int(spoken.argmax()), int(calm.argmax())
            apart = np.where(end_labels == end_labels[best], NEVER, spoken)
            first, other, quiet = (len(exits) + place for place in range(3))
            for scores, of, place in ((spoken, of_label, best), (apart, of_label, int(apart.argmax()))):
                exits.append(_Exit(float(scores[place]), int(tree.ends[place]), int(of[tree.ends[place]])))
            spoke = _Exit(float(calm[still]), int(tree.ends[still]), int(of_blank[tree.ends[still]]))
            exits.append(max(_Exit(silence), spoke, key=lambda item: item.score))
        return _words(tree, exits, max((first, quiet), key=lambda place: exits[place].score))

    return search


def _keep(scores: Floats, of: Ints, places: npt.NDArray[np.intp], new: Floats, new_of: Ints) -> None:
    """Puts better scores, and the exits that they come from, in their places."""
    better = new > scores[places]
    scores[places[better]], of[places[better]] = new[better], new_of[better]


def _entering(
    tree: _Tree, root: npt.NDArray[np.intp], exits: Sequence[_Exit], last: tuple[int, int, int]
) -> tuple[Floats, Ints]:
    """`[R]`, the best score of entering each first phone of a word, and the exit that it comes from."""
    first, other, quiet = last
    same = tree.labels[root] == (tree.labels[exits[first].node] if exits[first].node >= 0 else -1)
    place = np.where(same, other, first)
    score = np.where(same, exits[other].score, exits[first].score)
    still = exits[quiet].score >= score
    return np.where(still, exits[quiet].score, score).astype(np.float32), np.where(still, quiet, place).astype(np.int32)


def _words(tree: _Tree, exits: Sequence[_Exit], place: int) -> list[tuple[str, list[int]]]:
    found = []
    while exits[place].node >= 0:
        node, labels = exits[place].node, list[int]()
        word = tree.words[node]
        while node >= 0:
            labels.append(int(tree.labels[node]))
            node = int(tree.parents[node])
        found.append((word or "", labels[::-1]))
        place = exits[place].before
    return _without_lone(found[::-1])


def _without_lone(found: list[tuple[str, list[int]]]) -> list[tuple[str, list[int]]]:
    """Without words of a single phone in a run of single phones of which some are outside words: parts of others."""
    kept = []
    for alone, run in groupby(found, key=lambda item: len(item[1]) == 1):
        items = list(run)
        strange = alone and any(not word for word, _ in items)
        kept += [("" if strange else word, labels) for word, labels in items]
    return kept
