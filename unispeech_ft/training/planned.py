"""What tasks share that train an encoder on a batch plan: their updates, and the layers that an update runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from torch import nn
from torch.utils.data import DataLoader

from unispeech_ft.data.batch_plan import BatchPlan, passes
from unispeech_ft.data.collate import Batch, MicroBatchStream, TrainingSet
from unispeech_ft.models.families import backbone, shares_position_bias
from unispeech_ft.randomness import kept_layers
from unispeech_ft.training.task import UpdateShare

if TYPE_CHECKING:
    from accelerate import Accelerator


def planned_updates(
    plan: BatchPlan,
    training_set: TrainingSet,
    first: int,
    last: int,
    accelerator: Accelerator,
    *,
    seconds_per_pass: float | None,
    num_workers: int,
) -> Iterator[UpdateShare[Batch]]:
    """The planned updates first ≤ number < last, each with the rows of this process.

    Their weight is the number of their clips: the loss of an update is a mean over clips.

    Args:
        seconds_per_pass: see `data.batch_plan.passes`.
        num_workers: processes that make rows ahead of a GPU.
    """
    rank, world = accelerator.process_index, accelerator.num_processes
    stream = MicroBatchStream(plan, training_set, first, last, rank, world, seconds_per_pass)
    on_gpu = accelerator.device.type == "cuda"
    batches = iter(DataLoader(stream, batch_size=None, num_workers=num_workers if on_gpu else 0, pin_memory=on_gpu))
    for update in plan.updates(first, last):
        mine = islice(batches, len(passes(update.share(rank, world), seconds_per_pass)))
        yield UpdateShare(update.number, mine, update.num_sentences, update.padded_s)


def drawn_layers(network: Any, seed: int, update: int, layerdrop: float) -> list[int] | None:
    """Indices of the encoder layers that an update runs, None for all of them."""
    num_layers = len(backbone(network).encoder.layers)
    keep_first = shares_position_bias(network.config)
    return kept_layers(seed, update, num_layers, layerdrop, keep_first=keep_first)


def parameters_that_run(
    network: Any, layers: Sequence[int] | None, idle: Sequence[nn.Module] = ()
) -> list[nn.Parameter]:
    """The trainable parameters of a network without those of encoder layers left out and of idle modules.

    Args:
        layers: indices of the encoder layers that run; None for all.
    """
    all_layers = backbone(network).encoder.layers
    skipped = [] if layers is None else [all_layers[index] for index in range(len(all_layers)) if index not in layers]
    left_out = {id(parameter) for module in (*skipped, *idle) for parameter in module.parameters()}
    return [p for p in network.parameters() if p.requires_grad and id(p) not in left_out]
