"""Work in blocks: the same bytes whoever makes them, a dead worker costs its block, and what is there stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from warm import clean_environment

from unispeech_ft.data.blocks import ATTEMPTS, Work, Workers, deal, hire, make_blocks, settle
from unispeech_ft.errors import UserError

NUM_BLOCKS = 5
# Of other processes, so that they find this module.
PATH = os.pathsep.join([str(Path(__file__).parent), *sys.path])


def fill(notes: Path, deadly: dict[int, int], number: int, folder: Path) -> str:
    """Notes the attempt, and ends its process the first so many times."""
    with (notes / f"{number}.txt").open("a") as file:
        file.write(f"{os.getpid()}\n")
    (folder / "half.bin").write_bytes(b"half")
    if len(attempts(notes, number)) <= deadly.get(number, 0):
        os.kill(os.getpid(), signal.SIGKILL)
    frames = np.random.default_rng(number).normal(size=(300, 400)).astype(np.float32)
    np.save(folder / "product.npy", frames @ frames.T)
    torch.save(torch.from_numpy(frames) @ torch.from_numpy(frames).T, folder / "product.pt")
    return f"block {number}"


def fault(number: int, folder: Path) -> str:
    raise UserError(f"block {number} cannot be made", remedy="mend it")


def fault_beside_another(number: int, folder: Path) -> str:
    """The first fails once the second is at work."""
    if number:
        time.sleep(60)
    while not list(folder.parent.glob(".part-00001*")):
        time.sleep(0.02)
    return fault(number, folder)


def slow(notes: Path, num_together: int, number: int, folder: Path) -> str:
    """Is not done before so many blocks are begun."""
    fill(notes, {}, number, folder)
    while len(begun(notes)) < num_together:
        time.sleep(0.02)
    time.sleep(1.0)
    return ""


def make(work: Work, workers: Workers, say: Any = print) -> None:
    with hire(workers) as crew:
        make_blocks(work, crew, say)


def attempts(notes: Path, number: int) -> list[str]:
    file = notes / f"{number}.txt"
    return file.read_text().split() if file.is_file() else []


def begun(notes: Path) -> list[int]:
    return [number for number in range(NUM_BLOCKS) if attempts(notes, number)]


def made(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    (tmp_path / "notes").mkdir()
    return tmp_path / "notes"


@pytest.fixture
def serial(notes: Path, tmp_path: Path) -> dict[str, bytes]:
    """What one process makes; its notes are gone."""
    make(Work(tmp_path / "serial", "part", NUM_BLOCKS, partial(fill, notes, {})), Workers())
    for file in notes.iterdir():
        file.unlink()
    return made(tmp_path / "serial")


@pytest.mark.long
def test_processes_make_what_one_makes_and_a_killed_one_costs_its_block(
    serial: dict[str, bytes], notes: Path, tmp_path: Path
) -> None:
    lines: list[str] = []
    work = Work(tmp_path / "made", "part", NUM_BLOCKS, partial(fill, notes, {1: 1, 3: 2}))
    make(work, Workers(2), lines.append)
    assert made(tmp_path / "made") == serial
    assert sorted(lines) == [f"block {number}" for number in range(NUM_BLOCKS)]
    assert [len(attempts(notes, number)) for number in range(NUM_BLOCKS)] == [1, 2, 1, 3, 1]
    workers = {pid for number in range(NUM_BLOCKS) for pid in attempts(notes, number)}
    assert len(workers) >= 4, "three died"
    assert str(os.getpid()) not in workers


def test_what_is_there_stays_and_what_is_damaged_is_made_anew(
    serial: dict[str, bytes], notes: Path, tmp_path: Path
) -> None:
    work = Work(tmp_path / "serial", "part", NUM_BLOCKS, partial(fill, notes, {}))
    (work.folder(2) / "product.npy").write_bytes(b"broken")
    make(work, Workers(2))
    assert made(tmp_path / "serial") == serial
    assert [len(attempts(notes, number)) for number in range(NUM_BLOCKS)] == [0, 0, 1, 0, 0]


def test_a_block_that_ends_every_worker_is_a_fault(notes: Path, tmp_path: Path) -> None:
    work = Work(tmp_path / "made", "part", 2, partial(fill, notes, {1: 99}))
    with pytest.raises(UserError, match=rf"part-00001: {ATTEMPTS} workers died over it \(the last with status -9\)"):
        make(work, Workers(2))
    assert len(attempts(notes, 1)) == ATTEMPTS
    assert [path.name for path in work.out.iterdir()] == ["part-00000"], "nothing is left of the other"


@pytest.mark.parametrize("workers", [Workers(), Workers(2)])
def test_a_fault_of_a_block_is_the_works(tmp_path: Path, workers: Workers) -> None:
    with pytest.raises(UserError, match="cannot be made: mend it"):
        make(Work(tmp_path / "made", "part", 2, fault), workers)
    assert not list(tmp_path.rglob("*part*"))


def test_a_fault_ends_the_others_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="block 0 cannot be made"):
        make(Work(tmp_path / "made", "part", 2, fault_beside_another), Workers(2))
    assert not list(tmp_path.rglob("*part*"))


@pytest.mark.long
def test_workers_end_when_who_started_them_is_killed(serial: dict[str, bytes], notes: Path, tmp_path: Path) -> None:
    """The command is killed; its workers finish what they have and no more, and the same command does the rest."""
    program = (
        "from functools import partial; from pathlib import Path; from test_blocks import *\n"
        f"if __name__ == '__main__':\n  work = Work(Path({str(tmp_path / 'made')!r}), 'part', {NUM_BLOCKS},"
        f" partial(slow, Path({str(notes)!r}), 2))\n  make(work, Workers(2))\n"
    )
    (tmp_path / "program.py").write_text(program)
    running = subprocess.Popen(
        [sys.executable, tmp_path / "program.py"], env=clean_environment() | {"PYTHONPATH": PATH}
    )
    ends = time.monotonic() + 60
    while len(begun(notes)) < 2 and time.monotonic() < ends:
        time.sleep(0.02)
    running.kill()
    running.wait()
    workers = {int(pid) for number in range(NUM_BLOCKS) for pid in attempts(notes, number)}
    while any(Path(f"/proc/{pid}").is_dir() for pid in workers) and time.monotonic() < ends:
        time.sleep(0.02)
    there = made(tmp_path / "made")
    done = [number for number in range(NUM_BLOCKS) if f"part-{number:05d}/product.npy" in there]
    assert done
    assert len(done) < NUM_BLOCKS
    make(Work(tmp_path / "made", "part", NUM_BLOCKS, partial(fill, notes, {})), Workers())
    assert made(tmp_path / "made") == serial
    assert all(len(attempts(notes, number)) == 1 for number in done)


@pytest.mark.long
def test_a_cluster_of_two_workers_makes_the_same(
    cluster: Any, serial: dict[str, bytes], notes: Path, tmp_path: Path
) -> None:
    lines: list[str] = []
    work = Work(tmp_path / "made", "part", NUM_BLOCKS, partial(fill, notes, {1: 1}))
    make(work, Workers(ray=cluster.address), lines.append)
    assert made(tmp_path / "made") == serial
    assert [len(attempts(notes, number)) for number in range(NUM_BLOCKS)] == [1, 2, 1, 1, 1]
    make(work, Workers(ray=cluster.address), lines.append)
    assert sorted(lines) == [f"block {number}" for number in range(NUM_BLOCKS)], (
        "the second time there is nothing to do"
    )


@pytest.mark.long
def test_a_machine_that_is_lost_costs_its_block(
    cluster: Any, serial: dict[str, bytes], notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of three, while all of them are at work."""
    monkeypatch.setenv("PYTHONPATH", PATH)
    lost = cluster.add_node(num_cpus=1)

    def remove_one() -> None:
        while len(begun(notes)) < 3:
            time.sleep(0.02)
        cluster.remove_node(lost, allow_graceful=False)

    thread = threading.Thread(target=remove_one, daemon=True)
    thread.start()
    make(Work(tmp_path / "made", "part", NUM_BLOCKS, partial(slow, notes, 3)), Workers(ray=cluster.address), print)
    thread.join()
    assert made(tmp_path / "made") == serial
    assert sorted(len(attempts(notes, number)) for number in range(NUM_BLOCKS)) == [1, 1, 1, 1, 2]


def with_gpu(number: int, folder: Path) -> str:
    import ray

    return str(ray.get_gpu_ids())


@pytest.mark.long
def test_a_cluster_with_gpus_gives_blocks_of_a_model_one_each(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", PATH)
    node = cluster.add_node(num_cpus=1, num_gpus=1)
    lines: list[str] = []
    for gpu in (True, False):
        make(Work(tmp_path / str(gpu), "part", 1, with_gpu, gpu), Workers(ray=cluster.address), lines.append)
    assert lines == ["[0]", "[]"]
    cluster.remove_node(node)


@pytest.mark.long
def test_faults_of_a_cluster_are_one_line(cluster: Any, notes: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="block 0 cannot be made: mend it"):
        make(Work(tmp_path / "made", "part", 1, fault), Workers(ray=cluster.address))
    with pytest.raises(UserError, match="the cluster gave a block up"):
        make(Work(tmp_path / "deadly", "part", 1, partial(fill, notes, {0: 99})), Workers(ray=cluster.address), print)
    with pytest.raises(UserError, match="there is no such cluster"):
        make(Work(tmp_path / "made", "part", 1, fault), Workers(ray="127.0.0.1:1"))


def test_without_ray_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"pip install 'unispeech-ft\[ray\]'"):
        make(Work(tmp_path / "made", "part", 1, fault), Workers(ray="auto"))


def test_a_folder_holds_one_thing(tmp_path: Path) -> None:
    settle(tmp_path / "out" / "made.json", {"files": ("a", "b")})
    settle(tmp_path / "out" / "made.json", {"files": ["a", "b"]})
    with pytest.raises(UserError, match="other settings"):
        settle(tmp_path / "out" / "made.json", {"files": ["a"]})


def test_items_are_dealt_in_their_order_by_weight() -> None:
    assert deal("abcdef", [1.0] * 6, 2.0) == [["a", "b"], ["c", "d"], ["e", "f"]]
    assert deal("abcdef", [1.0] * 6, 4.0) == [["a", "b", "c"], ["d", "e", "f"]], "groups are even, none is a rest"
    assert deal("abcd", [1.0, 9.0, 1.0, 1.0], 3.0) == [["a", "b"], ["c", "d"]], "nothing is cut, and no group is empty"
    assert deal("ab", [0.0, 0.0], 3.0) == [["a", "b"]]
