"""UniSpeech pre-training as a task: contrastive learning with a codebook, phoneme CTC, or both.

`G` groups of `V` codevectors. Sums over the micro-batches of an update are divided by its masked frames.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from unispeech_ft.data.audio import SAMPLE_RATE_HZ
from unispeech_ft.data.streaming import Pieces, StreamState
from unispeech_ft.errors import UserError
from unispeech_ft.models.families import num_frames
from unispeech_ft.randomness import gumbel_generator
from unispeech_ft.tasks.pretraining.batches import LabelledClips, PretrainingBatch, PretrainingStream, Shaping, loader
from unispeech_ft.tasks.pretraining.config import PretrainingConfig
from unispeech_ft.tasks.pretraining.evaluate import score_languages
from unispeech_ft.tasks.pretraining.forward import Draws, Speech, Terms, Weights, pretraining_terms
from unispeech_ft.tasks.pretraining.health import CodebookWatch
from unispeech_ft.tasks.pretraining.layout import workers_for
from unispeech_ft.tasks.pretraining.model import PretrainingModel
from unispeech_ft.tasks.pretraining.objective import gumbel_temperature, perplexity
from unispeech_ft.tasks.pretraining.speech import LabelledSpeech, layout_of, plan_for
from unispeech_ft.training.checkpoint import identity_of
from unispeech_ft.training.planned import drawn_layers, parameters_that_run
from unispeech_ft.training.task import Score, SummedLoss, Task, UpdateShare

if TYPE_CHECKING:
    from accelerate import Accelerator

# More bad recordings than this share, once so many were read, stop the run.
MAX_BAD_SHARE, BAD_AFTER = 0.05, 200
# Places of the sums; the codes' counts follow.
CTC, CONTRASTIVE, DIVERSITY, CORRECT, PROB_PERPLEXITY, SAMPLES = range(6)
NUM_SUMS = 6


def update_temperature(update: int, config: PretrainingConfig) -> float:
    """The Gumbel temperature of an update (from 0)."""
    objective = config.objective
    return gumbel_temperature(update, objective.gumbel_start, objective.gumbel_end, objective.gumbel_decay)


def weights_of(config: PretrainingConfig) -> Weights:
    """How the configuration weighs the terms."""
    objective = config.objective
    return Weights(
        objective.alpha,
        objective.diversity_weight,
        objective.contrastive_temperature,
        config.model.extractor_grad_scale,
        objective.replacement > 0,
    )


def identity(config: PretrainingConfig, speech: LabelledSpeech | None) -> str:
    """Identifies data, labels, batches, seed, objective and model."""
    sections = [config.model, config.objective, config.batch, config.mask, config.phonemes, config.unlabelled]
    said: list[object] = [section.model_dump(mode="json") for section in sections]
    said += [config.data.normalize, config.data.normalize_eps]
    if speech is not None:
        said += [[split.ids for split in speech.train], speech.phones, speech.num_samples.tolist()]
    return identity_of(config.seed, *said)


def sums_of(terms: Terms, padded_samples: int) -> Tensor:
    """What a micro-batch adds to the sums of its update: `[NUM_SUMS + G · V]`, without gradient."""
    masked = terms.num_masked
    said: list[Tensor | int] = [terms.ctc_sum, terms.contrastive_sum, terms.diversity * masked, terms.correct]
    said += [terms.prob_perplexity * masked, padded_samples]
    device = terms.loss.device
    values = torch.stack([torch.as_tensor(value, dtype=torch.float64, device=device).detach() for value in said])
    return torch.cat([values.float(), terms.code_counts.flatten().float()])


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
    """Pre-trains a `UniSpeechForPreTraining` on labelled speech, unlabelled speech, or a mix.

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
        self.layout = layout_of(config)
        self.labelled = labelled_clips(config, speech, built)
        scores = speech is not None and built.tokenizer is not None and config.objective.alpha > 0
        self.validation = speech.validation if speech is not None and scores else {}
        self.can_score = bool(self.validation)
        self.identity = identity(config, speech)
        shape, objective, quantiser = built.network.config, config.objective, built.network.quantizer
        self.shaping = Shaping(
            partial(num_frames, shape),
            shape.hidden_size,
            config.mask,
            built.eps if built.normalize else None,
            objective.negatives,
            objective.replacement,
            config.seed,
        )
        self.num_codes = quantiser.num_groups * quantiser.num_vars if objective.alpha < 1 else 0
        self.num_sums = NUM_SUMS + self.num_codes
        self.states: dict[int, StreamState] = {}
        self.watch = CodebookWatch(quantiser.num_groups, quantiser.num_vars, config.schedule.warmup)

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
        self.watch.quiet = max(0, self.config.schedule.warmup - first)
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
        """The objective of one micro-batch; what is drawn for it depends on seed, update and index alone."""
        config, batch = self.config, micro_batch
        layers = self._layers(update)
        speech = Speech(
            batch.waveforms, batch.layout, batch.time_mask, batch.masked, batch.num_masked, batch.channel_mask, layers
        )
        gumbel = gumbel_generator(config.seed, update, batch.index, self.accelerator.device)
        draws = Draws(batch.negatives, batch.replace, gumbel, update_temperature(update, config))
        labels = None if batch.labels is None or batch.num_labels is None else (batch.labels, batch.num_labels)
        with self.accelerator.autocast():
            terms = pretraining_terms(self.network, speech, draws, weights_of(config), labels)
        return SummedLoss(terms.loss, terms.num_masked, sums_of(terms, batch.padded_samples))

    def _layers(self, update: int) -> list[int] | None:
        return drawn_layers(self.network, self.config.seed, update, self.config.model.layerdrop)

    def _has_labels(self, update: int) -> bool:
        return self.config.objective.alpha > 0 and self.layout.num_unlabelled(update) < self.layout.count

    def trained_parameters(self, update: int) -> list[nn.Parameter]:
        """Not those of layers left out, nor of branches that no micro-batch of the update has, on whichever process."""
        network, objective, idle = self.built.network, self.config.objective, []
        if not self._has_labels(update):
            idle.append(network.ctc_proj)
        if objective.alpha == 1 and not (self._has_labels(update) and objective.replacement > 0):
            idle += [network.quantizer, network.project_q, network.project_hid]
        return parameters_that_run(network, self._layers(update), idle)

    def figures(self, update: int, sums: Tensor, weight: Tensor) -> Mapping[str, Tensor]:
        figures = {"padded_s": sums[SAMPLES] / SAMPLE_RATE_HZ, "masked_frames": weight}
        if self._has_labels(update):
            figures["ctc_loss"] = sums[CTC] / weight
        if self.num_codes:
            counts = sums[NUM_SUMS:].view(self.built.network.quantizer.num_groups, -1)
            figures |= {
                "contrastive_loss": sums[CONTRASTIVE] / weight,
                "contrastive_accuracy": sums[CORRECT] / weight,
                "diversity_loss": sums[DIVERSITY] / weight,
                "prob_perplexity": sums[PROB_PERPLEXITY] / weight,
                "code_perplexity": perplexity((counts / weight)[None]),
                "used_codes": (counts > 0).float().mean(),
            }
        return figures

    def warnings(self, figures: Mapping[str, float]) -> list[str]:
        return self.watch(figures)

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
