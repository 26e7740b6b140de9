"""What a run would do, in figures, before it does it."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from unispeech_ft.config.sections import ModelConfig, RunConfig
from unispeech_ft.data.audio import SAMPLE_RATE_HZ
from unispeech_ft.data.batch_plan import BatchPlan
from unispeech_ft.data.labels import LabelledSplit
from unispeech_ft.data.utterances import Split
from unispeech_ft.errors import UserError
from unispeech_ft.models.adapters import add_adapters, count_text, count_trained
from unispeech_ft.models.build import read_model_config
from unispeech_ft.models.families import backbone, num_frames, reads_waveforms
from unispeech_ft.runs.room import room_lines
from unispeech_ft.tasks.ctc_phoneme.config import CtcPhonemeConfig
from unispeech_ft.training.schedule import is_frozen

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

BYTES_A_WEIGHT, BYTES_A_TRAINED = 4, 12  # in float32; of one that trains gradient and Adam's two moments beside it
# Activations kept for the backward pass, in values of the hidden size a layer and frame, plus attention's weights.
VALUES_A_LAYER_AND_FRAME = 34
UPDATES_TO_AVERAGE = 200


class Weights(NamedTuple):
    """How many weights a network has, and how many of them are of which use.

    Attributes:
        kept: that checkpoints hold: all but those that no configuration trains, or that adapters leave as they are.
        trained: that some update of the run trains.
    """

    everything: int
    kept: int
    trained: int


def planned_lines(config: CtcPhonemeConfig, splits: Mapping[Split, LabelledSplit], mixed_precision: str) -> list[str]:
    """Updates, epochs, seconds an update, memory and disk room of the planned run.

    Args:
        mixed_precision: as the accelerator names it.

    Raises:
        UserError: the adapters do not fit the model.
    """
    train, batch = splits["train"], config.batch
    plan = BatchPlan(train.num_samples, batch.seconds_per_update, batch.seconds_per_micro_batch, config.seed)
    samples = np.concatenate([split.num_samples for split in splits.values()])
    model = _reachable(config.model)
    weights = None if model is None else count_weights(config, model)
    memory = memory_lines(config, model, weights, int(train.num_samples.max()))
    kept = None if weights is None else weights.kept
    return [*plan_lines(config, plan), *memory, *disk_lines(config, samples, mixed_precision, kept)]


def disk_lines(
    config: RunConfig, num_samples: Iterable[int], mixed_precision: str | None, kept: int | None = None
) -> list[str]:
    """See `runs.room.room_lines`; none where the model cannot be reached.

    Args:
        kept: weights that a checkpoint holds; None for all.
    """
    model = _reachable(config.model)
    if model is None:
        return []
    everything = count_trained(_without_weights(model))[1]
    return room_lines(config, model, everything, num_samples, mixed_precision, kept)


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


def _without_weights(model: PreTrainedConfig) -> PreTrainedModel:
    from transformers import AutoModelForCTC

    with torch.device("meta"):
        network: PreTrainedModel = AutoModelForCTC.from_config(model)
    return network


def count_weights(config: CtcPhonemeConfig, model: PreTrainedConfig) -> Weights:
    """Of the CTC model with the adapters of a run, counted without making any weights; while the encoder is frozen, its
    head alone trains.

    Raises:
        UserError: the adapters do not fit the model.
    """
    network: Any = _without_weights(copy.deepcopy(model))
    if reads_waveforms(model):
        backbone(network).feature_extractor._freeze_parameters()
    if config.adapter.kind is not None:
        add_adapters(network, config.adapter, config.seed)
    kept, everything = count_trained(network)
    frozen_to_the_end = is_frozen(config.schedule.updates - 1, config.schedule)
    return Weights(everything, kept, count_trained(network.lm_head)[0] if frozen_to_the_end else kept)


def memory_lines(
    config: CtcPhonemeConfig, model: PreTrainedConfig | None, weights: Weights | None, longest_samples: int
) -> list[str]:
    """A rough estimate of the device memory that training needs."""
    if model is None or weights is None:
        return ["model: its configuration cannot be reached now; frames and memory are not estimated"]
    frames = num_frames(model, round(config.batch.seconds_per_micro_batch * SAMPLE_RATE_HZ))
    longest = num_frames(model, longest_samples)
    frozen_to_the_end = weights.trained < weights.kept
    layers = 1 if config.model.gradient_checkpointing or frozen_to_the_end else model.num_hidden_layers
    width = VALUES_A_LAYER_AND_FRAME * model.hidden_size + 3 * model.num_attention_heads * longest
    held = weights.everything * BYTES_A_WEIGHT + weights.trained * BYTES_A_TRAINED
    gib = (held + 4 * layers * frames * width) / 2**30
    few = config.adapter.kind is not None or frozen_to_the_end
    said = f", of which {count_text(weights.trained)} train" if few else ""
    return [
        f"model: {model.model_type}, {weights.everything / 1e6:.1f} M parameters{said}",
        f"memory: about {gib:.1f} GiB on each device in float32 (an estimate)",
    ]
