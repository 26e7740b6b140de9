"""Recordings read by processes come in their order, long ones piece by piece."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from unispeech_ft.errors import UserError
from unispeech_ft.transcription.in_processes import MOST_ITEMS, read_in_processes


def read(path: Path) -> Iterator[str | UserError]:
    count = int(path.name)
    if count == 0:
        yield UserError("nothing", remedy="more")
    for number in range(count):
        yield f"{count}.{number}"


@pytest.mark.parametrize("processes", [1, 2])
def test_items_come_in_the_order_of_the_recordings(processes: int) -> None:
    paths = [Path(str(count)) for count in (3, 0, 1, MOST_ITEMS + 5, 2, MOST_ITEMS, 1)]
    expected = [item for path in paths for item in read(path)]
    found = list(read_in_processes(paths, read, processes))
    assert list(map(str, found)) == list(map(str, expected))
