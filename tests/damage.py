"""A generator of damaged inputs, by number, and what a sound answer to one is."""

from __future__ import annotations

import re
import resource
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from unispeech_ft.data.audio import BadClip
from unispeech_ft.errors import UserError, disk_fault

# Name, a sound input, and what reads a damaged one.
Kind = tuple[str, bytes, Callable[[bytes], None]]
LIMIT_S, MOST_MIB, LONGEST_LINE = 20, 1500, 2100
NUMBERS = ("-1", "0", "1e309", "9" * 5000, "300000000", "NaN", "null", "true", '"x"', "[]", "{}", "0.5")
INSERTS = (b"\0", b"\xed\xa0\x80", b"\xff\xfe", b"../../", b"[" * 2000, b"*a ", b"\r", "é\u0301".encode(), b"\x1b[2J")


def mutate(random: np.random.Generator, content: bytes) -> bytes:
    """The content with one to three faults in it."""
    for _ in range(random.integers(1, 4)):
        place = int(random.integers(0, max(1, len(content))))
        other = int(random.integers(place, len(content) + 1))
        kind = random.integers(0, 8)
        if kind == 0:
            content = content[:place]
        elif kind == 1:
            held = bytearray(content)
            for index in random.integers(0, max(1, len(held)), size=8):
                held[index : index + 1] = bytes([int(random.integers(0, 256))])
            content = bytes(held)
        elif kind == 2:
            content = content[:other] + content[place:other] * 3 + content[other:]
        elif kind in (3, 4):
            content = content[:place] + INSERTS[random.integers(0, len(INSERTS))] + content[place:]
        elif kind == 5:
            content = content[:place] + content[other:]
        else:
            found = list(re.finditer(rb"-?\d+(\.\d+)?", content))
            if found:
                number = found[random.integers(0, len(found))]
                new = NUMBERS[random.integers(0, len(NUMBERS))].encode()
                content = content[: number.start()] + new + content[number.end() :]
    return content


@contextmanager
def limited() -> Iterator[None]:
    """A limit on the time of a case; nobody answers a prompt."""

    def late(*_: Any) -> None:
        raise AssertionError(f"it took more than {LIMIT_S} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(LIMIT_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def replaced(file: Path, content: bytes) -> Iterator[Path]:
    """A file with other content, in the folder that is given, until the block ends."""
    before = file.read_bytes()
    file.write_bytes(content)
    try:
        yield file.parent
    finally:
        file.write_bytes(before)


def check(read: Callable[[bytes], None], content: bytes) -> str | None:
    """What is wrong with the answer; None where it is well."""
    started = time.monotonic()
    try:
        with limited():
            read(content)
    except UserError as error:
        longest = max(map(len, error.lines))
        return f"a line of {longest} letters" if longest > LONGEST_LINE else None
    except BadClip as reason:
        return f"a reason of {len(str(reason))} letters" if len(str(reason)) > 500 else None
    except BaseException as error:
        if isinstance(error, OSError) and disk_fault(error):  # which every command says in one line
            return None
        return f"{type(error).__name__}: {str(error)[:200]} after {time.monotonic() - started:.1f} s"
    return None


def run_cases(choices: Sequence[Kind], numbers: range) -> list[str]:
    """What went wrong, by case."""
    wrong = []
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in numbers:
        random = np.random.default_rng([2026, number])
        name, sound, read = choices[number % len(choices)]
        fault = check(read, mutate(random, sound))
        if fault:
            wrong.append(f"{number} {name}: {fault}")
    grown_mib = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak) / 1024
    if grown_mib > MOST_MIB:
        wrong.append(f"memory grew by {grown_mib:.0f} MiB")
    return wrong
