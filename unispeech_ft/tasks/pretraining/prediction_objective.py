"""Masked prediction and UniSpeech-SAT on micro-batches: the loss, and what tells whether they go well.

`L` heads, `V` classes, `G` groups of codevectors. Sums over the micro-batches of an update are divided by its frames.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from unispeech_ft.data.audio import SAMPLE_RATE_HZ
from unispeech_ft.models.prediction import heads_of
from unispeech_ft.randomness import gumbel_generator
from unispeech_ft.tasks.pretraining.batches import PretrainingBatch
from unispeech_ft.tasks.pretraining.config import PretrainingConfig
from unispeech_ft.tasks.pretraining.health import CODEBOOK, PREDICTION, CollapseWatch
from unispeech_ft.tasks.pretraining.model import PretrainingModel
from unispeech_ft.tasks.pretraining.objective import gumbel_noise, perplexity
from unispeech_ft.tasks.pretraining.prediction import PredictionTerms, PredictionWeights, prediction_terms
from unispeech_ft.tasks.pretraining.prediction_loss import class_counts
from unispeech_ft.tasks.pretraining.unispeech_objective import update_temperature
from unispeech_ft.training.task import SummedLoss

# Of all heads together, of each head, and of the utterance-wise contrastive task.
COMMON = ("samples", "masked", "unmasked", "penalty", "entropy")
OF_HEAD = ("loss", "masked_correct", "unmasked_correct")
OF_UTTERANCES = ("utterance_loss", "utterance_accuracy", "diversity_loss", "prob_perplexity")
# A network says the most frequent classes alone before it says others, for so many updates at most.
FREQUENT_CLASSES_FIRST = 2_000


def weights_of(config: PretrainingConfig, num_layers: int) -> PredictionWeights:
    """How the configuration weighs the terms.

    Args:
        num_layers: of the encoder.
    """
    objective = config.objective
    contrasts = objective.kind == "sat" and (objective.utterance_weight > 0 or objective.diversity_weight > 0)
    return PredictionWeights(
        objective.masked_weight,
        objective.unmasked_weight,
        objective.penalty_weight,
        objective.utterance_weight,
        objective.diversity_weight,
        objective.contrastive_temperature,
        (objective.utterance_layer or num_layers // 2) if contrasts else None,
        config.model.extractor_grad_scale,
        objective.extractor_sees_padding,
    )


class PredictionObjective:
    """Classes of masked frames, predicted by a network of `models.prediction` or a `UniSpeechSatForPreTraining`.

    Args:
        device: of the network.
    """

    def __init__(self, config: PretrainingConfig, built: PretrainingModel, device: torch.device) -> None:
        self.config, self.network, self.device = config, built.network, device
        self.weights = weights_of(config, built.network.config.num_hidden_layers)
        heads, warmup = heads_of(built.network), config.schedule.warmup
        self.endings = [f"_layer_{layer}" for layer in heads.layers] if heads.layers else [""]
        self.num_classes = len(heads.embeddings[0])
        self.names = [*COMMON, *(f"{name} {head}" for head in range(len(self.endings)) for name in OF_HEAD)]
        self.num_codes, self.watches = 0, []
        if self.weights.contrast_layer is not None:
            quantiser = built.network.quantizer
            self.names += OF_UTTERANCES
            self.num_codes = quantiser.num_groups * quantiser.num_vars
            groups, codes = quantiser.num_groups, quantiser.num_vars
            self.watches.append(CollapseWatch("code_perplexity", groups, codes, warmup, CODEBOOK))
        start_after = max(warmup, min(config.schedule.updates // 3, FREQUENT_CLASSES_FIRST))
        self.watches.append(CollapseWatch("predicted_classes", 1, self.num_classes, start_after, PREDICTION))
        self.num_sums = len(self.names) + 2 * self.num_classes + self.num_codes

    def begin(self, first: int) -> None:
        for watch in self.watches:
            watch.begin(first)

    def loss(self, update: int, batch: PretrainingBatch, layers: list[int] | None) -> SummedLoss:
        if batch.classes is None:
            raise ValueError("masked prediction without classes")
        generator = gumbel_generator(self.config.seed, update, batch.index, self.device)
        terms = prediction_terms(
            self.network,
            replace(batch.speech, layers=layers),
            batch.classes,
            self.weights,
            sampled=batch.sampled,
            gumbel=partial(gumbel_noise, generator=generator),
            gumbel_temperature=update_temperature(update, self.config),
        )
        return SummedLoss(terms.loss, terms.num_frames, self._sums(terms, batch, batch.classes[batch.masked]))

    def _sums(self, terms: PredictionTerms, batch: PretrainingBatch, wanted: Tensor) -> Tensor:
        """What a micro-batch adds to the sums of its update, without gradient.

        Args:
            wanted: `[M]`, the true classes of the masked frames.
        """
        masked, last = len(batch.masked), terms.masked[-1]
        said: list[Tensor | int] = [batch.padded_samples, masked, len(batch.time_mask) - masked]
        said += [terms.penalty * terms.num_frames, last.entropy_sum]
        for at_masked, elsewhere in zip(terms.masked, terms.unmasked, strict=True):
            said += [at_masked.loss_sum, at_masked.correct, elsewhere.correct]
        codes: list[Tensor] = []
        if terms.utterance is not None:
            contrast = terms.utterance.contrast
            means = (contrast.loss, contrast.correct, terms.utterance.diversity, terms.utterance.prob_perplexity)
            said += [mean * masked for mean in means]
            codes = [terms.utterance.code_counts.flatten()]
        values = torch.stack(
            [torch.as_tensor(value, dtype=torch.float64, device=self.device).detach() for value in said]
        )
        true = class_counts(wanted, self.num_classes)
        return torch.cat([part.float() for part in (values, last.best, true, *codes)])

    def idle(self, update: int) -> list[nn.Module]:
        return []

    def figures(self, update: int, sums: Tensor, weight: Tensor) -> Mapping[str, Tensor]:
        said = dict(zip(self.names, sums, strict=False))
        masked, unmasked = said["masked"], said["unmasked"]
        predicted, true, codes = sums[len(self.names) :].split([self.num_classes, self.num_classes, self.num_codes])
        figures = {
            "padded_s": said["samples"] / SAMPLE_RATE_HZ,
            "masked_frames": masked,
            "penalty": said["penalty"] / weight,
            "prediction_entropy": said["entropy"] / masked,
            "predicted_classes": perplexity((predicted / masked)[None, None]),
            "target_classes": perplexity((true / masked)[None, None]),
        }
        for head, ending in enumerate(self.endings):
            figures[f"masked_loss{ending}"] = said[f"loss {head}"] / masked
            figures[f"masked_accuracy{ending}"] = said[f"masked_correct {head}"] / masked
            figures[f"unmasked_accuracy{ending}"] = said[f"unmasked_correct {head}"] / unmasked
        if self.num_codes:
            counts = codes.view(self.network.quantizer.num_groups, -1)
            figures |= {name: said[name] / masked for name in OF_UTTERANCES}
            figures["code_perplexity"] = perplexity((counts / masked)[None])
            figures["used_codes"] = (counts > 0).float().mean()
        return figures

    def warnings(self, figures: Mapping[str, float]) -> list[str]:
        return [text for watch in self.watches for text in watch(figures)]
