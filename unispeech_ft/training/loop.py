"""The training loop, shared by the recipes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch.utils.data import DataLoader

from unispeech_ft.config.sections import Config
from unispeech_ft.data.batch_plan import BatchPlan
from unispeech_ft.data.collate import Batch, SubBatchStream, TrainingSet
from unispeech_ft.tasks.ctc_phoneme.evaluate import Evaluation, warnings_about
from unispeech_ft.training.checkpoint import (
    Progress,
    find_checkpoint,
    load_checkpoint,
    save_best,
    save_checkpoint,
)
from unispeech_ft.training.metrics_logger import Journal
from unispeech_ft.training.step import make_optimizer, run_update

if TYPE_CHECKING:
    from collections.abc import Callable

    from accelerate import Accelerator
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Task:
    """Everything that a run trains on.

    Attributes:
        model: on the process's device.
        plan: the batch plan.
        training_set: the clips that the plan speaks of.
        validate: scores the validation split; None where there is none.
        inventory: the phones of the head, for warnings.
        identity: of data, labels, plan and model; checkpoints of another are refused.
    """

    model: PreTrainedModel
    plan: BatchPlan
    training_set: TrainingSet
    validate: Callable[[], Evaluation] | None
    inventory: list[str]
    identity: str


def batches_of(task: Task, config: Config, accelerator: Accelerator, first: int) -> Iterator[Batch]:
    """What this process passes through the model, in plan order, from an update on."""
    stream = SubBatchStream(
        task.plan,
        task.training_set,
        first,
        config.schedule.updates,
        accelerator.process_index,
        accelerator.num_processes,
        config.training.seconds_per_pass,
    )
    on_gpu = accelerator.device.type == "cuda"
    workers = config.data.num_workers if on_gpu else 0
    return iter(DataLoader(stream, batch_size=None, num_workers=workers, pin_memory=on_gpu))


def _validate(task: Task, progress: Progress, config: Config, journal: Journal, accelerator: Accelerator) -> Progress:
    """Scores the validation split and keeps the model where it is the best so far."""
    if task.validate is None:
        return progress
    evaluation = task.validate()
    better = progress.best_per is None or evaluation.per < progress.best_per
    if better:
        progress = replace(progress, best_per=evaluation.per, best_update=progress.updates, evaluations_since_best=0)
        if accelerator.is_main_process:
            save_best(Path(config.output_dir) / "checkpoints", task.model, progress)
    else:
        progress = replace(progress, evaluations_since_best=progress.evaluations_since_best + 1)
    values = {"per": evaluation.per, "blank_share": evaluation.blank_share, "seconds": round(evaluation.seconds, 3)}
    journal.evaluation(progress.updates, values)
    mark = " (best so far)" if better else ""
    journal.say(f"update {progress.updates}: validation PER {100 * evaluation.per:.2f} %{mark}")
    if progress.updates > config.schedule.warmup:
        for warning in warnings_about(evaluation, task.inventory):
            journal.say(f"warning: {warning}")
    return progress


def _is_due(progress: Progress, config: Config) -> bool:
    settings = config.evaluation
    return progress.updates > settings.start_after and progress.updates % settings.every_updates == 0


def _has_converged(progress: Progress, config: Config) -> bool:
    return 0 < config.evaluation.patience <= progress.evaluations_since_best


def train(task: Task, config: Config, accelerator: Accelerator) -> Progress:
    """Trains to the last update, or until the validation PER has stopped falling (`evaluation.patience`).

    Writes metrics.jsonl and checkpoints below `output_dir`; `checkpoints/best` holds the weights with the best
    validation PER.

    Raises:
        UserError: the checkpoint to resume from is missing or belongs to another task.
    """
    output = Path(config.output_dir)
    optimizer: Any = accelerator.prepare(
        make_optimizer(task.model, config.optimizer, fused=config.training.fused_optimizer)
    )
    progress = Progress(task.identity)
    checkpoint = find_checkpoint(config)
    if checkpoint is not None:
        progress = load_checkpoint(checkpoint, task.model, optimizer, accelerator.scaler, task.identity)
        if accelerator.is_main_process:
            Journal.cut(output / "metrics.jsonl", progress.updates)
    task.model.train()
    batches = batches_of(task, config, accelerator, progress.updates)
    journal = Journal(output / "metrics.jsonl", accelerator, progress.updates, config.schedule.updates)
    for update in task.plan.updates(progress.updates, config.schedule.updates):
        if _has_converged(progress, config):
            journal.say(f"stopped: no better validation PER in {config.evaluation.patience} evaluations")
            break
        result = run_update(task.model, optimizer, update, batches, config, accelerator)
        progress = replace(progress, updates=update.number + 1)
        journal.update(progress.updates, update.epoch, update.padded_s, result)
        last = progress.updates == config.schedule.updates
        if _is_due(progress, config) or last:
            progress = _validate(task, progress, config, journal, accelerator)
        due = progress.updates % config.checkpointing.every_updates == 0
        if (due or last or _has_converged(progress, config)) and accelerator.is_main_process:
            keep = config.checkpointing.keep_last
            save_checkpoint(output / "checkpoints", task.model, optimizer, accelerator.scaler, progress, keep)
    journal.close()
    accelerator.wait_for_everyone()
    return progress
