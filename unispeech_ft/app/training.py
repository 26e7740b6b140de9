"""A training that the page started: the command in a process of its own, and its figures as they come."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from unispeech_ft.scoring.report.figures import parse_curves

POLL_S = 0.5
LAST_LINES = 12


@dataclass(frozen=True)
class Look:
    """How far a training is.

    Attributes:
        losses: (update, loss).
        pers: (update, PER in %), of the validation split.
        said: the last lines that the command wrote.
        status: the command's exit status; None while it runs.
    """

    losses: list[tuple[float, float]] = field(default_factory=list)
    pers: list[tuple[float, float]] = field(default_factory=list)
    said: str = ""
    status: int | None = None


def start(config: Path, run: Path) -> subprocess.Popen[bytes]:
    """Starts `unispeech-ft train CONFIG`; what it writes goes into a file of its name beside its run."""
    log = run.with_suffix(".txt")
    log.parent.mkdir(parents=True, exist_ok=True)
    words = [sys.executable, "-m", "unispeech_ft.cli", "train", str(config)]
    with log.open("wb") as file:
        return subprocess.Popen(words, stdout=file, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)


def stop(process: subprocess.Popen[bytes]) -> None:
    """Asks it to end after the update at hand; it saves a checkpoint first."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)


def watch(process: subprocess.Popen[bytes], run: Path) -> Iterator[Look]:
    """Looks again and again, the last time when the command has ended."""
    while True:
        status = process.poll()
        yield look(run, status)
        if status is not None:
            return
        time.sleep(POLL_S)


def look(run: Path, status: int | None) -> Look:
    """What `metrics.jsonl` and the command's lines say now."""
    metrics = run / "metrics.jsonl"
    curves = parse_curves(metrics.read_text(encoding="utf-8") if metrics.is_file() else "")
    log = run.with_suffix(".txt")
    text = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
    # Of a bar that was drawn over and over, its last state.
    lines = [row.rstrip("\r").rpartition("\r")[2].rstrip() for row in text.split("\n")]
    pers = [(update, 100 * per) for update, per in curves.per]
    return Look(curves.loss, pers, "\n".join([line for line in lines if line][-LAST_LINES:]), status)
