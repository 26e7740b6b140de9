"""Forced alignment against torchaudio's, and against every path there is."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from unispeech_ft.scoring.forced import _compiled, forced_path, forced_segments
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
    for _ in range(1000):
        frames, labels = random_case(random)
        path, expected = forced_path(frames, labels, BLANK), reference_path(frames, labels)
        assert path.tolist() == expected.tolist()
        assert score(frames, path) == score(frames, expected)


def test_equal_paths():
    """Posteriors of few values, where many paths tie: never a worse path, and the same where torchaudio's is best."""
    random, same = np.random.default_rng(1), 0
    for _ in range(1000):
        rows, labels = 4, random.integers(1, 4, size=random.integers(1, 8)).tolist()
        needed = len(labels) + sum(one == other for one, other in itertools.pairwise(labels))
        frames = -random.integers(1, 4, size=(needed + int(random.integers(0, 12)), rows)).astype(np.float32)
        path = forced_path(frames, labels, BLANK)
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
        path = forced_path(frames, labels, BLANK)
        assert score(frames, path) == max(score(frames, other) for other in all_paths)


def test_a_minute():
    random = np.random.default_rng(4)
    labels = random.integers(1, 40, size=900).tolist()
    logits = torch.from_numpy(random.normal(size=(3000, 40))).float() * 3
    frames = torch.log_softmax(logits, dim=-1).numpy()
    assert forced_path(frames, labels, BLANK).tolist() == reference_path(frames, labels).tolist()


def test_odd_sizes():
    frames = np.log(np.full((3, 4), 0.25, dtype=np.float32))
    assert [forced_path(some, [], BLANK).tolist() for some in (frames, frames[:0])] == [[0, 0, 0], []]
    assert forced_segments(frames, [1, 1], BLANK) == [(1, 0, 1), (1, 2, 3)]
    assert forced_segments(frames, [3, 1, 2], BLANK) == [(3, 0, 1), (1, 1, 2), (2, 2, 3)]
    with pytest.raises(ValueError, match="need 4 frames, but there are 3"):
        forced_segments(frames, [1, 1, 2], BLANK)
    certain = np.full((4, 3), -np.inf, dtype=np.float32)
    certain[[0, 1, 2, 3], [1, 0, 2, 2]] = 0.0
    assert forced_segments(certain, [1, 2], BLANK) == [(1, 0, 1), (2, 2, 4)]


def test_without_a_folder_for_machine_code(monkeypatch):
    """An installation that nobody may write to, and a user without a home."""
    frames = np.log(np.full((3, 4), 0.25, dtype=np.float32))
    monkeypatch.setattr("numba.core.caching.CompileResultCacheImpl._locator_classes", [])
    _compiled.cache_clear()
    assert collapse(forced_path(frames, [3, 1], BLANK), BLANK) == [3, 1]
    assert not _compiled().stats.cache_path
    _compiled.cache_clear()
