"""Boundaries finer than frames: what is read of a path, what may be done to its times, and what a folder may hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from unispeech_ft.errors import UserError
from unispeech_ft.models.boundaries import BOUNDARIES, load_boundaries, save_boundaries
from unispeech_ft.scoring.boundaries import BoundaryModel, places_of, refined, shapes_of
from unispeech_ft.scoring.greedy import Segment
from unispeech_ft.scoring.timing import FrameGrid, PhoneTime

ROWS, GRID = 6, FrameGrid(0.02, 0.005)
MARKS = [Segment(1, 2, 3), Segment(2, 6, 8), Segment(2, 10, 11), Segment(4, 40, 41)]
TIMES = [PhoneTime(0.0, 0.1, 0.5), PhoneTime(0.1, 0.18, 0.6), PhoneTime(0.18, 0.3, 0.7), PhoneTime(0.7, 0.9, 0.8)]


def network(scale: float, seed: int = 0) -> BoundaryModel:
    random = np.random.default_rng(seed)
    tensors = {name: (scale * random.normal(size=shape)).astype(np.float32) for name, shape in shapes_of(ROWS).items()}
    return BoundaryModel({**tensors, "spread": np.ones(7, dtype=np.float32)})


def test_what_is_read_of_a_boundary() -> None:
    places = places_of(MARKS, TIMES, GRID, ROWS)
    assert places.left.tolist() == [ROWS, 1, 2, 2, 1, 2, 2, 4]
    assert places.right.tolist() == [1, 2, 2, 4, 2, 2, 4, ROWS]
    assert places.features[:, 0].tolist() == [1, 0, 0, 1, 0, 0, 1, 1], "a pause, or an end of the clip"
    assert places.features[:, 1].tolist() == [1] * 4 + [0] * 4
    # Between the first two: 3 frames, the boundary 1.75 behind the first mark and 1.25 before the second.
    np.testing.assert_allclose(places.features[1, 2:], [3, 1.75, 1.25, 1, 2], atol=1e-5)
    assert places.times_s.tolist() == [0.0, 0.1, 0.18, 0.7, 0.1, 0.18, 0.3, 0.9]


def test_a_network_that_says_nothing_changes_nothing() -> None:
    found = refined(network(0.0), MARKS, TIMES, GRID, 1.0)
    np.testing.assert_allclose([time[:] for time in found], [time[:] for time in TIMES], atol=1e-9)
    assert refined(network(0.0), [], [], GRID, 1.0) == []


@pytest.mark.parametrize("seed", range(20))
def test_whatever_it_says_phones_stay_in_order_and_in_the_clip(seed: int) -> None:
    found = refined(network(3.0, seed), MARKS, TIMES, GRID, 1.0)
    edges = [edge for time in found for edge in (time.start_s, time.end_s)]
    assert edges == sorted(edges)
    assert 0 <= edges[0] <= edges[-1] <= 1.0
    assert [time.posterior for time in found] == [0.5, 0.6, 0.7, 0.8]
    assert found[0].end_s == found[1].start_s, "what touched goes on touching"


def test_a_folder_gives_back_what_was_kept_in_it(tmp_path: Path) -> None:
    assert load_boundaries(tmp_path, ROWS) is None
    model = network(1.0)
    save_boundaries(tmp_path, model)
    again = load_boundaries(tmp_path, ROWS)
    assert again is not None
    assert refined(again, MARKS, TIMES, GRID, 1.0) == refined(model, MARKS, TIMES, GRID, 1.0)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        ("rows", "of another model"),
        ("missing", "of another model"),
        ("nan", "no finite numbers"),
        ("wide", "no finite numbers"),
        ("cut", "cannot be read"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused(damage: str, reason: str, tmp_path: Path) -> None:
    tensors = dict(network(1.0).tensors)
    if damage == "missing":
        del tensors["bias_3"]
    elif damage == "nan":
        tensors["left"][0, 0] = np.nan
    elif damage == "wide":
        tensors = {name: tensor.astype(np.float64) for name, tensor in tensors.items()}
    save_file(tensors, tmp_path / BOUNDARIES)
    if damage == "cut":
        (tmp_path / BOUNDARIES).write_bytes((tmp_path / BOUNDARIES).read_bytes()[:100])
    with pytest.raises(UserError, match=reason) as refused:
        load_boundaries(tmp_path, ROWS + (damage == "rows"))
    assert "unispeech-ft boundaries" in refused.value.remedy
