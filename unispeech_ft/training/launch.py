"""Starting and ending the processes of a command."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from unispeech_ft.data.speech import Turns
from unispeech_ft.errors import UserError
from unispeech_ft.launching import available_cores

if TYPE_CHECKING:
    from accelerate import Accelerator

Answer = TypeVar("Answer")
# Processes may wait this long for the first one to decode the audio.
PATIENCE = timedelta(hours=12)


def start(trackers: Sequence[str] = (), output_dir: str | None = None) -> Accelerator:
    """The accelerator of this process. Precision and devices are what `accelerate` was told.

    Args:
        trackers: by accelerate's names, which write below `output_dir`.

    Raises:
        UserError: fewer processes run than were asked for.
    """
    import torch
    from accelerate import Accelerator, InitProcessGroupKwargs

    try:
        accelerator = Accelerator(
            # Without a GPU accelerate overlooks torchrun's processes unless it is told that this is a CPU.
            cpu=not torch.accelerator.is_available(),
            log_with=list(trackers) or None,
            project_dir=output_dir,
            kwargs_handlers=[InitProcessGroupKwargs(timeout=PATIENCE)],
        )
    except ValueError as error:
        raise UserError(
            f"accelerate refuses: {str(error).splitlines()[0]}", remedy="see tracking.trackers and accelerate config"
        ) from None
    check_processes(os.environ, accelerator.num_processes)
    if accelerator.device.type == "cpu":
        # accelerate's launcher sets one thread where nothing else was said.
        local = int(os.environ.get("LOCAL_WORLD_SIZE", accelerator.num_processes))
        torch.set_num_threads(max(1, available_cores() // local))
    return accelerator


def turns_of(accelerator: Accelerator) -> Turns:
    """The first process works on a cache before the others look into it, and alone shows progress."""
    return Turns(accelerator.main_process_first, accelerator.is_main_process)


def on_first(accelerator: Accelerator, ask: Callable[[], Answer]) -> Answer:
    """What the first process answers, on every process.

    Raises:
        UserError: the first process's, on every process.
    """
    said: list[Any] = [None]
    if accelerator.is_main_process:
        try:
            said = [ask()]
        except UserError as error:
            said = [error]
    if accelerator.num_processes > 1:
        from accelerate.utils import broadcast_object_list

        broadcast_object_list(said)
    if isinstance(said[0], UserError):
        raise said[0]
    answer: Answer = said[0]
    return answer


def finish(accelerator: Accelerator, *, last: bool = True) -> None:
    """Ends the trackers of a run; after the last run of a process, its process group as well."""
    if last:
        accelerator.end_training()
        return
    for tracker in accelerator.trackers:
        tracker.finish()


def check_processes(variables: Mapping[str, str], num_processes: int) -> None:
    """Refuses to run with fewer processes than were asked for.

    `accelerate launch --cpu --num_processes 2` starts a single process; it then gives it a rendezvous address, but no
    rank.

    Raises:
        UserError: with the commands that really start several.
    """
    started = int(variables.get("WORLD_SIZE") or 1)
    if started > num_processes:
        raise UserError(
            f"{started} processes were started, but accelerate sees {num_processes}",
            remedy="on a machine without a GPU set ACCELERATE_USE_CPU=true; see `accelerate env`",
        )
    asked = "ACCELERATE_MIXED_PRECISION" in variables and "MASTER_PORT" in variables and "RANK" not in variables
    if asked and num_processes == 1:
        raise UserError(
            "accelerate launch was asked for several processes, but started one",
            remedy="on CPU use `torchrun --nproc_per_node 2 recipes/…`, or"
            " `ACCELERATE_USE_CPU=true accelerate launch --multi_gpu --num_processes 2 recipes/…`",
        )
