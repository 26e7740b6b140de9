"""Work in blocks: numbered parts, each made whole or not at all, by whoever is there.

A block is a sealed folder (`files.keep`) that a job fills from the block's number alone, in one thread. So the bytes do
not depend on who makes it, nor on how many do, and what is there already is not made again. A worker that dies costs
the block that it had, which is tried again: here by another process, in a cluster by Ray.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import shutil
import signal
import socket
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from unispeech_ft.errors import UserError, first_line
from unispeech_ft.extras import optional
from unispeech_ft.files import keep, parse_json, write_text

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

Say = Callable[[str], None]
Item = TypeVar("Item")
PLAN = "plan"
# A block that ends so many workers would end the next one too.
ATTEMPTS = 3
CONNECT_S = 10.0


def block_folder(out: Path, name: str, number: int) -> Path:
    return out / f"{name}-{number:05d}"


@dataclass(frozen=True)
class Work:
    """What is to be made.

    Attributes:
        out: folder of the blocks; workers on other machines see it under the same name.
        name: of a block, before its number.
        fill: number of a block and an empty folder → a line for people. It passes from process to process.
        gpu: it computes on one where there is one; a cluster that has any gives each block one to itself.
    """

    out: Path
    name: str
    num_blocks: int
    fill: Callable[[int, Path], str]
    gpu: bool = False

    def folder(self, number: int) -> Path:
        return block_folder(self.out, self.name, number)

    def clear(self, number: int) -> None:
        """Removes what dead workers have left of a block."""
        for left in self.out.glob(f".{self.folder(number).name}.*-*"):
            shutil.rmtree(left, ignore_errors=True)


@dataclass(frozen=True)
class Workers:
    """Who makes the blocks: this process, several of this machine, or those of a Ray cluster.

    Attributes:
        ray: address of the cluster, `auto` for the one that this machine belongs to; None for none.
    """

    processes: int = 1
    ray: str | None = None


Crew = Callable[[Work], Iterator[str | Exception]]


def deal(items: Sequence[Item], weights: Sequence[float], weight: float) -> list[list[Item]]:
    """Items in their order as groups of about equal weight, no more of them than are needed for `weight` each."""
    num_groups = max(1, math.ceil(sum(weights) / weight))
    ends = np.cumsum(weights, dtype=np.float64)
    groups = np.minimum((ends - weights) * num_groups / max(ends[-1], 1e-9), num_groups - 1).astype(np.int64)
    starts = np.flatnonzero(np.diff(groups, prepend=-1)).tolist()
    return [list(items[start:end]) for start, end in pairwise([*starts, len(items)])]


def plan_once(out: Path, plan: Callable[[], list[list[Any]]]) -> int:
    """Keeps what each block is made of in `out/plan`, listed once, so that what comes later changes no block.

    Args:
        plan: the items of every block, as JSON can hold them.

    Returns:
        How many blocks there are.
    """

    def fill(folder: Path) -> None:
        for number, items in enumerate(plan()):
            (folder / f"{number:05d}.json").write_text(json.dumps(items), encoding="utf-8")

    keep(out / PLAN, fill)
    return len(list((out / PLAN).glob("[0-9]*.json")))


def planned(out: Path, number: int) -> Any:
    """The items of a block."""
    return json.loads((out / PLAN / f"{number:05d}.json").read_text(encoding="utf-8"))


def settle(file: Path, made: Mapping[str, Any]) -> None:
    """Writes what a folder is to hold, or finds the same there.

    Raises:
        UserError: it holds something else.
        OSError: it cannot be written.
    """
    said = json.dumps(made, indent=2)
    if file.is_file() and parse_json(file.read_text(encoding="utf-8")) != parse_json(said):
        raise UserError(
            f"{file.parent} was made with other settings or of other files ({file.name})",
            remedy="name another folder, or remove it",
        )
    file.parent.mkdir(parents=True, exist_ok=True)
    write_text(file, said + "\n")


@contextlib.contextmanager
def hire(workers: Workers) -> Iterator[Crew]:
    """Workers for one work after another; what they still do is ended with the block.

    Raises:
        UserError: there is no such cluster, or Ray is not installed.
    """
    if workers.ray is not None:
        with _cluster(workers.ray) as ray:
            yield partial(_by_ray, ray)
    elif workers.processes > 1:
        started: dict[Connection, BaseProcess] = {}
        try:
            yield partial(_by_processes, started, workers.processes)
        finally:
            for process in started.values():
                process.terminate()
            for process in started.values():
                process.join()
    else:
        yield lambda work: (_attempt(work, number) for number in range(work.num_blocks))


def make_blocks(work: Work, crew: Crew, say: Say) -> None:
    """Makes the blocks that are missing or damaged.

    Args:
        crew: of `hire`.
        say: takes the lines of those that were made, in the order in which they are finished.

    Raises:
        UserError: of a block; or workers that had it died time and again.
        OSError: a block cannot be written.
    """
    for answer in crew(work):
        if isinstance(answer, Exception):
            raise answer
        if answer:
            say(answer)
    missing = [work.folder(number).name for number in range(work.num_blocks) if not work.folder(number).is_dir()]
    if missing:
        raise UserError(
            f"{work.out}: {missing[0]} and {len(missing) - 1} more were made, but are not here",
            remedy="name a folder that all machines of the cluster share, under the same name",
        )


def _attempt(work: Work, number: int) -> str | Exception:
    """Makes a block; its line, empty where it was there; or what was raised, with where it came from."""
    import torch
    from threadpoolctl import threadpool_limits

    lines: list[str] = []
    threads = torch.get_num_threads()
    try:
        with threadpool_limits(1):
            torch.set_num_threads(1)
            keep(work.folder(number), lambda folder: lines.append(work.fill(number, folder)))
    except Exception as error:
        error.add_note(traceback.format_exc())
        return error
    finally:
        torch.set_num_threads(threads)
    return "".join(lines)


def _serve(orders: Connection) -> None:
    """A worker: makes blocks until nobody asks for any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who started it is told, and ends it
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # half a block is removed
    with contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            orders.send(_attempt(*orders.recv()))


def _start() -> tuple[Connection, BaseProcess]:
    # A forked process may hang in the libraries' threads.
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs,), daemon=True)
    process.start()
    theirs.close()
    return ours, process


def _by_processes(started: dict[Connection, BaseProcess], processes: int, work: Work) -> Iterator[str | Exception]:
    """Each process has one block at a time; one that died is replaced."""
    waiting, tries = list(reversed(range(work.num_blocks))), Counter[int]()
    busy: dict[Connection, int] = {}
    while waiting or busy:
        while len(started) < min(processes, len(waiting) + len(busy)):
            started |= [_start()]
        for orders in [orders for orders in started if orders not in busy][: len(waiting)]:
            busy[orders] = waiting.pop()
            with contextlib.suppress(BrokenPipeError):  # a dead one is found below
                orders.send((work, busy[orders]))
        for orders in [ready for ready in wait(busy) if isinstance(ready, Connection)]:
            number = busy.pop(orders)
            try:
                yield orders.recv()
            except (EOFError, ConnectionResetError):
                tries[number] += 1
                _lost(work, number, started.pop(orders), tries[number])
                waiting.append(number)


def _lost(work: Work, number: int, process: BaseProcess, times: int) -> None:
    """Raises UserError where a block has ended too many workers."""
    process.join()
    work.clear(number)
    if times == ATTEMPTS:
        raise UserError(
            f"{work.folder(number)}: {times} workers died over it (the last with status {process.exitcode})",
            remedy="look at the memory that is free; the same command goes on with what is missing",
        )


@contextlib.contextmanager
def _cluster(address: str) -> Iterator[Any]:
    ray = optional("ray", "ray", "--ray")
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        if port.isdecimal():  # Ray itself asks an address for minutes
            socket.create_connection((host.strip("[]"), int(port)), CONNECT_S).close()
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(
            f"--ray {address}: there is no such cluster ({first_line(error)})", remedy="start it with `ray start`"
        ) from None
    try:
        yield ray
    finally:
        ray.shutdown()


def _by_ray(ray: Any, work: Work) -> Iterator[str | Exception]:
    gpus = 1 if work.gpu and ray.cluster_resources().get("GPU") else 0
    task = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=ATTEMPTS - 1)(_attempt_in)
    shared = ray.put(work)
    pending = [task.remote(os.getcwd(), shared, number) for number in range(work.num_blocks)]
    while pending:
        ready, pending = ray.wait(pending)
        try:
            yield ray.get(ready[0])
        except ray.exceptions.RayError as error:
            yield UserError(
                f"{work.out}: the cluster gave a block up ({str(error).strip().splitlines()[-1]})",
                remedy="look at its machines; the same command goes on with what is missing",
            )
    for number in range(work.num_blocks):
        work.clear(number)


def _attempt_in(folder: str, work: Work, number: int) -> str | Exception:
    """The same on another machine, which reads relative names as the first one does."""
    try:
        os.chdir(folder)
    except OSError as error:
        remedy = "start from a folder that all machines of the cluster share, under the same name"
        return UserError(f"{folder} is not on a machine of the cluster ({error.strerror})", remedy=remedy)
    return _attempt(work, number)
