"""Which rows the graphs of a run hold; what they compute is tested on a CUDA device (tests/training/test_on_gpu.py)."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from unispeech_ft.models.graph_rooms import FRAMES_STEP, MOST_ROOMS, rooms_of

ROWS = st.lists(st.lists(st.integers(1, 400), min_size=1, max_size=12), min_size=1, max_size=30)


@given(ROWS)
@settings(max_examples=150, deadline=None)
def test_every_row_has_room_and_ends_in_silent_clips(rows: list[list[int]]) -> None:
    rooms = rooms_of(rows)
    assert 1 <= len(rooms) <= MOST_ROOMS
    assert [room.frames for room in rooms] == sorted(room.frames for room in rooms)
    for row in rows:
        starts = next(found for room in rooms if (found := room.starts(row)))
        lengths = [last - first for first, last in zip(starts, starts[1:], strict=False)]
        assert lengths[: len(row)] == row
        assert max(lengths) <= max(map(max, rows))
        assert sum(lengths) % FRAMES_STEP == 0


@given(ROWS)
@settings(max_examples=50, deadline=None)
def test_what_is_larger_has_none(rows: list[list[int]]) -> None:
    room = rooms_of(rows)[-1]
    assert room.starts([room.longest + 1]) is None
    assert room.starts([room.longest] * (room.frames // room.longest + 1)) is None
    assert room.starts([1] * (room.clips + 1)) is None


def test_a_small_last_update_has_a_room_of_its_own() -> None:
    rows = [[300] * 40] * 12 + [[300] * 10]
    assert [room.frames for room in rooms_of(rows)] == [3072, 12032]
    assert [room.frames for room in rooms_of(rows[:3])] == [12032]
