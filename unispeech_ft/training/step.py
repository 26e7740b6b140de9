"""One optimiser step: gradients and sums of an update added up over all processes in one transfer, divided, clipped,
applied."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from unispeech_ft.config.sections import OptimizerConfig
from unispeech_ft.errors import UserError
from unispeech_ft.randomness import seed_dropout
from unispeech_ft.training.task import Batch, Task, UpdateShare

if TYPE_CHECKING:
    from accelerate import Accelerator

# Places in the vector of sums; the task's own follow.
LOSS, WEIGHT, STOP, OWN = 0, 1, 2, 3


@dataclass(frozen=True)
class StepResult:
    """What an update leaves behind, still on the device.

    Attributes:
        epoch: of this process's last micro-batch.
        loss: summed loss ÷ weight, over all processes.
        grad_norm: of all gradients together, before clipping.
        figures: the task's own by name, each a scalar.
        applied: 1 where the update changed the weights, 0 where its loss or a gradient was not finite.
        stop: processes that were asked to end.
    """

    epoch: int
    loss: Tensor
    grad_norm: Tensor
    lr: float
    figures: Mapping[str, Tensor]
    applied: Tensor
    stop: Tensor


def make_optimizer(
    model: nn.Module, settings: OptimizerConfig, *, head: tuple[str, ...] = (), fused: bool = True
) -> torch.optim.Optimizer:
    """AdamW over everything that may train; with weight_decay 0 it is Adam.

    Args:
        head: beginnings of the names of the head's parameters, a group of their own where `head_lr` is given.
    """
    trainable = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    apart = head if settings.head_lr is not None else ()
    groups = [[p for name, p in trainable if name.startswith(apart) == of_head] for of_head in (False, True)]
    return torch.optim.AdamW(
        [{"params": group} for group in (groups if apart else [[p for _, p in trainable]])],
        lr=settings.lr,
        betas=settings.betas,
        eps=settings.eps,
        weight_decay=settings.weight_decay,
        fused=fused,
    )


def sum_over_processes(parameters: Sequence[nn.Parameter], sums: Tensor, accelerator: Accelerator) -> Tensor:
    """Adds up gradients and sums over all processes in one transfer; an absent gradient counts as zero."""
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    if accelerator.num_processes == 1:
        return sums
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat: Tensor = torch.cat([gradient.reshape(-1) for gradient in gradients] + [sums])
    flat = accelerator.reduce(flat, reduction="sum")
    start = 0
    for gradient in gradients:
        gradient.copy_(flat[start : start + gradient.numel()].view_as(gradient))
        start += gradient.numel()
    return flat[start:]


def add_up(task: Task[Batch], update: UpdateShare[Batch], seed: int, accelerator: Accelerator) -> tuple[Tensor, int]:
    """Runs this process's micro-batches forward and backward; returns their sums `[OWN + K]` and their last epoch.

    A weight that is known beforehand divides each loss before its backward pass: in 16 bits an undivided sum overflows.
    """
    sums = torch.zeros(OWN + task.num_sums, device=accelerator.device)
    epoch = 0
    taken: list[Batch] = []
    for micro_batch in update.micro_batches:
        epoch = max(epoch, micro_batch.epoch)
        taken.append(micro_batch)
        if _add(task, update, micro_batch, sums, seed, accelerator):
            continue
        fits = False
        while not fits:
            _make_room(task)
            sums.zero_()
            fits = all(_add(task, update, again, sums, seed, accelerator) for again in taken)
    return sums, epoch


def _add(
    task: Task[Batch], update: UpdateShare[Batch], micro_batch: Batch, sums: Tensor, seed: int, accelerator: Accelerator
) -> bool:
    """Adds the gradients and sums of one micro-batch; false where the device ran out of memory."""
    try:
        for part in task.parts(micro_batch):
            seed_dropout(seed, update.number, part.index)
            found = task.loss(update.number, part.to(accelerator.device))
            loss = found.loss if update.weight is None else found.loss / update.weight
            accelerator.backward(loss)
            sums[LOSS] += loss.detach()
            sums[WEIGHT] += found.weight
            if found.sums is not None:
                sums[OWN:] += found.sums
    except torch.OutOfMemoryError:
        return False
    return True


def _make_room(task: Task[Batch]) -> None:
    """After the device ran out of memory: forgets the update's gradients and has the task halve its parts."""
    for parameter in task.network.parameters():
        parameter.grad = None
    torch.cuda.empty_cache()
    if not task.halve():
        raise UserError(
            "the GPU has too little memory for a single clip",
            remedy="lower data.max_duration_s, set model.gradient_checkpointing true, or train with 16 bits"
            " (accelerate launch --mixed_precision bf16)",
        )


def apply_if(finite: Tensor, optimizer: Any, accelerator: Accelerator) -> None:
    """Steps the optimizer where `finite` (a scalar) is true, and leaves weights and moments alone where it is not.

    The fused kernel decides on the device, as it does for a scaler; others have to be told by the host.
    """
    plain = optimizer.optimizer
    if accelerator.scaler is not None:
        # The scaler looks at each gradient before it divides, and neither at their norm nor at the loss.
        for found in accelerator.scaler._found_inf_per_device(plain).values():
            found.copy_(torch.maximum(found, 1.0 - finite.float()))  # 1 alone is heeded
        optimizer.step()
        return
    if not plain.defaults.get("fused"):
        if bool(finite):
            optimizer.step()
        return
    plain.found_inf = 1.0 - finite.float()
    try:
        optimizer.step()
    finally:
        del plain.found_inf


def run_update(
    task: Task[Batch],
    optimizer: Any,
    update: UpdateShare[Batch],
    settings: OptimizerConfig,
    lr: float,
    seed: int,
    accelerator: Accelerator,
    *,
    stop: bool = False,
) -> StepResult:
    """Runs one update on this process's share of it. One that is not finite changes nothing.

    Args:
        task: its network in training mode.
        optimizer: prepared by the accelerator.
        lr: of this update.
        seed: of the run, for dropout.
        stop: whether this process was asked to end; all are told.
    """
    for group, own_lr in zip(optimizer.param_groups, (settings.lr, settings.head_lr), strict=False):
        group["lr"] = lr if own_lr is None else lr * (own_lr / settings.lr)
    optimizer.zero_grad(set_to_none=True)
    sums, epoch = add_up(task, update, seed, accelerator)
    sums[STOP] += stop
    parameters = task.trained_parameters(update.number)
    sums = sum_over_processes(parameters, sums, accelerator)
    loss, weight = sums[LOSS], sums[WEIGHT].clamp(min=1)
    if update.weight is None:
        loss = loss / weight
        for parameter in parameters:
            if parameter.grad is not None:
                parameter.grad.div_(weight)
    accelerator.unscale_gradients(optimizer)
    norm = nn.utils.get_total_norm([parameter.grad for parameter in parameters if parameter.grad is not None])
    if settings.max_grad_norm > 0:
        nn.utils.clip_grads_with_norm_(parameters, settings.max_grad_norm, norm)
    finite = torch.isfinite(loss) & torch.isfinite(norm)
    apply_if(finite, optimizer, accelerator)
    task.absorb(sums[OWN:])
    figures = task.figures(update.number, sums[OWN:], weight)
    return StepResult(epoch, loss, norm, lr, figures, finite, sums[STOP])
