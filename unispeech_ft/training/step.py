"""One optimiser step: Σ CTC of the update ÷ its sentences, gradients summed over all processes, clipped, applied."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from unispeech_ft.config.sections import Config, OptimizerConfig
from unispeech_ft.data.batch_plan import Update, passes
from unispeech_ft.data.collate import Batch
from unispeech_ft.models.families import backbone, shares_position_bias
from unispeech_ft.models.forward import ctc_loss_sum, encode, head
from unispeech_ft.randomness import kept_layers, seed_dropout
from unispeech_ft.training.schedule import is_frozen, lr_scale

if TYPE_CHECKING:
    from accelerate import Accelerator
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class StepResult:
    """What an update leaves behind, still on the device.

    Attributes:
        loss: Σ CTC ÷ sentences, over all processes.
        grad_norm: of all gradients together, before clipping.
        parts: more figures by name, each a scalar.
    """

    loss: Tensor
    grad_norm: Tensor
    lr: float
    parts: Mapping[str, Tensor] = field(default_factory=dict)


def make_optimizer(model: nn.Module, settings: OptimizerConfig, *, fused: bool = True) -> torch.optim.Optimizer:
    """AdamW over everything that may train, one group; with weight_decay 0 it is Adam."""
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return torch.optim.AdamW(
        trainable,
        lr=settings.lr,
        betas=settings.betas,
        eps=settings.eps,
        weight_decay=settings.weight_decay,
        fused=fused,
    )


def training_parameters(model: PreTrainedModel, frozen: bool, kept: Sequence[int] | None) -> list[nn.Parameter]:
    """The parameters that an update changes: the head alone while the encoder is frozen, else all but those of the
    conv extractor and of the layers left out. The others keep value and optimiser state."""
    if frozen:
        return list(model.lm_head.parameters())
    layers = backbone(model).encoder.layers
    skipped = set() if kept is None else set(range(len(layers))) - set(kept)
    left_out = {id(parameter) for place in skipped for parameter in layers[place].parameters()}
    return [parameter for parameter in model.parameters() if parameter.requires_grad and id(parameter) not in left_out]


def sub_batch_loss(
    model: PreTrainedModel, batch: Batch, *, frozen: bool, kept: Sequence[int] | None, autocast: Any
) -> Tensor:
    """Σ CTC of one sub-batch. While frozen, nothing of the encoder is kept for a backward pass."""
    with autocast:
        with torch.set_grad_enabled(not frozen):
            hidden = encode(
                model,
                batch.features,
                batch.num_frames,
                time_mask=batch.time_mask,
                channel_mask=batch.channel_mask,
                layers=kept,
            )
        logits = head(model, hidden)
    return ctc_loss_sum(logits, batch.num_frames, batch.labels, batch.num_labels, model.config.pad_token_id)


def sum_over_processes(parameters: Sequence[nn.Parameter], loss: Tensor, accelerator: Accelerator) -> Tensor:
    """Sums gradients and loss (of any shape) over all processes in one transfer; an absent gradient counts as zero."""
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    if accelerator.num_processes == 1:
        return loss
    flat = torch.cat([parameter.grad.reshape(-1) for parameter in parameters] + [loss.reshape(-1)])
    flat = accelerator.reduce(flat, reduction="sum")
    start = 0
    for parameter in parameters:
        size = parameter.numel()
        parameter.grad.copy_(flat[start : start + size].view_as(parameter))
        start += size
    return flat[start:].view_as(loss)


def run_update(
    model: PreTrainedModel,
    optimizer: Any,
    update: Update,
    batches: Iterator[Batch],
    config: Config,
    accelerator: Accelerator,
) -> StepResult:
    """Runs one planned update on this process's share of it.

    Args:
        model: in training mode, on the process's device.
        optimizer: prepared by the accelerator.
        update: all sub-batches of the update.
        batches: yields this process's passes in plan order.
    """
    frozen = is_frozen(update.number, config.schedule)
    num_layers = len(backbone(model).encoder.layers)
    keep_first = shares_position_bias(model.config)
    kept = kept_layers(config.seed, update.number, num_layers, config.model.layerdrop, keep_first=keep_first)
    lr = config.optimizer.lr * lr_scale(update.number, config.schedule)
    for group in optimizer.param_groups:
        group["lr"] = lr
    optimizer.zero_grad(set_to_none=True)
    loss = torch.zeros((), device=accelerator.device)
    share = update.share(accelerator.process_index, accelerator.num_processes)
    for sub_batches in passes(share, config.training.seconds_per_pass):
        batch = next(batches).to(accelerator.device)
        seed_dropout(config.seed, update.number, sub_batches[0].index)
        sub_loss = sub_batch_loss(model, batch, frozen=frozen, kept=kept, autocast=accelerator.autocast())
        sub_loss = sub_loss / update.num_sentences
        accelerator.backward(sub_loss)
        loss += sub_loss.detach()
    parameters = training_parameters(model, frozen, kept)
    loss = sum_over_processes(parameters, loss, accelerator)
    accelerator.unscale_gradients(optimizer)
    norm = nn.utils.get_total_norm([parameter.grad for parameter in parameters if parameter.grad is not None])
    if config.optimizer.max_grad_norm > 0:
        nn.utils.clip_grads_with_norm_(parameters, config.optimizer.max_grad_norm, norm)
    optimizer.step()
    return StepResult(loss, norm, lr)
