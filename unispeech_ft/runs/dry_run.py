"""What a run would do, in figures, before it does it."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch

from unispeech_ft.config.sections import ModelConfig, RunConfig
from unispeech_ft.data.audio import SAMPLE_RATE_HZ
from unispeech_ft.data.batch_plan import BatchPlan
from unispeech_ft.data.labels import LabelledSplit
from unispeech_ft.data.utterances import Split
from unispeech_ft.errors import UserError
from unispeech_ft.models.build import read_model_config
from unispeech_ft.models.families import num_frames
from unispeech_ft.runs.room import room_lines

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

BYTES_A_PARAMETER_TRAINED = 16  # weight, gradient and Adam's two moments in float32
# Activations kept for the backward pass, in values of the hidden size a layer and frame, plus attention's weights.
VALUES_A_LAYER_AND_FRAME = 34
UPDATES_TO_AVERAGE = 200


def planned_lines(config: RunConfig, splits: Mapping[Split, LabelledSplit], mixed_precision: str) -> list[str]:
    """Updates, epochs, seconds an update, memory and disk room of the planned run.

    Args:
        mixed_precision: as the accelerator names it.
    """
    train, batch = splits["train"], config.batch
    plan = BatchPlan(train.num_samples, batch.seconds_per_update, batch.seconds_per_micro_batch, config.seed)
    samples = np.concatenate([split.num_samples for split in splits.values()])
    memory = memory_lines(config, _reachable(config.model), int(train.num_samples.max()))
    return [*plan_lines(config, plan), *memory, *disk_lines(config, samples, mixed_precision)]


def disk_lines(config: RunConfig, num_samples: Iterable[int], mixed_precision: str | None) -> list[str]:
    """See `runs.room.room_lines`; none where the model cannot be reached."""
    model = _reachable(config.model)
    if model is None:
        return []
    return room_lines(config, model, count_parameters(model), num_samples, mixed_precision)


def _reachable(model: ModelConfig) -> PreTrainedConfig | None:
    try:
        return read_model_config(model)
    except UserError:
        return None


def plan_lines(config: RunConfig, plan: BatchPlan) -> list[str]:
    """Updates, epochs and seconds an update."""
    epochs = next(iter(plan.updates(config.schedule.updates - 1, config.schedule.updates))).epoch + 1
    first = list(itertools.islice(plan.updates(0, config.schedule.updates), UPDATES_TO_AVERAGE))
    seconds = [update.padded_s for update in first]
    micro_batches = sum(len(update.micro_batches) for update in first) / len(first)
    schedule, batch = config.schedule, config.batch
    return [
        f"updates: {schedule.updates}, the first {min(schedule.freeze_encoder_updates, schedule.updates)} with a frozen"
        " encoder",
        f"epochs: about {epochs} ({len(plan.epoch(0))} updates an epoch)",
        f"seconds an update: {np.mean(seconds):.0f} on average, {max(seconds):.1f} at most (limit"
        f" {batch.seconds_per_update:g}), in {micro_batches:.1f} micro-batches of at most"
        f" {batch.seconds_per_micro_batch:g}; padding {100 * plan.padding_share():.1f} %",
    ]


def count_parameters(model: PreTrainedConfig) -> int:
    """Parameters of the CTC model, counted without making any weights."""
    from transformers import AutoModelForCTC

    with torch.device("meta"):
        return sum(parameter.numel() for parameter in AutoModelForCTC.from_config(model).parameters())


def memory_lines(config: RunConfig, model: PreTrainedConfig | None, longest_samples: int) -> list[str]:
    """A rough estimate of the device memory that training needs."""
    if model is None:
        return ["model: its configuration cannot be reached now; frames and memory are not estimated"]
    parameters = count_parameters(model)
    frames = num_frames(model, round(config.batch.seconds_per_micro_batch * SAMPLE_RATE_HZ))
    longest = num_frames(model, longest_samples)
    layers = 1 if config.model.gradient_checkpointing else model.num_hidden_layers
    width = VALUES_A_LAYER_AND_FRAME * model.hidden_size + 3 * model.num_attention_heads * longest
    gib = (parameters * BYTES_A_PARAMETER_TRAINED + 4 * layers * frames * width) / 2**30
    return [
        f"model: {model.model_type}, {parameters / 1e6:.1f} M parameters",
        f"memory: about {gib:.1f} GiB on each device in float32 (an estimate)",
    ]
