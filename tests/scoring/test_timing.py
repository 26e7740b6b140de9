"""Boundaries and posteriors from frames."""

from __future__ import annotations

import numpy as np
import pytest

from unispeech_ft.scoring.greedy import Segment
from unispeech_ft.scoring.timing import REACH_S, FrameGrid, PhoneTime, pair_times, phone_times

GRID = FrameGrid(0.02, 0.005)


def log_posteriors(*rows: tuple[float, float, float]) -> np.ndarray:
    """Frames of (blank, phone 1, phone 2)."""
    return np.log(np.array(rows))


def test_the_boundary_lies_where_the_second_phone_overtakes_the_first():
    frames = log_posteriors(
        (0.1, 0.8, 0.1), (0.8, 0.15, 0.05), (0.8, 0.15, 0.05), (0.8, 0.05, 0.15), (0.2, 0.1, 0.7), (0.1, 0.0001, 0.8999)
    )
    first, second = phone_times([Segment(1, 0, 1), Segment(2, 4, 6)], frames, GRID, 0.2)
    assert first.end_s == second.start_s == pytest.approx(0.005 + 3 * 0.02)
    assert first.start_s == 0.0
    assert second.end_s == pytest.approx(0.2)
    assert first.posterior == pytest.approx(0.8)
    assert second.posterior == pytest.approx((0.7 + 0.8999) / 2)


def test_neighbours_without_a_gap_meet_between_their_frames():
    frames = log_posteriors((0.1, 0.8, 0.1), (0.1, 0.1, 0.8))
    first, second = phone_times([Segment(1, 0, 1), Segment(2, 1, 2)], frames, GRID, 0.05)
    assert first.end_s == second.start_s == pytest.approx(0.025)


def test_a_pause_belongs_to_no_phone():
    frames = np.full((100, 3), np.log(1 / 3))
    first, second = phone_times([Segment(1, 20, 21), Segment(2, 80, 82)], frames, GRID, 2.0)
    assert first.start_s == pytest.approx(GRID.edge_s(20) - REACH_S)
    assert second.end_s == pytest.approx(GRID.edge_s(82) + REACH_S)
    assert second.start_s - first.end_s > 0.5
    assert phone_times([], frames, GRID, 2.0) == []


def test_times_never_overlap_nor_leave_the_clip():
    random = np.random.default_rng(0)
    for _ in range(50):
        frames = np.log(random.dirichlet(np.full(5, 0.2), 60) + 1e-9)
        edges = np.sort(random.choice(np.arange(60), 12, replace=False))
        marks = [Segment(int(random.integers(1, 5)), int(a), int(b)) for a, b in edges.reshape(-1, 2)]
        times = phone_times(marks, frames, GRID, 1.19)
        flat = [edge for time in times for edge in time[:2]]
        assert flat == sorted(flat)
        assert flat[0] >= 0
        assert flat[-1] <= 1.19
        for mark, time in zip(marks, times, strict=True):
            assert time.start_s <= GRID.edge_s(mark.start_frame)
            assert time.end_s >= min(1.19, GRID.edge_s(mark.end_frame))


def test_phones_that_were_not_heard_share_the_time_between_their_neighbours():
    heard = [PhoneTime(0.2, 0.4, 1.0), PhoneTime(1.0, 1.2, 1.0)]
    pairs = [("x", None), ("a", "a"), ("b", None), ("c", None), (None, "d"), ("e", None)]
    times = pair_times(pairs, heard, 2.0)
    expected = [(0.0, 0.2), (0.2, 0.4), (0.4, 0.7), (0.7, 1.0), (1.0, 1.2), (1.2, 2.0)]
    assert np.allclose(times, expected)
    assert pair_times([("a", None)], [], 0.5) == [(0.0, 0.5)]
