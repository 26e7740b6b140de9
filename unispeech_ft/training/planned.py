"""What tasks share that fine-tune an encoder on a batch plan, and the layers that an update runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from torch import nn
from torch.utils.data import DataLoader

from unispeech_ft.config.sections import RunConfig, Section
from unispeech_ft.data.audio import SAMPLE_RATE_HZ
from unispeech_ft.data.batch_plan import BatchPlan, passes
from unispeech_ft.data.collate import Batch, MicroBatchStream, TrainingSet
from unispeech_ft.models.families import backbone, shares_position_bias
from unispeech_ft.randomness import kept_layers
from unispeech_ft.training.checkpoint import identity_of
from unispeech_ft.training.passes import Passes
from unispeech_ft.training.schedule import is_frozen
from unispeech_ft.training.task import Task, UpdateShare

if TYPE_CHECKING:
    from accelerate import Accelerator
    from transformers import PreTrainedModel


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


def identity_of_run(config: RunConfig, own: Sequence[Section], *said: object) -> str:
    """Identifies data, batches, seed and model of a run that fine-tunes.

    Args:
        own: the sections of its task on which training depends.
        said: what identifies its training speech, in plain JSON.
    """
    sections: list[Any] = [
        section.model_dump(mode="json") for section in (config.model, config.batch, config.mask, *own)
    ]
    sections += [] if config.training.ema_decay is None else [config.training.ema_decay]
    return identity_of(config.seed, *sections, [config.data.normalize, config.data.normalize_eps], *said)


class FineTuning(Task[Batch]):
    """What tasks share that fine-tune an encoder and a head on a batch plan, the loss being a mean over clips.

    Args:
        config: of the run.
        network: on the process's device.
        head: beginnings of the names of the parameters that train while the encoder is frozen.
        plan: the batch plan.
        training_set: the clips that the plan speaks of.
        ids: their names, for people.
        views: how often each clip passes the network in an update.
    """

    def __init__(
        self,
        config: RunConfig,
        network: PreTrainedModel,
        head: Sequence[str],
        plan: BatchPlan,
        training_set: TrainingSet,
        accelerator: Accelerator,
        ids: Sequence[str] = (),
        views: int = 1,
    ) -> None:
        self.run, self.network, self.head, self.accelerator = config, network, tuple(head), accelerator
        self.plan, self.training_set, self.ids = plan, training_set, ids
        longest_s = int(plan.num_samples.max()) / SAMPLE_RATE_HZ
        self.passes = Passes(config.training.seconds_per_pass, network, longest_s, accelerator, views)

    def updates(self, first: int, last: int, state: Mapping[str, Any] | None) -> Iterator[UpdateShare[Batch]]:
        rank, world = self.accelerator.process_index, self.accelerator.num_processes
        self.passes.begin(state)
        seconds = self.passes.seconds
        stream = MicroBatchStream(self.plan, self.training_set, first, last, rank, world, seconds)
        on_gpu = self.accelerator.device.type == "cuda"
        workers = self.run.data.num_workers if on_gpu else 0
        batches = iter(DataLoader(stream, batch_size=None, num_workers=workers, pin_memory=on_gpu))
        for update in self.plan.updates(first, last):
            mine = islice(batches, len(passes(update.share(rank, world), seconds)))
            yield UpdateShare(update.number, mine, update.num_sentences, update.padded_s)

    def clips_of(self, update: int) -> list[str]:
        [planned] = self.plan.updates(update, update + 1)
        return [self.ids[clip] for batch in planned.micro_batches for clip in batch.clips] if self.ids else []

    def parts(self, micro_batch: Batch) -> Sequence[Batch]:
        return self.passes.parts(micro_batch)

    def halve(self) -> bool:
        return self.passes.halve()

    def state(self) -> Mapping[str, Any] | None:
        return self.passes.state()

    def is_frozen(self, update: int) -> bool:
        """Whether the head trains alone."""
        return is_frozen(update, self.run.schedule)

    def layers(self, update: int) -> list[int] | None:
        """Indices of the encoder layers that an update runs, None for all of them."""
        return drawn_layers(self.network, self.run.seed, update, self.run.model.layerdrop)

    def trained_parameters(self, update: int) -> list[nn.Parameter]:
        """The head alone while the encoder is frozen, else all but the conv extractor and the layers left out."""
        if self.is_frozen(update):
            return [p for name, p in self.network.named_parameters() if name.startswith(self.head)]
        return parameters_that_run(self.network, self.layers(update))
