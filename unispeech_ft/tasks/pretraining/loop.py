"""The pre-training loop: updates, a health check of each, evaluation of the CTC branch, checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch.utils.data import DataLoader

from unispeech_ft.data.streaming import Pieces, StreamState
from unispeech_ft.errors import UserError
from unispeech_ft.tasks.pretraining.batches import LabelledClips, PretrainBatch, Shaping, SlotStream
from unispeech_ft.tasks.pretraining.config import PretrainConfig
from unispeech_ft.tasks.pretraining.health import CodebookWatch
from unispeech_ft.tasks.pretraining.slots import Slots, workers_for
from unispeech_ft.tasks.pretraining.step import run_pretraining_update, update_temperature
from unispeech_ft.training.checkpoint import Progress, find_checkpoint, load_checkpoint, read_streams, save_checkpoint
from unispeech_ft.training.metrics_logger import Journal
from unispeech_ft.training.step import make_optimizer

if TYPE_CHECKING:
    from accelerate import Accelerator
    from transformers import PreTrainedModel

# More bad recordings than this share, once so many were read, stop the run.
MAX_BAD_SHARE, BAD_AFTER = 0.05, 200


@dataclass(frozen=True)
class PretrainTask:
    """Everything that a pre-training trains on.

    Attributes:
        network: on the process's device.
        slots: which speech each sub-batch comes from.
        labelled, pieces: the speech; None where there is none of the kind.
        validate: scores the CTC branch (`per` and more by name); None where there is nothing to score.
        identity: of data, labels, plan and model; checkpoints of another are refused.
    """

    network: PreTrainedModel
    slots: Slots
    shaping: Shaping
    labelled: LabelledClips | None
    pieces: Pieces | None
    validate: Callable[[], Mapping[str, Any]] | None
    identity: str


def loader(stream: SlotStream, workers: int, *, pin_memory: bool) -> DataLoader[Any]:
    """Loads a stream; workers are spawned, since a forked one may hang in the libraries' threads (pyarrow)."""
    context = "spawn" if workers else None
    return DataLoader(
        stream, batch_size=None, num_workers=workers, pin_memory=pin_memory, multiprocessing_context=context
    )


def _batches(
    task: PretrainTask, states: Mapping[int, StreamState], config: PretrainConfig, accelerator: Accelerator, first: int
) -> Iterator[PretrainBatch]:
    rank, world = accelerator.process_index, accelerator.num_processes
    stream = SlotStream(
        task.slots,
        task.shaping,
        task.labelled,
        task.pieces,
        states,
        first=first,
        last=config.schedule.updates,
        rank=rank,
        world=world,
    )
    on_gpu = accelerator.device.type == "cuda"
    workers = workers_for(task.slots.share(rank, world), config.data.num_workers) if on_gpu else 0
    for item in loader(stream, workers, pin_memory=on_gpu):
        if isinstance(item, UserError):
            raise item
        yield item


def _gather_states(mine: Mapping[int, StreamState], accelerator: Accelerator) -> dict[int, Any]:
    """The states of all streams, on every process, as plain mappings."""
    states = [(slot, asdict(state)) for slot, state in mine.items()]
    if accelerator.num_processes > 1:
        from accelerate.utils import gather_object

        states = gather_object(states)
    return dict(sorted(states))


def _check_recordings(states: Mapping[int, StreamState]) -> None:
    read, bad = sum(state.read for state in states.values()), sum(state.bad for state in states.values())
    if read >= BAD_AFTER and bad > MAX_BAD_SHARE * read:
        fault = next(state.fault for state in states.values() if state.fault)
        raise UserError(
            f"unlabelled.root: {bad} of {read} recordings so far are bad, for example {fault}",
            remedy="mend or remove them",
        )


def _start(
    task: PretrainTask, optimizer: Any, config: PretrainConfig, accelerator: Accelerator
) -> tuple[Progress, dict[int, StreamState]]:
    """Where the run begins: at update 0, or where its checkpoint stood."""
    checkpoint = find_checkpoint(config)
    if checkpoint is None:
        return Progress(task.identity), {}
    progress = load_checkpoint(checkpoint, task.network, optimizer, accelerator.scaler, task.identity)
    if accelerator.is_main_process:
        Journal.cut(Path(config.output_dir) / "metrics.jsonl", progress.updates)
    return progress, {slot: StreamState(**state) for slot, state in read_streams(checkpoint).items()}


def pretrain(task: PretrainTask, config: PretrainConfig, accelerator: Accelerator) -> Progress:
    """Trains to the last update. Writes metrics.jsonl and checkpoints below `output_dir`.

    Raises:
        UserError: the checkpoint to resume from is missing or of another task, or recordings cannot be read.
    """
    output = Path(config.output_dir)
    optimizer: Any = accelerator.prepare(
        make_optimizer(task.network, config.optimizer, fused=config.training.fused_optimizer)
    )
    progress, states = _start(task, optimizer, config, accelerator)
    task.network.train()
    batches = _batches(task, states, config, accelerator, progress.updates)
    mine = set(task.slots.share(accelerator.process_index, accelerator.num_processes))
    states = {slot: state for slot, state in states.items() if slot in mine}
    quantiser = task.network.quantizer
    watch = CodebookWatch(quantiser.num_groups, quantiser.num_vars, max(0, config.schedule.warmup - progress.updates))
    journal = Journal(output / "metrics.jsonl", accelerator, progress.updates, config.schedule.updates, watch)
    for number in range(progress.updates, config.schedule.updates):
        result, done, padded_s = run_pretraining_update(
            task.network, optimizer, number, task.slots, batches, config, accelerator
        )
        states |= {batch.slot: batch.state for batch in done if batch.state is not None}
        _check_recordings(states)
        progress = replace(progress, updates=number + 1)
        journal.update(progress.updates, max([batch.epoch for batch in done], default=0), padded_s, result)
        last = progress.updates == config.schedule.updates
        settings = config.evaluation
        due = progress.updates > settings.start_after and progress.updates % settings.every_updates == 0
        if task.validate is not None and (due or last):
            journal.evaluation(progress.updates, task.validate())
        if progress.updates % config.checkpointing.every_updates == 0 or last:
            everywhere = _gather_states(states, accelerator)
            if accelerator.is_main_process:
                keep = config.checkpointing.keep_last
                save_checkpoint(
                    output / "checkpoints", task.network, optimizer, accelerator.scaler, progress, keep, everywhere
                )
    journal.close()
    accelerator.wait_for_everyone()
    return progress


def temperature_line(config: PretrainConfig) -> str:
    """The Gumbel temperature's way, for people."""
    first, last = update_temperature(0, config), update_temperature(config.schedule.updates - 1, config)
    return f"Gumbel temperature: {first:.3g} at the start, {last:.3g} at the end"
