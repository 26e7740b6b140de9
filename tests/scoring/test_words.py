"""Words of a lexicon in frames, against every path one by one."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest

from unispeech_ft.scoring.greedy import collapse
from unispeech_ft.scoring.words import GAIN, word_search

BLANK, A, B, C = range(4)
ENTRIES = [("ab", [A, B]), ("a", [A]), ("abb", [A, B, B]), ("ba", [B, A]), ("ba too", [B, A])]
COSTS = (2.5, 1.9)
Said = list[tuple[str, list[int]]]


def cost(said: Said) -> float:
    return sum(min(COSTS[0], len(own) * COSTS[1] - GAIN) if word else COSTS[1] for word, own in said)


def readings(labels: Sequence[int]) -> list[Said]:
    """Every way in which labels are words and phones outside words."""
    if not labels:
        return [[]]
    pieces = [(word, said) for word, said in ENTRIES if list(labels[: len(said)]) == said] + [("", [labels[0]])]
    return [[(word, list(said)), *rest] for word, said in pieces for rest in readings(labels[len(said) :])]


def best_by_brute_force(frames: np.ndarray) -> tuple[float, dict[tuple[int, ...], float]]:
    """The score of the best path and reading, and the best path of each sequence of labels."""
    paths: dict[tuple[int, ...], float] = {}
    for path in itertools.product(range(frames.shape[1]), repeat=len(frames)):
        labels = tuple(collapse(list(path), BLANK))
        score = float(frames[np.arange(len(frames)), list(path)].sum())
        paths[labels] = max(score, paths.get(labels, -np.inf))
    best = max(score - min(map(cost, readings(labels))) for labels, score in paths.items())
    return best, paths


@pytest.mark.parametrize("seed", range(30))
def test_no_path_is_better(seed: int) -> None:
    random = np.random.default_rng(seed)
    frames = np.log(random.dirichlet(np.full(4, random.choice([0.2, 1.0])), 1 + seed % 6) + 1e-6).astype(np.float32)
    said = word_search(ENTRIES, [A, B, C], BLANK, COSTS)(frames)
    best, paths = best_by_brute_force(frames)
    labels = tuple(label for _, own in said for label in own)
    assert all(not word or own in [entry for name, entry in ENTRIES if name == word] for word, own in said)
    # A word of one phone beside phones outside words has become one of these.
    score = max(paths[labels] - cost(reading) for reading in readings(labels))
    assert score == pytest.approx(best, abs=1e-4)
    lone = [(first, second) for first, second in itertools.pairwise(said) if "" in (first[0], second[0])]
    assert not [pair for pair in lone for word, own in pair if word and len(own) == 1]


def frames_of(*rows: int) -> np.ndarray:
    sure = np.full((len(rows), 4), 1e-5)
    sure[np.arange(len(rows)), list(rows)] = 1
    return np.log(sure / sure.sum(axis=1, keepdims=True)).astype(np.float32)


def test_words_phones_outside_and_silence() -> None:
    search = word_search(ENTRIES, [A, B, C], BLANK, COSTS)
    assert search(frames_of()) == []
    assert search(frames_of(BLANK, BLANK)) == []
    assert search(frames_of(A, B, B, B, BLANK, C, BLANK)) == [("ab", [A, B]), ("", [C])]
    assert search(frames_of(A, B, BLANK, B)) == [("abb", [A, B, B])]
    assert search(frames_of(B, B, A, A)) == [("ba", [B, A])]
    assert search(frames_of(A, BLANK, A, A)) == [("a", [A]), ("a", [A])]
    assert search(frames_of(C, BLANK, A)) == [("", [C]), ("", [A])]
    assert word_search([], [A, B], BLANK)(frames_of(A, A, BLANK, B)) == [("", [A]), ("", [B])]
    only = word_search([("a", [A])], [], BLANK)
    assert only(frames_of(A, A, BLANK, A)) == [("a", [A]), ("a", [A])]
