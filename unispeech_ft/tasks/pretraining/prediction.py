"""Waveforms through an encoder with prediction heads to the terms of masked prediction, and of UniSpeech-SAT.

`N` frames of a row, `M` masked frames, `K` frames drawn for each of them, `G` groups of `V` codevectors. The encoders
and heads are `models.prediction`'s and Transformers' `UniSpeechSatForPreTraining`; the terms are `prediction_loss`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unispeech_ft.data.row import Row
from unispeech_ft.models.forward import encode_blocks
from unispeech_ft.models.prediction import heads_of
from unispeech_ft.tasks.pretraining.forward import Noise, Speech, convolve, end_to_end, extract, quantise
from unispeech_ft.tasks.pretraining.objective import code_counts, diversity_loss, perplexity
from unispeech_ft.tasks.pretraining.prediction_loss import (
    Prediction,
    UtteranceContrast,
    class_scores,
    feature_penalty,
    predict,
    utterance_contrast,
)


@dataclass(frozen=True)
class PredictionWeights:
    """How the terms are weighed; see `config.ObjectiveConfig`.

    Attributes:
        contrast_layer: layer, from 1, of the utterance-wise contrastive task; None without it.
    """

    masked: float = 1.0
    unmasked: float = 0.0
    penalty: float = 10.0
    utterance: float = 1.0
    diversity: float = 0.1
    temperature: float = 0.1
    contrast_layer: int | None = None
    extractor_grad_scale: float = 1.0
    extractor_sees_padding: bool = False


@dataclass(frozen=True)
class UtteranceTerms:
    """The utterance-wise contrastive task and its codebook, on the masked frames.

    Attributes:
        diversity: (G·V − perplexity) / (G·V), not weighed.
        prob_perplexity: summed over the groups.
        code_counts: `[G, V]`, how often each code was chosen.
    """

    contrast: UtteranceContrast
    diversity: Tensor
    prob_perplexity: Tensor
    code_counts: Tensor


@dataclass(frozen=True)
class PredictionTerms:
    """The loss of a micro-batch and its parts.

    Attributes:
        loss: with gradient, a sum over frames.
        num_frames: frames whose prediction counts, by which the loss of an update is divided.
        masked, unmasked: of each head; what counts for nothing has no gradient.
        penalty: mean square of the extractor's output, not weighed.
        utterance: None without that task.
    """

    loss: Tensor
    num_frames: int
    masked: Sequence[Prediction]
    unmasked: Sequence[Prediction]
    penalty: Tensor
    utterance: UtteranceTerms | None


def _features(model: Any, speech: Speech, weights: PredictionWeights) -> tuple[Tensor, Tensor]:
    """The row of conv features `[N, F]`, and their penalty."""
    if not weights.extractor_sees_padding:
        features = extract(model, speech, weights.extractor_grad_scale)
        return features, feature_penalty(features)
    padded = convolve(model, speech.waveforms, weights.extractor_grad_scale)
    return end_to_end(padded, speech.layout), feature_penalty(padded)


def _utterance_terms(
    model: Any, hidden: Tensor, speech: Speech, sampled: Tensor, gumbel: Noise, gumbel_temperature: float, scale: float
) -> UtteranceTerms:
    """The utterance-wise contrastive task on what leaves its layer, `[N, C]`."""
    hidden = hidden[speech.masked]
    if model.config.do_stable_layer_norm:
        hidden = model.layer_norm_for_extract(hidden)
    quantised = quantise(model, hidden, gumbel, gumbel_temperature)
    targets = model.project_q(quantised.vectors.to(hidden.dtype))
    clips = speech.layout.clips[speech.masked]
    contrast = utterance_contrast(model.speaker_proj(hidden), targets, sampled, clips, scale)
    prob = perplexity(quantised.probabilities)
    counts = code_counts(quantised.codes, quantised.probabilities.shape[-1])
    return UtteranceTerms(contrast, diversity_loss(prob, counts.numel()), prob, counts)


def prediction_terms(
    model: Any,
    speech: Speech,
    classes: Tensor,
    weights: PredictionWeights,
    *,
    sampled: Tensor | None = None,
    gumbel: Noise = None,
    gumbel_temperature: float = 1.0,
) -> PredictionTerms:
    """The terms of the objective on one micro-batch.

    Args:
        classes: `[N]`, the class of every frame of the row.
        sampled: `[M, K]`, places among the masked frames; only the utterance-wise contrastive task needs them.
        gumbel: noise of its quantiser.
    """
    features, penalty = _features(model, speech, weights)
    heads = heads_of(model)
    wanted = [*(heads.layers or []), *([] if weights.contrast_layer is None else [weights.contrast_layer])]
    row = Row(features, speech.layout, speech.time_mask, speech.channel_mask)
    last, states = encode_blocks(model, row, wanted, layers=speech.layers)
    # Sorted, since `nonzero` would wait for the device.
    others = speech.time_mask.byte().argsort(stable=True)[: len(speech.time_mask) - len(speech.masked)]
    num_frames = len(speech.masked) * (weights.masked > 0) + len(others) * (weights.unmasked > 0)
    loss = weights.penalty * penalty * num_frames
    masked: list[Prediction] = []
    unmasked: list[Prediction] = []
    seen = states[: len(heads.project)] if heads.layers else [last]
    for state, project, embeddings in zip(seen, heads.project, heads.embeddings, strict=True):
        for found, frames, weight in ((masked, speech.masked, weights.masked), (unmasked, others, weights.unmasked)):
            with torch.set_grad_enabled(weight > 0 and torch.is_grad_enabled()):
                scores = class_scores(project(state[frames]), embeddings, weights.temperature)
                found.append(predict(scores, classes[frames]))
            if weight > 0:
                loss = loss + weight * found[-1].loss_sum
    utterance = None
    if weights.contrast_layer is not None and sampled is not None:
        utterance = _utterance_terms(
            model, states[-1], speech, sampled, gumbel, gumbel_temperature, weights.temperature
        )
        both = weights.utterance * utterance.contrast.loss + weights.diversity * utterance.diversity
        loss = loss + num_frames * both
    return PredictionTerms(loss, num_frames, masked, unmasked, penalty, utterance)
