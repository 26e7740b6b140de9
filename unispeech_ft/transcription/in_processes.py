"""Many recordings read by processes, while a GPU works on those before them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Generic, TypeVar

from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from unispeech_ft.launching import available_cores

Item = TypeVar("Item")
# So many items of one recording travel between processes; a longer one is read where it is needed.
MOST_ITEMS = 8
# Fewer recordings are read before the processes have begun.
FEWEST_FILES, PROCESSES = 48, 4


class _Recordings(IterableDataset[Any], Generic[Item]):
    def __init__(self, paths: Sequence[Path], read: Callable[[Path], Iterable[Item]]) -> None:
        self.paths, self.read = paths, read

    def __iter__(self) -> Iterator[list[Item] | None]:
        worker = get_worker_info()
        turn, turns = (worker.id, worker.num_workers) if worker else (0, 1)
        for path in self.paths[turn::turns]:
            items = list(islice(self.read(path), MOST_ITEMS + 1))
            yield items if len(items) <= MOST_ITEMS else None


def _as_it_is(items: list[Item] | None) -> list[Item] | None:
    return items


def read_in_processes(
    paths: Sequence[Path], read: Callable[[Path], Iterable[Item]], processes: int = PROCESSES
) -> Iterator[Item]:
    """What `read` gives of each recording, in their order.

    Args:
        read: of one recording; its items must be able to travel between processes.
    """
    workers = min(processes, available_cores())
    loader = DataLoader(_Recordings(paths, read), batch_size=None, collate_fn=_as_it_is, num_workers=workers)
    for path, items in zip(paths, loader, strict=True):
        yield from read(path) if items is None else items
