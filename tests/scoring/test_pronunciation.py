"""Goodness of pronunciation equals a sum over all paths, and torch's CTC."""

from __future__ import annotations

from itertools import groupby, product

import numpy as np
import pytest
import torch

from unispeech_ft.scoring.pronunciation import judge, likelihoods

BLANK, PHONES = 0, [1, 2, 3]


def frames(count: int, seed: int, rows: int = 4) -> np.ndarray:
    logits = np.random.default_rng(seed).normal(size=(count, rows)) * 2
    return logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)


def brute(emissions: np.ndarray) -> dict[tuple[int, ...], float]:
    """Log probability of every sequence, added up path by path."""
    found: dict[tuple[int, ...], float] = {}
    for path in product(range(emissions.shape[1]), repeat=len(emissions)):
        said = tuple(label for label, _ in groupby(path) if label != BLANK)
        score = sum(emissions[t, label] for t, label in enumerate(path))
        found[said] = float(np.logaddexp(found.get(said, -np.inf), score))
    return found


@pytest.mark.parametrize("labels", [(1,), (1, 2), (2, 2), (1, 2, 1), (3, 3, 3), (1, 1, 2), (2, 1, 1)])
@pytest.mark.parametrize("count", [5, 6])
def test_every_sequence_equals_the_sum_over_its_paths(labels: tuple[int, ...], count: int) -> None:
    emissions = frames(count, 10 * len(labels) + count)
    known, found = brute(emissions), likelihoods(emissions, labels, PHONES, BLANK)
    assert found.said == pytest.approx(known[labels], abs=1e-6)

    def expected(said: tuple[int, ...]) -> float:
        return known.get(said, -np.inf)

    for place in range(len(labels)):
        before, after = labels[:place], labels[place + 1 :]
        assert found.deleted[place] == pytest.approx(expected((*before, *after)), abs=1e-6)
        for column, phone in enumerate(PHONES):
            assert found.substituted[place, column] == pytest.approx(expected((*before, phone, *after)), abs=1e-6)
    for place in range(len(labels) + 1):
        for column, phone in enumerate(PHONES):
            wanted = expected((*labels[:place], phone, *labels[place:]))
            assert found.inserted[place, column] == pytest.approx(wanted, abs=1e-6)


def test_long_ones_equal_the_ctc_loss_of_torch() -> None:
    emissions, labels = frames(300, 3, rows=40), [int(n) for n in np.random.default_rng(4).integers(1, 40, size=40)]
    found = likelihoods(emissions, labels, list(range(1, 40)), BLANK)
    logs = torch.from_numpy(emissions)[:, None]

    def ctc(said: list[int]) -> float:
        lengths = torch.tensor([300]), torch.tensor([len(said)])
        return -float(torch.nn.functional.ctc_loss(logs, torch.tensor([said]), *lengths, reduction="sum"))

    assert found.said == pytest.approx(ctc(labels), rel=1e-9)
    for place in (0, 7, 39):
        assert found.substituted[place, 11] == pytest.approx(ctc([*labels[:place], 12, *labels[place + 1 :]]), rel=1e-9)
        assert found.deleted[place] == pytest.approx(ctc([*labels[:place], *labels[place + 1 :]]), rel=1e-9)
        assert found.inserted[place, 11] == pytest.approx(ctc([*labels[:place], 12, *labels[place:]]), rel=1e-9)
        assert found.substituted[place, labels[place] - 1] == pytest.approx(found.said, rel=1e-9)


def test_what_is_said_is_right_and_what_is_not_is_named() -> None:
    sharp = np.full((9, 4), np.log(0.01))
    for t, label in enumerate([1, 0, 2, 0, 2, 0, 3, 0, 0]):
        sharp[t, label] = np.log(0.97)
    judged, added = judge(likelihoods(sharp, [1, 2, 2, 3], PHONES, BLANK), [1, 2, 2, 3], PHONES)
    assert min(item.right for item in judged) > 0.9
    assert added == []
    judged, _ = judge(likelihoods(sharp, [1, 3, 2, 3], PHONES, BLANK), [1, 3, 2, 3], PHONES)
    assert [item.right > 0.5 for item in judged] == [True, False, True, True]
    assert (judged[1].heard, judged[1].probability > 0.9) == (1, True)
    judged, _ = judge(likelihoods(sharp, [1, 2, 2, 3, 1], PHONES, BLANK), [1, 2, 2, 3, 1], PHONES)
    assert judged[4].heard is None
    _, added = judge(likelihoods(sharp, [1, 2, 3], PHONES, BLANK), [1, 2, 3], PHONES)
    assert {item.place for item in added} <= {1, 2}
    assert all(item.heard == 1 for item in added)
    assert added
