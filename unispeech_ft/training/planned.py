"""What tasks share that fine-tune an encoder on a batch plan, and the layers that an update runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any

from torch import nn
from torch.utils.data import DataLoader

from unispeech_ft.config.sections import RunConfig, Section
from unispeech_ft.data.audio import SAMPLE_RATE_HZ
from unispeech_ft.data.batch_plan import BatchPlan, passes
from unispeech_ft.data.collate import Batch, MicroBatchStream, TrainingSet
from unispeech_ft.models.families import backbone, frame_s, num_frames, shares_position_bias
from unispeech_ft.models.graph_rooms import Room, rooms_of
from unispeech_ft.models.layer_graphs import give_rooms
from unispeech_ft.randomness import kept_layers
from unispeech_ft.training.checkpoint import identity_of
from unispeech_ft.training.passes import Passes
from unispeech_ft.training.schedule import is_frozen
from unispeech_ft.training.task import Task, UpdateShare

if TYPE_CHECKING:
    from accelerate import Accelerator
    from transformers import PreTrainedModel

# Of a run, to find how large its passes are.
UPDATES_LOOKED_AT = 200


def drawn_layers(network: Any, seed: int, update: int, layerdrop: float) -> list[int] | None:
    """Indices of the encoder layers that an update runs, None for all of them."""
    num_layers = len(backbone(network).encoder.layers)
    keep_first = shares_position_bias(network.config)
    return kept_layers(seed, update, num_layers, layerdrop, keep_first=keep_first)


class Trainable:
    """The trainable parameters of a network, found once, and which of them an update trains."""

    def __init__(self, network: Any) -> None:
        layers = backbone(network).encoder.layers
        self._layer_of = {id(p): index for index, layer in enumerate(layers) for p in layer.parameters()}
        self._named = [(name, p) for name, p in network.named_parameters() if p.requires_grad]

    def named(self, beginnings: tuple[str, ...]) -> list[nn.Parameter]:
        """Those whose names begin so."""
        return [parameter for name, parameter in self._named if name.startswith(beginnings)]

    def running(self, layers: Sequence[int] | None, idle: Sequence[nn.Module] = ()) -> list[nn.Parameter]:
        """All but those of encoder layers left out and of idle modules.

        Args:
            layers: indices of the encoder layers that run; None for all.
        """
        left_out = {id(parameter) for module in idle for parameter in module.parameters()}
        if layers is not None:
            left_out |= {name for name, index in self._layer_of.items() if index not in layers}
        return [parameter for _, parameter in self._named if id(parameter) not in left_out]


def identity_of_run(config: RunConfig, own: Sequence[Section], *said: object) -> str:
    """Identifies data, batches, seed and model of a run that fine-tunes.

    Args:
        own: the sections of its task on which training depends.
        said: what identifies its training speech, in plain JSON.
    """
    sections: list[Any] = [section.identified() for section in (config.model, config.batch, config.mask, *own)]
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

    def _graph_rooms(self, last: int) -> tuple[Room, ...]:
        """What CUDA graphs must hold for this process's passes; none where they are of no use or an update is several.

        From the first updates of the run, wherever it goes on; a larger one later runs without graphs.
        """
        on_gpu = self.accelerator.device.type == "cuda"
        once = self.passes.views == 1 and not self.run.model.gradient_checkpointing
        if not on_gpu or not once or not self.run.training.cuda_graphs:
            return ()
        rank, world = self.accelerator.process_index, self.accelerator.num_processes
        crop = self.training_set.crop_frames
        frames = [num_frames(self.network.config, count) for count in self.plan.num_samples.tolist()]
        rows = []
        for update in self.plan.updates(0, min(last, UPDATES_LOOKED_AT)):
            found = passes(update.share(rank, world), self.passes.seconds)
            if len(found) > 1:
                return ()
            rows += [
                [min(frames[clip], crop or frames[clip]) for batch in row for clip in batch.clips] for row in found
            ]
        rooms = rooms_of(rows) if rows else ()
        fits = bool(rooms) and self.passes.leave_room_for_graphs(rooms[-1].frames * frame_s(self.network.config))
        return rooms if fits else ()

    def updates(self, first: int, last: int, state: Mapping[str, Any] | None) -> Iterator[UpdateShare[Batch]]:
        rank, world = self.accelerator.process_index, self.accelerator.num_processes
        self.passes.begin(state)
        seconds = self.passes.seconds
        give_rooms(self.network, self._graph_rooms(last), training=True)
        stream = MicroBatchStream(self.plan, self.training_set, first, last, rank, world, seconds)
        on_gpu = self.accelerator.device.type == "cuda"
        workers = self.run.data.num_workers if on_gpu else 0
        batches = iter(DataLoader(stream, batch_size=None, num_workers=workers, pin_memory=on_gpu))
        try:
            for update in self.plan.updates(first, last):
                mine = islice(batches, len(passes(update.share(rank, world), seconds)))
                yield UpdateShare(update.number, mine, update.num_sentences, update.padded_s)
        finally:
            give_rooms(self.network, (), training=True)

    def clips_of(self, update: int) -> list[str]:
        [planned] = self.plan.updates(update, update + 1)
        return [self.ids[clip] for batch in planned.micro_batches for clip in batch.clips] if self.ids else []

    def parts(self, micro_batch: Batch) -> Sequence[Batch]:
        return self.passes.parts(micro_batch)

    def halve(self) -> bool:
        give_rooms(self.network, (), training=True)
        return self.passes.halve()

    def state(self) -> Mapping[str, Any] | None:
        return self.passes.state()

    @cached_property
    def trainable(self) -> Trainable:
        """Of the network."""
        return Trainable(self.network)

    def is_frozen(self, update: int) -> bool:
        """Whether the head trains alone."""
        return is_frozen(update, self.run.schedule)

    def layers(self, update: int) -> list[int] | None:
        """Indices of the encoder layers that an update runs, None for all of them."""
        return drawn_layers(self.network, self.run.seed, update, self.run.model.layerdrop)

    def trained_parameters(self, update: int) -> list[nn.Parameter]:
        """The head alone while the encoder is frozen, else all but the conv extractor and the layers left out."""
        if self.is_frozen(update):
            return self.trainable.named(self.head)
        return self.trainable.running(self.layers(update))
