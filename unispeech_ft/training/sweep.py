"""A head trained once at each learning rate, from the same start; the validation split alone chooses.

In SUPERB's protocol the rate is all that is tuned, and it decides (Yang et al. 2021, section 3).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from unispeech_ft.config.labelled import ProbeConfig
from unispeech_ft.config.sections import RunConfig
from unispeech_ft.errors import UserError
from unispeech_ft.files import write_text
from unispeech_ft.training.averaging import check_validation
from unispeech_ft.training.checkpoint import AUTO, BEST, OF_A_RATE, Progress, bring_best, find_checkpoint
from unispeech_ft.training.launch import on_first
from unispeech_ft.training.loop import METRICS, train
from unispeech_ft.training.task import Batch, Task

if TYPE_CHECKING:
    from accelerate import Accelerator

SWEEP = "probe.json"


def choose(found: Mapping[float, Progress]) -> float:
    """The rate whose best validation error is the lowest; of equals the first.

    Raises:
        UserError: none has a validation error.
    """
    errors = {lr: progress.best_error for lr, progress in found.items() if progress.best_error is not None}
    if not errors:
        raise UserError("no rate of probe.lrs led to a validation figure", remedy="add lower ones")
    return min(errors, key=errors.__getitem__)


def fit(
    task: Task[Batch], config: RunConfig, probe: ProbeConfig, accelerator: Accelerator, checkpoint: Path | None
) -> None:
    """Trains a task once, or as a probe at each of its learning rates; see `loop.train` and `sweep`."""
    if probe.enabled:
        sweep(task, config, probe, accelerator, checkpoint)
    else:
        train(task, config, accelerator, checkpoint)


def sweep(
    task: Task[Batch], config: RunConfig, probe: ProbeConfig, accelerator: Accelerator, checkpoint: Path | None
) -> None:
    """Trains `task.head` alone at each of `probe.lrs`, in `output_dir/lr-RATE`.

    The chosen one's best weights and metrics then stand in `output_dir` as those of a single training would, beside
    `probe.json`: the validation error of each rate. A rate whose updates stop being finite has none.

    Args:
        checkpoint: of any rate, for a run that goes on; None begins at the start.

    Raises:
        UserError: there is no validation split, or no rate could be trained.
        Interrupted: see `loop.train`.
    """
    check_validation(config.training, probe=True, can_score=task.can_score)
    output = Path(config.output_dir)
    for name, parameter in task.network.named_parameters():
        parameter.requires_grad_(name.startswith(task.head))
    state = task.network.state_dict()
    start = {name: tensor.clone() for name, tensor in state.items() if name.startswith(task.head)}
    found: dict[float, Progress] = {}
    for lr in probe.lrs:
        optimizer = config.optimizer.model_copy(update={"lr": lr, "head_lr": None})
        one = config.model_copy(update={"output_dir": str(_folder(output, lr)), "optimizer": optimizer})
        task.network.load_state_dict(start, strict=False)
        resume = False if checkpoint is None else AUTO
        begun, _ = on_first(accelerator, partial(find_checkpoint, one.output_dir, resume))
        _folder(output, lr).mkdir(exist_ok=True)
        try:
            found[lr] = train(task, one, accelerator, begun)
        except UserError as error:
            accelerator.print(f"warning: learning rate {lr:g}: {error.what}")
            found[lr] = Progress(task.identity)
    chosen = choose(found)
    if accelerator.is_main_process:
        _leave(output, found, chosen)
        accelerator.print("\n".join(_lines(found, chosen)))
    accelerator.wait_for_everyone()


def _folder(output: Path, lr: float) -> Path:
    return output / f"{OF_A_RATE}{lr:g}"


def _leave(output: Path, found: Mapping[float, Progress], chosen: float) -> None:
    folder = _folder(output, chosen)
    (output / "checkpoints").mkdir(exist_ok=True)
    bring_best(folder / "checkpoints" / BEST, output / "checkpoints")
    shutil.copyfile(folder / METRICS, output / METRICS)
    rates = [
        {"lr": lr, "validation_error": progress.best_error, "update": progress.best_update}
        for lr, progress in found.items()
    ]
    write_text(output / SWEEP, json.dumps({"chosen_lr": chosen, "rates": rates}, indent=2) + "\n")


def _lines(found: Mapping[float, Progress], chosen: float) -> list[str]:
    """The outcome for people."""
    lines = []
    for lr, progress in found.items():
        error = "none" if progress.best_error is None else f"{progress.best_error:.4f}"
        mark = " (chosen)" if lr == chosen else ""
        lines.append(f"learning rate {lr:g}: validation error {error}, update {progress.best_update}{mark}")
    return lines
