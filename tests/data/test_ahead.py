"""Items made beforehand: their order, their faults, and an end when nobody listens."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from unispeech_ft.data.ahead import ahead, one_ahead


def test_all_items_come_in_order() -> None:
    assert list(ahead(range(50), 2)) == list(range(50))
    assert list(ahead([], 1)) == []


def test_items_are_made_beforehand_and_no_more_than_asked_for() -> None:
    made: list[int] = []
    enough = threading.Event()

    def items() -> Iterator[int]:
        for number in range(20):
            made.append(number)
            if number == 3:
                enough.set()
            yield number

    found = ahead(items(), 2)
    assert next(found) == 0
    assert enough.wait(5), "two wait, one is being handed over"
    assert len(made) == 4
    found.close()


def test_a_fault_comes_in_its_place() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("broken")

    found = ahead(items(), 3)
    assert next(found) == 1
    with pytest.raises(ValueError, match="broken"):
        next(found)


def test_the_thread_ends_when_nobody_listens() -> None:
    before = threading.active_count()
    found = ahead(iter(range(1_000)), 1)
    next(found)
    found.close()
    assert threading.active_count() == before


def test_an_item_comes_once_the_next_is_begun() -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for number in range(4):
            made.append(number)
            yield number

    seen = [(item, len(made)) for item in one_ahead(items())]
    assert seen == [(0, 2), (1, 3), (2, 4), (3, 4)]
    assert list(one_ahead([])) == []
