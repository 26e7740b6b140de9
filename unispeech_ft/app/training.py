"""A training that the page started: the command in a process of its own, and its figures as they come."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from unispeech_ft.files import write_text

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

    losses: list[tuple[int, float]] = field(default_factory=list)
    pers: list[tuple[int, float]] = field(default_factory=list)
    said: str = ""
    status: int | None = None


def start(config: Path, run: Path) -> subprocess.Popen[bytes]:
    """Starts `unispeech-ft train CONFIG`; what it writes goes into the file `output.txt` beside its run."""
    log = run.with_suffix(".txt")
    write_text(log, "")
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
    losses, pers = [], []
    metrics = run / "metrics.jsonl"
    for line in metrics.read_text(encoding="utf-8").splitlines() if metrics.is_file() else ():
        try:
            event = json.loads(line)
        except ValueError:  # the line that is being written
            continue
        if event["event"] == "update" and event["loss"] is not None:
            losses.append((event["update"], event["loss"]))
        elif event["event"] == "evaluation" and event.get("per") is not None:
            pers.append((event["update"], 100 * event["per"]))
    log = run.with_suffix(".txt")
    text = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
    # Of a bar that was drawn over and over, its last state.
    lines = [row.rstrip("\r").rpartition("\r")[2].rstrip() for row in text.splitlines(keepends=False)]
    return Look(losses, pers, "\n".join([line for line in lines if line][-LAST_LINES:]), status)
