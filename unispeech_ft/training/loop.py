"""The training loop of every recipe."""

from __future__ import annotations

import gc
import math
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unispeech_ft.config.sections import EvaluationConfig, RunConfig
from unispeech_ft.errors import Interrupted, UserError
from unispeech_ft.training.averaging import AveragedWeights, BestWeights, check_validation
from unispeech_ft.training.checkpoint import (
    Progress,
    bring_best,
    load_checkpoint,
    save_best,
    save_checkpoint,
    set_aside,
)
from unispeech_ft.training.launch import on_first
from unispeech_ft.training.metrics_logger import MetricsLogger, cut_events
from unispeech_ft.training.schedule import lr_scale
from unispeech_ft.training.signals import SignalWatch
from unispeech_ft.training.step import make_optimizer, run_update
from unispeech_ft.training.task import Batch, Score, Task

if TYPE_CHECKING:
    from accelerate import Accelerator

METRICS = "metrics.jsonl"


@dataclass(frozen=True)
class _Run:
    """What the loop reads and writes: checkpoints of one network, its optimiser and its averaged weights."""

    task: Task[Any]
    optimizer: Any
    config: RunConfig
    accelerator: Accelerator
    average: AveragedWeights | None
    best: BestWeights | None

    def resume(self, checkpoint: Path | None) -> tuple[Progress, Mapping[str, Any] | None]:
        """Where the run begins: at update 0, or where its checkpoint stood, everything later set aside."""
        task, output = self.task, Path(self.config.output_dir)
        if checkpoint is None:
            return Progress(task.identity), None
        scaler = self.accelerator.scaler
        progress, state = load_checkpoint(
            checkpoint, task.network, self.optimizer, scaler, task.identity, self.average, self.best
        )

        def clear() -> Progress:
            cut_events(output / METRICS, progress.updates)
            bring_best(checkpoint, output / "checkpoints")
            return set_aside(output / "checkpoints", progress)

        return on_first(self.accelerator, clear), state

    def save(self, progress: Progress) -> None:
        """Writes a checkpoint, on the first process; asked on every process at the same time."""
        own = self.task.state()
        if self.accelerator.is_main_process:
            checkpoints = Path(self.config.output_dir) / "checkpoints"
            keep, scaler = self.config.checkpointing.keep_last, self.accelerator.scaler
            save_checkpoint(
                checkpoints,
                self.task.network,
                self.optimizer,
                scaler,
                progress,
                own,
                keep,
                self.average,
                self.best,
            )


def _found(
    task: Task[Batch], average: AveragedWeights | None, best: BestWeights | None, update: int
) -> tuple[Score, AveragedWeights | BestWeights | None]:
    """How the network scores, or a mean of its weights where that is better, and which mean.

    The values of the first are logged by their names, those of the running mean as `averaged_NAME`, those of the mean
    of the best, where it is a new one, as `mean_of_best_NAME`.
    """
    found: Score = _finite(task.score())
    means: list[tuple[str, str, AveragedWeights | BestWeights]] = []
    if average is not None:
        means.append(("averaged", "averaged weights", average))
    if best is not None and best.take(found.error, update):
        means.append(("mean_of_best", f"the mean of updates {', '.join(map(str, best.updates))}", best))
    values, kept = dict(found.values), None
    for name, title, mean in means:
        with mean.in_place():
            score = _finite(task.score())
        values |= {f"{name}_{key}": value for key, value in score.values.items()}
        if score.error is not None and (found.error is None or score.error < found.error):
            found, kept = replace(score, text=f"{score.text} of {title}"), mean
    return replace(found, values=values), kept


def _finite(score: Score) -> Score:
    finite = score.error is None or math.isfinite(score.error)
    return score if finite else replace(score, error=None)


def _score(run: _Run, progress: Progress, logger: MetricsLogger) -> Progress:
    """Scores the validation split and keeps the model where it is the best so far."""
    score, mean = _found(run.task, run.average, run.best, progress.updates)
    better = score.error is not None and (progress.best_error is None or score.error < progress.best_error)
    if better:
        progress = replace(progress, best_error=score.error, best_update=progress.updates, evaluations_since_best=0)
        with nullcontext() if mean is None else mean.in_place():
            if run.accelerator.is_main_process:
                save_best(Path(run.config.output_dir) / "checkpoints", run.task.network, progress)
    elif score.error is not None:
        progress = replace(progress, evaluations_since_best=progress.evaluations_since_best + 1)
    logger.evaluation(progress.updates, score.values)
    logger.say(f"update {progress.updates}: {score.text}{' (best so far)' if better else ''}")
    if progress.updates > run.config.schedule.warmup:
        for warning in score.warnings:
            logger.say(f"warning: {warning}")
    return progress


def _is_due(updates: int, settings: EvaluationConfig) -> bool:
    return updates > settings.start_after and updates % settings.every_updates == 0


def _begin(task: Task[Batch], config: RunConfig, accelerator: Accelerator) -> _Run:
    """A run that has made no update."""
    optimizer: Any = accelerator.prepare(
        make_optimizer(task.network, config.optimizer, head=task.head, fused=config.training.fused_optimizer)
    )
    decay, most = config.training.ema_decay, config.training.average_best
    check_validation(config.training, probe=False, can_score=task.can_score)
    average = None if decay is None else AveragedWeights(task.network, decay)
    best = BestWeights(task.network, most) if most else None
    return _Run(task, optimizer, config, accelerator, average, best)


def _too_many_bad(in_a_row: int, updates: int, metrics: Path) -> UserError:
    return UserError(
        f"{in_a_row} updates in a row were left out: their loss or a gradient was not finite",
        remedy=f"look at the clips that {metrics} names, or lower optimizer.lr; the weights of update"
        f" {updates - in_a_row} are saved",
    )


def train(task: Task[Batch], config: RunConfig, accelerator: Accelerator, checkpoint: Path | None) -> Progress:
    """Trains to the last update, or until the validation error has stopped falling (`evaluation.patience`).

    Writes metrics.jsonl and checkpoints below `output_dir`; `checkpoints/best` holds the weights with the lowest
    validation error. SIGINT and SIGTERM save after the update at hand and end the process.

    Args:
        checkpoint: to go on from, as `runs.directory.open_run` found it; None begins at the start.

    Raises:
        UserError: weights are averaged without a validation split, the checkpoint belongs to another task, data cannot
            be read, or `training.max_bad_updates` in a row were not finite.
        Interrupted: a signal asked to end; the run is saved.
    """
    output, last = Path(config.output_dir), config.schedule.updates
    run = _begin(task, config, accelerator)
    progress, state = run.resume(checkpoint)
    task.network.train()
    gc.collect()
    gc.freeze()  # else every few updates wait until all modules and models have been looked through
    logger = MetricsLogger(output / METRICS, accelerator, progress.updates, last, task.warnings, task.clips_of)
    patience = config.evaluation.patience
    with SignalWatch() as signals:
        for update in task.updates(progress.updates, last, state):
            if 0 < patience <= progress.evaluations_since_best:
                logger.say(f"stopped: no better validation figure in {patience} evaluations")
                break
            lr = config.optimizer.lr * lr_scale(update.number, config.schedule)
            result = run_update(
                task, run.optimizer, update, config.optimizer, lr, config.seed, accelerator, stop=signals.received
            )
            if run.average is not None:
                run.average.update()
            progress = replace(progress, updates=update.number + 1)
            logger.update(progress.updates, update.padded_s, result)
            ends = progress.updates == last
            if task.can_score and (_is_due(progress.updates, config.evaluation) or ends):
                progress = _score(run, progress, logger)
            ends = ends or 0 < patience <= progress.evaluations_since_best
            alone = accelerator.num_processes == 1
            asked = not ends and (logger.stop or (alone and signals.received))
            if ends or asked or progress.updates % config.checkpointing.every_updates == 0:
                logger.flush()
                run.save(progress)
            if asked:
                logger.close()
                raise Interrupted(signals.number, config.output_dir, progress.updates)
            if logger.bad_in_a_row >= config.training.max_bad_updates:
                run.save(progress)
                logger.close()
                raise _too_many_bad(logger.bad_in_a_row, progress.updates, output / METRICS)
    logger.close()
    accelerator.wait_for_everyone()
    return progress
