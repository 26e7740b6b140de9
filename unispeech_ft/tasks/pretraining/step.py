"""One pre-training update: the sums of all sub-batches, divided by the masked frames of all processes together.

`G` groups of `V` codevectors.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from unispeech_ft.models.families import backbone
from unispeech_ft.randomness import gumbel_generator, kept_layers, seed_dropout
from unispeech_ft.tasks.pretraining.batches import PretrainBatch
from unispeech_ft.tasks.pretraining.config import PretrainConfig
from unispeech_ft.tasks.pretraining.forward import Draws, Speech, Terms, Weights, pretraining_terms
from unispeech_ft.tasks.pretraining.objective import gumbel_temperature, perplexity
from unispeech_ft.tasks.pretraining.slots import Slots
from unispeech_ft.training.schedule import lr_scale
from unispeech_ft.training.step import StepResult, sum_over_processes

if TYPE_CHECKING:
    from accelerate import Accelerator
    from transformers import PreTrainedModel

# Places of the sums in the vector that all processes add up; the codes' counts follow.
LOSS, MASKED, CTC, CONTRASTIVE, DIVERSITY, CORRECT, PROB_PERPLEXITY, SAMPLES = range(8)
NUM_SUMS = 8


def update_temperature(update: int, config: PretrainConfig) -> float:
    """The Gumbel temperature of an update (from 0)."""
    objective = config.objective
    return gumbel_temperature(update, objective.gumbel_start, objective.gumbel_end, objective.gumbel_decay)


def weights_of(config: PretrainConfig) -> Weights:
    """How the configuration weighs the terms."""
    objective = config.objective
    return Weights(
        objective.alpha,
        objective.diversity_weight,
        objective.contrastive_temperature,
        config.model.extractor_grad_scale,
    )


def sub_batch_terms(
    model: PreTrainedModel,
    batch: PretrainBatch,
    update: int,
    config: PretrainConfig,
    kept: Sequence[int] | None,
    accelerator: Accelerator,
) -> Terms:
    """The terms of one sub-batch; what is drawn for them depends on seed, update and slot alone."""
    seed_dropout(config.seed, update, batch.slot)
    gumbel = gumbel_generator(config.seed, update, batch.slot, accelerator.device)
    speech = Speech(batch.waveforms, batch.num_frames, batch.time_mask, batch.channel_mask, kept)
    draws = Draws(batch.negatives, batch.replace, gumbel, update_temperature(update, config))
    labels = None if batch.labels is None or batch.num_labels is None else (batch.labels, batch.num_labels)
    with accelerator.autocast():
        return pretraining_terms(model, speech, draws, weights_of(config), labels)


def sums_of(terms: Terms, padded_samples: int) -> Tensor:
    """What a sub-batch adds to the sums of its update: `[NUM_SUMS + G · V]`, without gradient."""
    masked = terms.num_masked
    said = [terms.loss, masked, terms.ctc_sum, terms.contrastive_sum, terms.diversity * masked, terms.correct]
    said += [terms.prob_perplexity * masked, padded_samples]
    device = terms.loss.device
    values = torch.stack([torch.as_tensor(value, dtype=torch.float64, device=device).detach() for value in said])
    return torch.cat([values.float(), terms.code_counts.flatten().float()])


def training_parameters(
    model: PreTrainedModel, kept: Sequence[int] | None, has_labels: bool, has_codes: bool
) -> list[nn.Parameter]:
    """The parameters that an update changes: not those of layers left out, nor of branches that no sub-batch of the
    update has, on whichever process. The others keep value and optimiser state."""
    layers = backbone(model).encoder.layers
    skipped = set() if kept is None else set(range(len(layers))) - set(kept)
    left_out = {id(parameter) for place in skipped for parameter in layers[place].parameters()}
    if not has_labels:
        left_out |= {id(parameter) for parameter in model.ctc_proj.parameters()}
    if not has_codes:
        parts = (model.quantizer, model.project_q, model.project_hid)
        left_out |= {id(parameter) for part in parts for parameter in part.parameters()}
    return [parameter for parameter in model.parameters() if parameter.requires_grad and id(parameter) not in left_out]


def figures(sums: Tensor, counts: Tensor, labelled: bool, config: PretrainConfig) -> dict[str, Tensor]:
    """What is logged of an update, from the sums over all processes.

    Args:
        sums: `[NUM_SUMS]`.
        counts: `[G, V]`, how often each code was chosen for a masked frame; empty without the contrastive task.
        labelled: whether the CTC branch ran.
    """
    masked = sums[MASKED].clamp(min=1)
    parts = {"masked_frames": sums[MASKED]}
    if labelled:
        parts["ctc_loss"] = sums[CTC] / masked
    if counts.numel():
        parts |= {
            "contrastive_loss": sums[CONTRASTIVE] / masked,
            "contrastive_accuracy": sums[CORRECT] / masked,
            "diversity_loss": sums[DIVERSITY] / masked,
            "prob_perplexity": sums[PROB_PERPLEXITY] / masked,
            "code_perplexity": perplexity((counts / masked)[None]),
            "used_codes": (counts > 0).float().mean(),
        }
    return parts


def run_pretraining_update(
    model: PreTrainedModel,
    optimizer: Any,
    update: int,
    slots: Slots,
    batches: Iterator[PretrainBatch],
    config: PretrainConfig,
    accelerator: Accelerator,
) -> tuple[StepResult, list[PretrainBatch], float]:
    """Runs one update on this process's share of it.

    Args:
        model: in training mode, on the process's device.
        optimizer: prepared by the accelerator.
        update: its number, from 0.
        batches: yields this process's sub-batches in the order of their slots.

    Returns:
        The result; this process's batches; padded seconds of the update over all processes.
    """
    num_layers = len(backbone(model).encoder.layers)
    kept = kept_layers(config.seed, update, num_layers, config.model.layerdrop, keep_first=False)
    lr = config.optimizer.lr * lr_scale(update, config.schedule)
    for group in optimizer.param_groups:
        group["lr"] = lr
    optimizer.zero_grad(set_to_none=True)
    alpha = config.objective.alpha
    quantiser = model.quantizer
    num_codes = quantiser.num_groups * quantiser.num_vars if alpha < 1 else 0
    sums = torch.zeros(NUM_SUMS + num_codes, device=accelerator.device)
    done = []
    for _ in slots.share(accelerator.process_index, accelerator.num_processes):
        batch = next(batches)
        done.append(batch)
        terms = sub_batch_terms(model, batch.to(accelerator.device), update, config, kept, accelerator)
        accelerator.backward(terms.loss)
        sums += sums_of(terms, batch.padded_samples)
    labelled = alpha > 0 and slots.num_unlabelled(update) < slots.count
    has_codes = alpha < 1 or (labelled and config.objective.replacement > 0)
    parameters = training_parameters(model, kept, labelled, has_codes)
    sums = sum_over_processes(parameters, sums, accelerator)
    for parameter in parameters:
        if parameter.grad is not None:
            parameter.grad.div_(sums[MASKED].clamp(min=1))
    accelerator.unscale_gradients(optimizer)
    norm = nn.utils.get_total_norm([parameter.grad for parameter in parameters if parameter.grad is not None])
    if config.optimizer.max_grad_norm > 0:
        nn.utils.clip_grads_with_norm_(parameters, config.optimizer.max_grad_norm, norm)
    optimizer.step()
    counts = sums[NUM_SUMS:].view(quantiser.num_groups, -1) if num_codes else sums[NUM_SUMS:]
    parts = figures(sums[:NUM_SUMS], counts, labelled, config)
    loss = sums[LOSS] / sums[MASKED].clamp(min=1)
    return StepResult(loss, norm, lr, parts), done, float(sums[SAMPLES]) / 16_000
