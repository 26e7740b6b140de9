"""Forced alignment against torchaudio's, and against every path there is."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from unispeech_ft.scoring.forced import forced_paths, forced_segments
from unispeech_ft.scoring.greedy import collapse

ta_forced_align = pytest.importorskip("torchaudio.functional").forced_align
BLANK = 0


def reference_path(frames, labels):
    path, _ = ta_forced_align(torch.from_numpy(frames)[None], torch.tensor([labels], dtype=torch.int32), blank=BLANK)
    return path[0].numpy()


def score(frames, path):
    return float(frames[np.arange(len(path)), path].astype(np.float64).sum())


def random_case(random, longest=120):
    """Labels of few kinds, so that equal ones meet, and between as many frames as they need and six times that."""
    rows = int(random.integers(3, 12))
    labels = random.integers(1, rows, size=random.integers(1, longest // 4)).tolist()
    needed = len(labels) + sum(one == other for one, other in itertools.pairwise(labels))
    logits = torch.from_numpy(random.normal(size=(needed + int(random.integers(0, 5 * needed)), rows))) * 3
    return torch.log_softmax(logits, dim=-1).float().numpy(), labels


def test_a_thousand_paths_are_torchaudios():
    random = np.random.default_rng(0)
    cases = [random_case(random) for _ in range(1000)]
    for start in range(0, 1000, 50):  # batches of clips and labels of all lengths
        frames, labels = zip(*cases[start : start + 50], strict=True)
        for here, said, path in zip(frames, labels, forced_paths(frames, labels, BLANK), strict=True):
            expected = reference_path(here, said)
            assert path.tolist() == expected.tolist()
            assert score(here, path) == score(here, expected)


def test_equal_paths():
    """Posteriors of few values, where many paths tie: never a worse path, and the same where torchaudio's is best."""
    random, same = np.random.default_rng(1), 0
    for _ in range(1000):
        rows, labels = 4, random.integers(1, 4, size=random.integers(1, 8)).tolist()
        needed = len(labels) + sum(one == other for one, other in itertools.pairwise(labels))
        frames = -random.integers(1, 4, size=(needed + int(random.integers(0, 12)), rows)).astype(np.float32)
        (path,) = forced_paths([frames], [labels], BLANK)
        expected = reference_path(frames, labels)
        assert collapse(path, BLANK) == labels
        if collapse(expected, BLANK) == labels and score(frames, path) == score(frames, expected):
            same += path.tolist() == expected.tolist()
        else:
            assert collapse(expected, BLANK) != labels or score(frames, path) > score(frames, expected)
    assert same > 700


def test_no_path_is_better():
    random = np.random.default_rng(2)
    for _ in range(60):
        frames = -random.integers(1, 5, size=(7, 3)).astype(np.float32)
        labels = random.integers(1, 3, size=random.integers(1, 4)).tolist()
        all_paths = [path for path in itertools.product(range(3), repeat=7) if collapse(path, BLANK) == labels]
        (path,) = forced_paths([frames], [labels], BLANK)
        assert score(frames, path) == max(score(frames, other) for other in all_paths)


def test_company_changes_nothing():
    random = np.random.default_rng(3)
    cases = [random_case(random) for _ in range(9)]
    together = forced_paths(*zip(*cases, strict=True), BLANK)
    alone = [forced_paths([frames], [labels], BLANK)[0] for frames, labels in cases]
    assert [path.tolist() for path in together] == [path.tolist() for path in alone]


def test_many_blocks():
    """A recording of many blocks of frames, each in memory on its own."""
    random = np.random.default_rng(4)
    labels = random.integers(1, 40, size=900).tolist()
    logits = torch.from_numpy(random.normal(size=(3000, 40))).float() * 3
    frames = torch.log_softmax(logits, dim=-1).numpy()
    assert forced_paths([frames], [labels], BLANK)[0].tolist() == reference_path(frames, labels).tolist()


def test_odd_sizes():
    frames = np.log(np.full((3, 4), 0.25, dtype=np.float32))
    assert [path.tolist() for path in forced_paths([frames, frames[:0]], [[], []], BLANK)] == [[0, 0, 0], []]
    assert forced_segments(frames, [1, 1], BLANK) == [(1, 0, 1), (1, 2, 3)]
    assert forced_segments(frames, [3, 1, 2], BLANK) == [(3, 0, 1), (1, 1, 2), (2, 2, 3)]
    with pytest.raises(ValueError, match="need 4 frames, but there are 3"):
        forced_segments(frames, [1, 1, 2], BLANK)
    certain = np.full((4, 3), -np.inf, dtype=np.float32)
    certain[[0, 1, 2, 3], [1, 0, 2, 2]] = 0.0
    assert forced_segments(certain, [1, 2], BLANK) == [(1, 0, 1), (2, 2, 4)]
