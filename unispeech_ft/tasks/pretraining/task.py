"""Pre-training as a task: its micro-batches, labelled and unlabelled, and what of them a checkpoint holds.

What is trained on them is an objective: `unispeech_objective` or `prediction_objective`. Sums over the micro-batches of
an update are divided by its masked frames.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

from torch import Tensor, nn

from unispeech_ft.data.streaming import Pieces, StreamState
from unispeech_ft.data.targets import open_targets
from unispeech_ft.errors import UserError
from unispeech_ft.models.families import frame_s, num_frames
from unispeech_ft.tasks.pretraining.batches import LabelledClips, PretrainingBatch, PretrainingStream, Shaping, loader
from unispeech_ft.tasks.pretraining.config import PretrainingConfig
from unispeech_ft.tasks.pretraining.evaluate import score_languages
from unispeech_ft.tasks.pretraining.layout import workers_for
from unispeech_ft.tasks.pretraining.model import PretrainingModel
from unispeech_ft.tasks.pretraining.prediction_objective import PredictionObjective
from unispeech_ft.tasks.pretraining.speech import LabelledSpeech, layout_of, plan_for
from unispeech_ft.tasks.pretraining.unispeech_objective import UniSpeechObjective
from unispeech_ft.training.checkpoint import identity_of
from unispeech_ft.training.planned import Trainable, drawn_layers
from unispeech_ft.training.task import Score, SummedLoss, Task, UpdateShare

if TYPE_CHECKING:
    from accelerate import Accelerator

# More bad recordings than this share, once so many were read, stop the run.
MAX_BAD_SHARE, BAD_AFTER = 0.05, 200


class Objective(Protocol):
    """What is trained on a micro-batch: a model that it computes with, its loss, and what is logged of it.

    Attributes:
        num_sums: of `SummedLoss.sums`.
    """

    num_sums: int

    def begin(self, first: int) -> None:
        """The run goes on with an update (from 0)."""

    def loss(self, update: int, batch: PretrainingBatch, layers: list[int] | None) -> SummedLoss:
        """The loss of a micro-batch through some encoder layers; what is drawn depends on seed, update and index."""

    def idle(self, update: int) -> list[nn.Module]:
        """Parts that no micro-batch of an update reaches, on whichever process."""

    def figures(self, update: int, sums: Tensor, weight: Tensor) -> Mapping[str, Tensor]:
        """See `Task.figures`."""

    def warnings(self, figures: Mapping[str, float]) -> list[str]:
        """See `Task.warnings`."""


def identity(config: PretrainingConfig, speech: LabelledSpeech | None) -> str:
    """Identifies data, labels, batches, seed, objective and model."""
    sections = [config.model, config.objective, config.batch, config.mask, config.phonemes, config.unlabelled]
    said: list[object] = [section.identified() for section in (*sections, config.mixing)]
    said += [config.data.normalize, config.data.normalize_eps]
    if speech is not None:
        said += [[split.ids for split in speech.train], speech.phones, speech.num_samples.tolist()]
    if config.unlabelled.targets is not None:
        said.append(open_targets(config.unlabelled.targets).fingerprint())
    return identity_of(config.seed, *said)


def _check_recordings(states: Mapping[int, StreamState]) -> None:
    read, bad = sum(state.read for state in states.values()), sum(state.bad for state in states.values())
    if read >= BAD_AFTER and bad > MAX_BAD_SHARE * read:
        fault = next(state.fault for state in states.values() if state.fault)
        raise UserError(
            f"unlabelled.root: {bad} of {read} recordings so far are bad, for example {fault}",
            remedy="mend or remove them",
        )


def labelled_clips(
    config: PretrainingConfig, speech: LabelledSpeech | None, built: PretrainingModel
) -> LabelledClips | None:
    """The labelled clips that the batch plan speaks of, with their labels where the CTC branch runs."""
    if speech is None:
        return None
    labels = None
    if built.tokenizer is not None and config.objective.alpha > 0:
        labels = [built.tokenizer.encode(phones) for phones in speech.phones]
    return LabelledClips(plan_for(config, speech), speech.waveforms, labels)


class PretrainingTask(Task[PretrainingBatch]):
    """Pre-trains a network on labelled speech, unlabelled speech, or a mix.

    Args:
        speech, pieces: the labelled and the unlabelled speech; None where there is none of the kind.
    """

    def __init__(
        self,
        config: PretrainingConfig,
        built: PretrainingModel,
        speech: LabelledSpeech | None,
        pieces: Pieces | None,
        accelerator: Accelerator,
    ) -> None:
        self.config, self.built, self.accelerator = config, built, accelerator
        self.network, self.pieces = built.network, pieces
        self.trainable = Trainable(built.network)
        self.layout = layout_of(config)
        self.labelled = labelled_clips(config, speech, built)
        scores = speech is not None and built.tokenizer is not None and config.objective.alpha > 0
        self.validation = speech.validation if speech is not None and scores else {}
        self.can_score = bool(self.validation)
        self.identity = identity(config, speech)
        shape = built.network.config
        self.shaping = Shaping(
            partial(num_frames, shape),
            frame_s(shape),
            shape.hidden_size,
            config.mask,
            built.eps if built.normalize else None,
            config.objective,
            config.mixing,
            config.unlabelled.targets,
            config.seed,
        )
        self.states: dict[int, StreamState] = {}
        device = accelerator.device
        self.objective: Objective = (
            UniSpeechObjective(config, built, self.layout, device)
            if config.objective.kind == "unispeech"
            else PredictionObjective(config, built, device)
        )
        self.num_sums = self.objective.num_sums

    def _batches(self, states: Mapping[int, StreamState], first: int, last: int) -> Iterator[PretrainingBatch]:
        rank, world = self.accelerator.process_index, self.accelerator.num_processes
        stream = PretrainingStream(
            self.layout,
            self.shaping,
            self.labelled,
            self.pieces,
            states,
            first=first,
            last=last,
            rank=rank,
            world=world,
        )
        on_gpu = self.accelerator.device.type == "cuda"
        workers = workers_for(self.layout.share(rank, world), self.config.data.num_workers) if on_gpu else 0
        for item in loader(stream, workers, pin_memory=on_gpu):
            if isinstance(item, UserError):
                raise item
            yield item

    def updates(
        self, first: int, last: int, state: Mapping[str, Any] | None
    ) -> Iterator[UpdateShare[PretrainingBatch]]:
        states = {int(stream): StreamState(**values) for stream, values in (state or {}).items()}
        mine = self.layout.share(self.accelerator.process_index, self.accelerator.num_processes)
        self.states = {stream: states[stream] for stream in mine if stream in states}
        self.objective.begin(first)
        batches = self._batches(states, first, last)
        for update in range(first, last):
            yield UpdateShare(update, self._noted(islice(batches, len(mine))), None, None)

    def _noted(self, batches: Iterator[PretrainingBatch]) -> Iterator[PretrainingBatch]:
        """The micro-batches of one update; notes where their streams go on."""
        for batch in batches:
            if batch.state is not None:
                self.states[batch.index] = batch.state
            yield batch
        _check_recordings(self.states)

    def loss(self, update: int, micro_batch: PretrainingBatch) -> SummedLoss:
        with self.accelerator.autocast():
            return self.objective.loss(update, micro_batch, self._layers(update))

    def _layers(self, update: int) -> list[int] | None:
        return drawn_layers(self.network, self.config.seed, update, self.config.model.layerdrop)

    def trained_parameters(self, update: int) -> list[nn.Parameter]:
        """Not those of layers left out, nor of branches that no micro-batch of the update has, on whichever process."""
        return self.trainable.running(self._layers(update), self.objective.idle(update))

    def figures(self, update: int, sums: Tensor, weight: Tensor) -> Mapping[str, Tensor]:
        return self.objective.figures(update, sums, weight)

    def warnings(self, figures: Mapping[str, float]) -> list[str]:
        return self.objective.warnings(figures)

    def score(self) -> Score:
        objective = self.config.objective
        values = score_languages(self.built, self.validation, objective.replacement, self.config.seed, self.accelerator)
        return Score(values, None, f"validation PER of the CTC branch {100 * values['per']:.2f} %")

    def state(self) -> Mapping[str, Any] | None:
        """Where each stream of unlabelled speech stands, by its number."""
        states = [(stream, asdict(state)) for stream, state in self.states.items()]
        if self.accelerator.num_processes > 1:
            from accelerate.utils import gather_object

            states = gather_object(states)
        return {str(stream): state for stream, state in sorted(states)}
