"""Work that runs ahead of who needs it: files are decoded while the card computes."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from queue import Empty, Full, Queue
from typing import TypeVar

Item = TypeVar("Item")
# How often a producer that waits for room looks whether anybody still listens.
LOOK_S = 0.1


def ahead(items: Iterable[Item], depth: int) -> Iterator[Item]:
    """The items in their order, up to `depth` of them made beforehand by a thread.

    What making an item raises is raised here in its place. The thread ends with the items, or once nobody asks further.
    """
    made: Queue[tuple[bool, Item | BaseException | None]] = Queue(depth)
    stopped = threading.Event()

    def put(entry: tuple[bool, Item | BaseException | None]) -> None:
        while not stopped.is_set():
            try:
                made.put(entry, timeout=LOOK_S)
                return
            except Full:
                continue

    def work() -> None:
        try:
            for item in items:
                put((True, item))
                if stopped.is_set():
                    return
            put((False, None))
        except BaseException as error:
            put((False, error))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while True:
            there, item = made.get()
            if not there:
                if isinstance(item, BaseException):
                    raise item
                return
            yield item  # type: ignore[misc]
    finally:
        stopped.set()
        while thread.is_alive():
            try:
                made.get_nowait()
            except Empty:
                thread.join(LOOK_S)


def one_ahead(items: Iterable[Item]) -> Iterator[Item]:
    """The items in their order, each once the next one has been begun: a card works on that while this one is read."""
    held: list[Item] = []
    for item in items:
        held.append(item)
        if len(held) > 1:
            yield held.pop(0)
    yield from held
