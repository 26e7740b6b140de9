"""Trainings that the page started: the command in a process of its own, and its figures as they come."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from unispeech_ft.app.workspace import CHECKPOINTS, Wishes, Workspace, write_config
from unispeech_ft.errors import GO_ON, UserError
from unispeech_ft.runs.evidence import CONFIG
from unispeech_ft.scoring.report.figures import parse_curves
from unispeech_ft.tasks.ctc_phoneme.config import CtcPhonemeConfig, load_config
from unispeech_ft.training.checkpoint import number_of, sorted_checkpoints
from unispeech_ft.training.loop import METRICS

POLL_S = 0.5
LAST_LINES = 12
BAR = re.compile(r"\d+%\|")
MEANS = "PER: of 100 phones, how many are wrong"
# Of a command that a signal ended: before and after Python has its handlers, and saved.
STOPPED = (-signal.SIGINT, -signal.SIGTERM, 128 + signal.SIGINT, 128 + signal.SIGTERM)


@dataclass(frozen=True)
class Look:
    """How far a training is.

    Attributes:
        run: its folder.
        updates: that it is to make.
        losses: (update, loss).
        pers: (update, PER in %), of the validation split.
        first_evaluation: the update behind which the first of them is measured; None where nobody knows.
        saved: updates of its newest checkpoint; None where there is none.
        said: the last lines that the command wrote.
        status: the command's exit status; None while it runs.
        stopping: whether it was asked to end.
    """

    run: Path
    updates: int
    losses: list[tuple[float, float]] = field(default_factory=list)
    pers: list[tuple[float, float]] = field(default_factory=list)
    first_evaluation: int | None = None
    saved: int | None = None
    said: str = ""
    status: int | None = None
    stopping: bool = False


@dataclass
class Training:
    """A command that was started.

    Attributes:
        run: its folder.
        updates, first_evaluation: as in `Look`.
        stopping: whether it was asked to end.
    """

    process: subprocess.Popen[bytes]
    run: Path
    updates: int
    first_evaluation: int
    stopping: bool = False

    def watch(self) -> Iterator[Look]:
        """Looks again and again, the last time when the command has ended."""
        while True:
            status = self.process.poll()
            yield look(self.run, self.updates, status, self.first_evaluation, stopping=self.stopping)
            if status is not None:
                return
            time.sleep(POLL_S)


class Trainings:
    """The trainings of a page, one at a time; what was trained before the page was opened is read from its folder."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.newest: Training | None = None

    def begin(self, wishes: Wishes) -> Training:
        """Starts a training of what was chosen.

        Raises:
            UserError: one runs, or a value cannot be used.
        """
        self._refuse_two()
        return self._start(write_config(self.workspace, wishes), resumed=False)

    def resume(self) -> Training:
        """Goes on with the training that was stopped last, from its newest checkpoint.

        Raises:
            UserError: one runs, or none was stopped.
        """
        return self._start(self._stopped() / CONFIG)

    def finish(self) -> Training:
        """Scores and exports what the training that was stopped last has learnt so far, without further updates.

        Raises:
            UserError: as `resume`.
        """
        stopped = self._stopped()
        saved = number_of(sorted_checkpoints(stopped / CHECKPOINTS)[-1])
        return self._start(stopped / CONFIG, {"schedule.updates": saved})

    def stop(self) -> None:
        """Asks the command to end after the update at hand, once: a second signal would not let it save.

        Raises:
            UserError: none runs.
        """
        running = self.running()
        if running is None:
            raise UserError("no training runs", remedy="press Train, or Resume for one that was stopped")
        if not running.stopping:
            running.stopping = True
            running.process.send_signal(signal.SIGINT)

    def running(self) -> Training | None:
        """The command that has not ended yet."""
        return self.newest if self.newest and self.newest.process.poll() is None else None

    def watch(self) -> Iterator[Look]:
        """The newest training, looked at until it ends; nothing where there was none."""
        if self.newest:
            yield from self.newest.watch()
        elif before := self.workspace.newest_run():
            ended = 0 if before in self.workspace.runs() else 128 + signal.SIGINT
            yield look(before, load_config(before / CONFIG).schedule.updates, ended)

    def _refuse_two(self) -> None:
        if running := self.running():
            raise UserError(f"{running.run.name} is being trained", remedy="wait for it, or press Stop and save")

    def _stopped(self) -> Path:
        self._refuse_two()
        stopped = self.workspace.stopped()
        if not stopped:
            raise UserError("no training was stopped, so there is none to go on with", remedy="press Train")
        return stopped[0]

    def _start(self, config: Path, keys: Mapping[str, object] | None = None, *, resumed: bool = True) -> Training:
        overrides = {**(keys or {}), "resume": resumed}
        settings = load_config(config, overrides)
        run = Path(settings.output_dir)
        log = _log_of(run)
        log.parent.mkdir(parents=True, exist_ok=True)
        given = [word for key, value in overrides.items() for word in (f"--{key}", str(value).lower())]
        words = [sys.executable, "-m", "unispeech_ft.cli", "train", str(config), *given]
        with log.open("wb") as file:
            process = subprocess.Popen(words, stdout=file, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        self.newest = Training(process, run, settings.schedule.updates, first_evaluation(settings))
        return self.newest


def _log_of(run: Path) -> Path:
    """What the command of a run writes, in a file of its name beside it."""
    return run.with_suffix(".txt")


def first_evaluation(config: CtcPhonemeConfig) -> int:
    """The update behind which a run first measures a PER."""
    settings = config.evaluation
    return min(settings.every_updates * (settings.start_after // settings.every_updates + 1), config.schedule.updates)


def look(
    run: Path, updates: int, status: int | None, first_evaluation: int | None = None, *, stopping: bool = False
) -> Look:
    """What `metrics.jsonl`, the checkpoints and the command's lines say now. Arguments as in `Look`."""
    metrics, log = run / METRICS, _log_of(run)
    curves = parse_curves(metrics.read_text(encoding="utf-8") if metrics.is_file() else "")
    text = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
    lines = [line for line in last_states(text) if line]
    # What stands before the last line is no bar that moves any more.
    lines = [line for line in lines[:-1] if not BAR.search(line)] + lines[-1:]
    said = "\n".join(lines[-LAST_LINES:]).replace(GO_ON, "press Resume to go on")
    pers = [(update, 100 * per) for update, per in curves.per]
    saved = [number_of(folder) for folder in sorted_checkpoints(run / CHECKPOINTS)]
    return Look(run, updates, curves.loss, pers, first_evaluation, saved[-1] if saved else None, said, status, stopping)


def last_states(written: str) -> list[str]:
    """The lines of what a command wrote; of a bar that was drawn over and over, its last state."""
    return [row.rstrip("\r").rpartition("\r")[2].rstrip() for row in written.split("\n")]


def headline(now: Look) -> str:
    """How far a training is, in one line of Markdown."""
    done = int(now.losses[-1][0]) if now.losses else 0
    per = f", PER **{now.pers[-1][1]:.1f} %**" if now.pers else ""
    far = f"update {done} of {now.updates}{per} ({now.run.name})"
    if now.status is None and now.stopping:
        return f"Stopping after the update at hand, which is saved: {far}"
    if now.status is None:
        return f"Training: {far}" if done else f"Getting ready: speech, labels and sound come first ({now.run.name})"
    if now.status == 0:
        return f"Done: {far}. It is the model that **Transcribe** takes."
    if now.saved is None:
        if now.status in STOPPED:
            return f"Stopped before the first update, so nothing is saved ({now.run.name}). **Train** begins anew."
        return "Ended early: read below what the command says"
    resumed = "**Resume** goes on from there; **Finish here** makes a model of what it has learnt so far."
    if now.status in STOPPED:
        return f"Stopped and saved: update {now.saved} of {now.updates}{per} ({now.run.name}). {resumed}"
    return f"Ended early: read below what the command says. Update {now.saved} is saved. {resumed}"


def instead_of_pers(now: Look | None) -> str:
    """What stands where the chart of the PERs will be, in one line of Markdown; nothing once there is one.

    Args:
        now: None before the first training.
    """
    if now is None:
        return f"{MEANS}. A training measures it from time to time."
    if now.pers:
        return ""
    if now.status is not None:
        return f"{MEANS}. None was measured before this training ended."
    return f"{MEANS}. It is measured for the first time behind update {now.first_evaluation}."
