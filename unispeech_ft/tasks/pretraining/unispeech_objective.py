"""UniSpeech's objective on micro-batches: contrastive learning with a codebook, phoneme CTC, or both.

`G` groups of `V` codevectors. Sums over the micro-batches of an update are divided by its masked frames.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from unispeech_ft.data.audio import SAMPLE_RATE_HZ
from unispeech_ft.randomness import gumbel_generator
from unispeech_ft.tasks.pretraining.batches import PretrainingBatch
from unispeech_ft.tasks.pretraining.config import PretrainingConfig
from unispeech_ft.tasks.pretraining.forward import Draws, Terms, Weights, pretraining_terms
from unispeech_ft.tasks.pretraining.health import CODEBOOK, CollapseWatch
from unispeech_ft.tasks.pretraining.layout import UpdateLayout
from unispeech_ft.tasks.pretraining.model import PretrainingModel
from unispeech_ft.tasks.pretraining.objective import gumbel_noise, gumbel_temperature, perplexity
from unispeech_ft.training.task import SummedLoss

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


def sums_of(terms: Terms, padded_samples: int) -> Tensor:
    """What a micro-batch adds to the sums of its update: `[NUM_SUMS + G · V]`, without gradient."""
    masked = terms.num_masked
    said: list[Tensor | int] = [terms.ctc_sum, terms.contrastive_sum, terms.diversity * masked, terms.correct]
    said += [terms.prob_perplexity * masked, padded_samples]
    device = terms.loss.device
    values = torch.stack([torch.as_tensor(value, dtype=torch.float64, device=device).detach() for value in said])
    return torch.cat([values.float(), terms.code_counts.flatten().float()])


class UniSpeechObjective:
    """α·CTC + (1 − α)·(contrastive + weight · diversity) on a `UniSpeechForPreTraining`.

    Args:
        layout: says which updates have labelled micro-batches.
        device: of the network.
    """

    def __init__(
        self, config: PretrainingConfig, built: PretrainingModel, layout: UpdateLayout, device: torch.device
    ) -> None:
        self.config, self.network, self.layout, self.device = config, built.network, layout, device
        quantiser = built.network.quantizer
        self.num_codes = quantiser.num_groups * quantiser.num_vars if config.objective.alpha < 1 else 0
        self.num_sums = NUM_SUMS + self.num_codes
        warmup = config.schedule.warmup
        self.watch = CollapseWatch("code_perplexity", quantiser.num_groups, quantiser.num_vars, warmup, CODEBOOK)

    def begin(self, first: int) -> None:
        self.watch.begin(first)

    def loss(self, update: int, batch: PretrainingBatch, layers: list[int] | None) -> SummedLoss:
        config = self.config
        generator = gumbel_generator(config.seed, update, batch.index, self.device)
        noise = partial(gumbel_noise, generator=generator)
        draws = Draws(batch.sampled, batch.replace, noise, update_temperature(update, config))
        labels = None if batch.labels is None or batch.num_labels is None else (batch.labels, batch.num_labels)
        speech = replace(batch.speech, layers=layers)
        terms = pretraining_terms(self.network, speech, draws, weights_of(config), labels)
        return SummedLoss(terms.loss, terms.num_masked, sums_of(terms, batch.padded_samples))

    def _has_labels(self, update: int) -> bool:
        return self.config.objective.alpha > 0 and self.layout.num_unlabelled(update) < self.layout.count

    def idle(self, update: int) -> list[nn.Module]:
        network, objective = self.network, self.config.objective
        idle = [] if self._has_labels(update) else [network.ctc_proj]
        if objective.alpha == 1 and not (self._has_labels(update) and objective.replacement > 0):
            idle += [network.quantizer, network.project_q, network.project_hid]
        return idle

    def figures(self, update: int, sums: Tensor, weight: Tensor) -> Mapping[str, Tensor]:
        figures = {"padded_s": sums[SAMPLES] / SAMPLE_RATE_HZ, "masked_frames": weight}
        if self._has_labels(update):
            figures["ctc_loss"] = sums[CTC] / weight
        if self.num_codes:
            counts = sums[NUM_SUMS:].view(self.network.quantizer.num_groups, -1)
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
