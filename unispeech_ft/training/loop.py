"""The training loop of every recipe."""

from __future__ import annotations

import gc
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unispeech_ft.config.sections import EvaluationConfig, RunConfig
from unispeech_ft.training.checkpoint import (
    Progress,
    bring_best,
    find_checkpoint,
    load_checkpoint,
    save_best,
    save_checkpoint,
)
from unispeech_ft.training.metrics_logger import MetricsLogger, cut_events
from unispeech_ft.training.schedule import lr_scale
from unispeech_ft.training.step import make_optimizer, run_update
from unispeech_ft.training.task import Batch, Task

if TYPE_CHECKING:
    from accelerate import Accelerator

METRICS = "metrics.jsonl"


def _score(
    task: Task[Batch], progress: Progress, config: RunConfig, logger: MetricsLogger, accelerator: Accelerator
) -> Progress:
    """Scores the validation split and keeps the model where it is the best so far."""
    score = task.score()
    better = score.error is not None and (progress.best_error is None or score.error < progress.best_error)
    if better:
        progress = replace(progress, best_error=score.error, best_update=progress.updates, evaluations_since_best=0)
        if accelerator.is_main_process:
            save_best(Path(config.output_dir) / "checkpoints", task.network, progress)
    elif score.error is not None:
        progress = replace(progress, evaluations_since_best=progress.evaluations_since_best + 1)
    logger.evaluation(progress.updates, score.values)
    logger.say(f"update {progress.updates}: {score.text}{' (best so far)' if better else ''}")
    if progress.updates > config.schedule.warmup:
        for warning in score.warnings:
            logger.say(f"warning: {warning}")
    return progress


def broadcast(progress: Progress, accelerator: Accelerator) -> Progress:
    """What the first process has."""
    if accelerator.num_processes == 1:
        return progress
    from accelerate.utils import broadcast_object_list

    found = [progress]
    broadcast_object_list(found)
    return found[0]


def _is_due(updates: int, settings: EvaluationConfig) -> bool:
    return updates > settings.start_after and updates % settings.every_updates == 0


def train(task: Task[Batch], config: RunConfig, accelerator: Accelerator) -> Progress:
    """Trains to the last update, or until the validation error has stopped falling (`evaluation.patience`).

    Writes metrics.jsonl and checkpoints below `output_dir`; `checkpoints/best` holds the weights with the lowest
    validation error.

    Raises:
        UserError: the checkpoint to resume from is missing or belongs to another task, or data cannot be read.
    """
    output, last = Path(config.output_dir), config.schedule.updates
    optimizer: Any = accelerator.prepare(
        make_optimizer(task.network, config.optimizer, fused=config.training.fused_optimizer)
    )
    progress, state = Progress(task.identity), None
    checkpoint = find_checkpoint(config.output_dir, config.resume)
    if checkpoint is not None:
        progress, state = load_checkpoint(checkpoint, task.network, optimizer, accelerator.scaler, task.identity)
        found = progress
        if accelerator.is_main_process:
            cut_events(output / METRICS, progress.updates)
            found = bring_best(checkpoint, output / "checkpoints", progress)
        progress = broadcast(found, accelerator)
    task.network.train()
    gc.collect()
    gc.freeze()  # else every few updates wait until all modules and models have been looked through
    logger = MetricsLogger(output / METRICS, accelerator, progress.updates, last, task.warnings)
    patience = config.evaluation.patience
    for update in task.updates(progress.updates, last, state):
        if 0 < patience <= progress.evaluations_since_best:
            logger.say(f"stopped: no better validation figure in {patience} evaluations")
            break
        lr = config.optimizer.lr * lr_scale(update.number, config.schedule)
        result = run_update(task, optimizer, update, config.optimizer, lr, config.seed, accelerator)
        progress = replace(progress, updates=update.number + 1)
        logger.update(progress.updates, update.padded_s, result)
        ends = progress.updates == last
        if task.can_score and (_is_due(progress.updates, config.evaluation) or ends):
            progress = _score(task, progress, config, logger, accelerator)
        ends = ends or 0 < patience <= progress.evaluations_since_best
        if ends or progress.updates % config.checkpointing.every_updates == 0:
            own = task.state()
            if accelerator.is_main_process:
                keep = config.checkpointing.keep_last
                save_checkpoint(
                    output / "checkpoints", task.network, optimizer, accelerator.scaler, progress, own, keep
                )
    logger.close()
    accelerator.wait_for_everyone()
    return progress
