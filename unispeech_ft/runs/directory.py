"""The run directory: checked and locked before anything is done, then opened with what is known before training."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from unispeech_ft.config.reading import read_yaml, to_yaml
from unispeech_ft.config.sections import RunConfig
from unispeech_ft.data.utterances import Rejected
from unispeech_ft.errors import UserError
from unispeech_ft.files import write_text
from unispeech_ft.runs.environment import environment
from unispeech_ft.runs.evidence import CONFIG, ENVIRONMENT
from unispeech_ft.training import launch
from unispeech_ft.training.checkpoint import find_checkpoint, read_progress

if TYPE_CHECKING:
    from accelerate import Accelerator

LEFT_OUT = "left_out.jsonl"
LOCK = ".lock"


def check_place(output_dir: str) -> None:
    """Refuses an `output_dir` that cannot be a run's.

    Raises:
        UserError: it is a file, a folder of something else, the current folder or one above it, or cannot be written.
    """
    output = Path(output_dir).expanduser()
    remedy = "name a new folder, for example --output_dir runs/NAME"
    if output.resolve() in (Path.cwd(), *Path.cwd().parents):
        raise UserError(f"output_dir: {output_dir} is the current folder or one above it", remedy=remedy)
    if (output.exists() or output.is_symlink()) and not output.is_dir():
        raise UserError(f"output_dir: {output} is not a folder", remedy=remedy)
    if output.is_dir() and any(output.iterdir()) and not (output / CONFIG).is_file():
        raise UserError(f"output_dir: {output} holds something else than a run", remedy=remedy)
    above = next(folder for folder in (output, *output.absolute().parents) if folder.is_dir())
    if not os.access(above, os.W_OK | os.X_OK):
        raise UserError(f"output_dir: {above} cannot be written", remedy="name a folder that you may write to")


@contextmanager
def reserved(config: RunConfig) -> Iterator[None]:
    """Checks the place of a run before anything is done, and holds it against other runs while the block runs, on this
    machine and on a shared disk. Of several processes the first holds it for all; a dry run holds nothing.

    Raises:
        UserError: see `check_place`; or another run holds it, which is named.
    """
    output_dir = config.output_dir
    check_place(output_dir)
    if config.dry_run or os.environ.get("RANK", "0") != "0":
        yield
        return
    lock = Path(output_dir).expanduser()
    lock = lock.with_name(f".{lock.name}{LOCK}")
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not os.path.samestat(os.fstat(file.fileno()), lock.stat()):
                raise BlockingIOError
        except OSError:
            file.seek(0)
            raise UserError(
                f"output_dir: another run uses {output_dir} ({file.read().strip() or 'it does not say which'})",
                remedy="wait for it, end it, or name another output_dir",
            ) from None
        file.truncate(0)
        file.write(f"host {socket.gethostname()}, process {os.getpid()}\n")
        file.flush()
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


def changed_keys(before: Path, config: RunConfig) -> list[str]:
    """A line for each key of optimiser and schedule that a resumed run has other than its `config.yaml` of before."""
    try:
        values, _ = read_yaml(before)
    except UserError:
        return []
    lines = []
    for section, now in (("optimizer", config.optimizer), ("schedule", config.schedule)):
        held = values.get(section)
        for key, value in now.model_dump(mode="json").items():
            if isinstance(held, dict) and key in held and held[key] != value:
                lines.append(f"resumed with {section}.{key} {value} instead of {held[key]}")
    return lines


def open_run(config: RunConfig, identity: str, left_out: Sequence[Rejected], accelerator: Accelerator) -> Path | None:
    """Makes the run directory. An earlier run in the same place is moved aside, unless it is resumed.

    Args:
        identity: of the task.
        left_out: utterances that the run does not use.

    Returns:
        The checkpoint to go on from, whose files the first process has found whole; None at the start.

    Raises:
        UserError: the checkpoint to resume from is missing or of another task; nothing is written then.
    """
    output = Path(config.output_dir)
    checkpoint, damaged = launch.on_first(accelerator, lambda: find_checkpoint(config.output_dir, config.resume))
    if checkpoint is not None:
        read_progress(checkpoint, identity)
        for line in (*damaged, *changed_keys(checkpoint.parent.parent / CONFIG, config)):
            accelerator.print(line)
    if accelerator.is_main_process:
        if checkpoint is None and output.is_dir() and any(output.iterdir()):
            number = next(n for n in range(1, 10_000) if not output.with_name(f"{output.name}.{n}").exists())
            output.rename(output.with_name(f"{output.name}.{number}"))
            accelerator.print(f"an earlier run in {output} was moved to {output}.{number}")
        output.mkdir(parents=True, exist_ok=True)
        for left in (output / "checkpoints").glob(".*.partial-*"):
            shutil.rmtree(left, ignore_errors=True)
        write_text(output / CONFIG, to_yaml(config))
        write_text(output / ENVIRONMENT, json.dumps(environment(accelerator), indent=2, ensure_ascii=False) + "\n")
        lines = (json.dumps(vars(item), ensure_ascii=False) + "\n" for item in left_out)
        write_text(output / LEFT_OUT, "".join(lines))
    accelerator.wait_for_everyone()
    trackable = {key: str(value) for key, value in config.model_dump(mode="json").items()}
    accelerator.init_trackers("tensorboard", config=trackable)
    return checkpoint
