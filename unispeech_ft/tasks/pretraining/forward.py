"""Waveforms through Transformers' `UniSpeechForPreTraining` to the terms of the objective.

`B` clips, `S` samples, `N` frames of a row, `M` masked frames, `K` negatives, `C` hidden channels, `F` conv channels,
`G` groups of `V` codevectors. The stock modules compute; the objective, which the stock class lacks, is `objective`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unispeech_ft.data.row import Layout, Row
from unispeech_ft.models.families import backbone
from unispeech_ft.models.forward import ctc_loss_sum, encode
from unispeech_ft.tasks.pretraining.objective import (
    Quantised,
    choose_codes,
    code_counts,
    contrastive_loss,
    diversity_loss,
    perplexity,
    replace_frames,
    same_codes,
    total_loss,
)

# Shape → Gumbel noise; None chooses the best codes.
Noise = Callable[[tuple[int, ...]], Tensor] | None


@dataclass(frozen=True)
class Speech:
    """What the model reads.

    Attributes:
        waveforms: `[B, S]`, zero beyond a clip's end.
        layout: of the row of the clips' frames.
        time_mask: `[N]`.
        masked: `[M]`, the masked frames of the row.
        num_masked: of each clip.
        channel_mask: `[B, C]` or None.
        layers: indices of the encoder layers that run; None for all.
        num_samples: of each clip; only an extractor that normalises over time needs it.
    """

    waveforms: Tensor
    layout: Layout
    time_mask: Tensor
    masked: Tensor
    num_masked: Sequence[int]
    channel_mask: Tensor | None = None
    layers: Sequence[int] | None = None
    num_samples: Sequence[int] = ()


@dataclass(frozen=True)
class Draws:
    """Everything drawn by lot.

    Attributes:
        negatives: `[M, K]`, frames of the row.
        replace: `[N]`, frames whose latent the CTC branch sees.
        gumbel: for the two draws of codes (masked frames, then all frames).
        temperature: of the Gumbel softmax.
    """

    negatives: Tensor
    replace: Tensor
    gumbel: Noise
    temperature: float


@dataclass(frozen=True)
class Weights:
    """How the terms are weighed, and whether the CTC branch sees latents at all; see `config.ObjectiveConfig`."""

    alpha: float
    diversity: float
    temperature: float
    extractor_grad_scale: float = 1.0
    replaces: bool = True


@dataclass(frozen=True)
class Terms:
    """The loss of a micro-batch and its parts, summed over frames and clips; terms that were not computed are 0.

    Attributes:
        loss: with gradient.
        num_masked: `M`.
        diversity: (G·V − perplexity) / (G·V), not weighed.
        correct: masked frames whose target was told from its negatives.
        prob_perplexity, code_perplexity: of the masked frames, summed over the groups.
        code_counts: `[G, V]`, how often each code was chosen for a masked frame.
        ctc_logits: `[N, V]`, None where the CTC branch did not run.
    """

    loss: Tensor
    num_masked: int
    ctc_sum: Tensor
    contrastive_sum: Tensor
    diversity: Tensor
    correct: Tensor
    prob_perplexity: Tensor
    code_perplexity: Tensor
    code_counts: Tensor
    ctc_logits: Tensor | None


def scale_gradient(values: Tensor, factor: float) -> Tensor:
    """The same values; their gradient is multiplied by `factor`."""
    return values if factor == 1 else values.detach() + factor * (values - values.detach())


def convolve(model: Any, waveforms: Tensor, grad_scale: float) -> Tensor:
    """`[B, S]` → conv features `[B, T, F]`; with `grad_scale` 0 nothing is kept for a backward pass."""
    with torch.set_grad_enabled(grad_scale > 0 and torch.is_grad_enabled()):
        return scale_gradient(backbone(model).feature_extractor(waveforms), grad_scale).transpose(1, 2)


def end_to_end(padded: Sequence[Tensor] | Tensor, layout: Layout) -> Tensor:
    """Features `[T, F]` of each clip, with more behind them → the row `[N, F]`."""
    return torch.cat([clip[:count] for clip, count in zip(padded, layout.num_frames, strict=True)])


def extract(model: Any, speech: Speech, grad_scale: float) -> Tensor:
    """The row of conv features `[N, F]`; clips pass alone where the extractor normalises over time."""
    if model.config.feat_extract_norm == "layer":
        return end_to_end(convolve(model, speech.waveforms, grad_scale), speech.layout)
    clips = [clip[:count] for clip, count in zip(speech.waveforms, speech.num_samples, strict=True)]
    return end_to_end([convolve(model, clip[None], grad_scale)[0] for clip in clips], speech.layout)


def quantise(model: Any, latents: Tensor, gumbel: Noise, temperature: float) -> Quantised:
    """Latents `[N, F]` → codes and codevectors, with the stock quantiser's weights."""
    quantiser = model.quantizer
    groups, codes = quantiser.num_groups, quantiser.num_vars
    logits = quantiser.weight_proj(latents).view(len(latents), groups, codes)
    noise = None if gumbel is None else gumbel(tuple(logits.shape))
    return choose_codes(logits, quantiser.codevectors.view(groups, codes, -1), noise, temperature)


def project_up(model: Any, vectors: Tensor) -> Tensor:
    """Codevectors `[…, D]` → `[…, C]`, the space of the encoder's outputs."""
    projected: Tensor = model.project_hid(model.project_q(vectors.to(model.project_q.weight.dtype)))
    return projected


def ctc_branch(model: Any, hidden: Tensor, projected: Tensor | None, replace: Tensor) -> Tensor:
    """Encoder outputs `[N, C]` → logits of the CTC head `[N, V]`, float32 at least."""
    seen = hidden if projected is None else replace_frames(hidden, projected, replace)
    logits: Tensor = model.ctc_proj(model.dropout(seen))
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def pretraining_terms(
    model: Any,
    speech: Speech,
    draws: Draws,
    weights: Weights,
    labels: tuple[Tensor, Sequence[int]] | None,
) -> Terms:
    """The terms of the objective on one micro-batch.

    Args:
        labels: all label ids one after another, and how many each clip has; None for speech without labels.
    """
    layout = speech.layout
    features = extract(model, speech, weights.extractor_grad_scale)
    latents = model.dropout_features(backbone(model).feature_projection.layer_norm(features))
    row = Row(features, layout, speech.time_mask, speech.channel_mask)
    hidden = encode(model, row, layers=speech.layers)
    zero = hidden.new_zeros((), dtype=torch.float32)
    num_masked = len(draws.negatives)
    contrast_wanted = weights.alpha < 1
    ctc_wanted = labels is not None and weights.alpha > 0
    projected = None
    if contrast_wanted or (ctc_wanted and weights.replaces):
        at_masks = quantise(model, latents[speech.masked], draws.gumbel, draws.temperature)
        everywhere = quantise(model, latents, draws.gumbel, draws.temperature)
        projected = project_up(model, everywhere.vectors)
    contrastive_sum = diversity = correct = prob = code = zero
    counts = torch.zeros(0, device=hidden.device)
    if contrast_wanted and projected is not None:
        same = same_codes(at_masks.codes, everywhere.codes, draws.negatives)
        targets = project_up(model, at_masks.vectors)
        contrast = contrastive_loss(
            hidden[speech.masked],
            targets,
            projected,
            draws.negatives,
            same,
            weights.temperature,
            num_frames=layout.num_frames,
            num_masked=speech.num_masked,
        )
        counts = code_counts(at_masks.codes, at_masks.probabilities.shape[-1])
        prob, code = perplexity(at_masks.probabilities), perplexity((counts / num_masked)[None])
        diversity = diversity_loss(prob, counts.numel())
        contrastive_sum, correct = contrast.loss_sum, contrast.correct
    ctc_sum, logits = zero, None
    if ctc_wanted and labels is not None:
        logits = ctc_branch(model, hidden, projected, draws.replace)
        ctc_sum = ctc_loss_sum(logits, layout, labels[0], labels[1], model.config.pad_token_id)
    loss = total_loss(
        ctc_sum, contrastive_sum, diversity, num_masked, alpha=weights.alpha, diversity_weight=weights.diversity
    )
    return Terms(
        torch.as_tensor(loss), num_masked, ctc_sum, contrastive_sum, diversity, correct, prob, code, counts, logits
    )
