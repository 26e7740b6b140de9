"""The objective of UniSpeech pre-training, as pure functions of tensors and of indices drawn beforehand.

`N` frames of a row of clips, `T` frames of a clip, `M` masked frames of the row, `K` negatives, `C` channels, `G`
groups of `V` codevectors. Source: Wang et al. 2021 (UniSpeech), section 3; Baevski et al. 2020 (wav2vec 2.0), section
3; and the criterion of microsoft/UniSpeech, with which tests/tasks/pretraining/test_golden_objective.py compares.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Quantised:
    """Latents and what they were chosen from.

    Attributes:
        vectors: `[N, D]`, the chosen codevectors of all groups side by side; gradients pass straight through.
        codes: `[N, G]`, which codevector of each group was chosen.
        probabilities: `[N, G, V]`, softmax without noise.
    """

    vectors: Tensor
    codes: Tensor
    probabilities: Tensor


@dataclass(frozen=True)
class Contrast:
    """The contrastive task on `M` masked frames.

    Attributes:
        loss_sum: Σ over the frames of −log p(target among target and negatives).
        correct: frames whose target has the best score; one that scores like all its negatives is not counted.
    """

    loss_sum: Tensor
    correct: Tensor


def gumbel_temperature(update: int, start: float, end: float, decay: float) -> float:
    """The temperature of an update (from 0): `start · decay^update`, never below `end`."""
    return max(start * decay**update, end)


def gumbel_noise(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Standard Gumbel noise, float32, on the generator's device."""
    uniform = torch.rand(shape, generator=generator, device=generator.device)
    tiny = torch.finfo(torch.float32).tiny
    exponential = -torch.log(uniform.clamp(min=tiny))
    return -torch.log(exponential.clamp(min=tiny))


def choose_codes(logits: Tensor, codevectors: Tensor, noise: Tensor | None, temperature: float) -> Quantised:
    """Chooses a codevector in each group, with the straight-through Gumbel softmax where there is noise.

    Args:
        logits: `[N, G, V]`.
        codevectors: `[G, V, D / G]`.
        noise: `[N, G, V]`, Gumbel; None chooses the best code, and lets no gradient through to the logits.
        temperature: of the softmax through which gradients pass.
    """
    logits = logits.float()
    noisy = logits if noise is None else logits + noise
    codes = noisy.argmax(dim=-1)
    one_hot = nn.functional.one_hot(codes, logits.shape[-1]).to(logits.dtype)
    if noise is not None:
        soft = torch.softmax(noisy / temperature, dim=-1)
        one_hot = one_hot + (soft - soft.detach())
    vectors = torch.einsum("ngv,gvd->ngd", one_hot, codevectors.float())
    return Quantised(vectors.flatten(1), codes, torch.softmax(logits, dim=-1))


def perplexity(distribution: Tensor) -> Tensor:
    """exp(entropy) of each group's mean distribution, summed over the groups.

    Args:
        distribution: `[N, G, V]`.
    """
    mean = distribution.float().mean(dim=0)
    return torch.exp(-torch.sum(mean * torch.log(mean + 1e-7), dim=-1)).sum()


def code_counts(codes: Tensor, num_codes: int) -> Tensor:
    """`[N, G]` chosen codes → `[G, V]`, how often each was."""
    return nn.functional.one_hot(codes, num_codes).sum(dim=0)


def diversity_loss(prob_perplexity: Tensor, num_codes: int) -> Tensor:
    """(G·V − perplexity) / (G·V): 0 where all codes are equally probable.

    Args:
        num_codes: `G · V`.
    """
    return (num_codes - prob_perplexity) / num_codes


def products(one: Tensor, other: Tensor) -> Tensor:
    """`[N, C]` and `[T, C]` → `[N, T]` in 32 bits; cosines in 16, divided by a temperature of 0.1, are off by 0.04."""
    with torch.autocast(one.device.type, enabled=False):
        return one.float() @ other.float().T


def contrastive_loss(
    predictions: Tensor,
    targets: Tensor,
    candidates: Tensor,
    negatives: Tensor,
    same: Tensor,
    temperature: float,
    *,
    num_frames: Sequence[int],
    num_masked: Sequence[int],
) -> Contrast:
    """InfoNCE with cosine similarity: which of 1 + K latents is the one behind a masked frame?

    Args:
        predictions: `[M, C]`, encoder outputs at the masked frames.
        targets: `[M, C]`, their own quantised latents, projected up.
        candidates: `[N, C]`, the quantised latents of all frames, projected up.
        negatives: `[M, K]`, frames of the row, all of them in the masked frame's own clip.
        same: `[M, K]`, true where a negative is the same latent as the target; it counts for nothing.
        temperature: divides the similarities.
        num_frames, num_masked: frames and masked frames of each clip.
    """
    if not len(negatives):
        return Contrast(candidates.sum() * 0, torch.zeros((), device=candidates.device))
    predicted = nn.functional.normalize(predictions.float(), dim=-1, eps=1e-8)
    wanted = nn.functional.normalize(targets.float(), dim=-1, eps=1e-8)
    others = nn.functional.normalize(candidates.float(), dim=-1, eps=1e-8)
    starts = accumulate(num_frames, initial=0)
    counts = list(num_masked)
    parts = zip(predicted.split(counts), others.split(list(num_frames)), negatives.split(counts), starts, strict=False)
    # One clip after another: [M, T] similarities, where gathering vectors would make [M, K, C].
    scores = torch.cat([products(mine, clip).gather(1, chosen - start) for mine, clip, chosen, start in parts])
    scores = scores.masked_fill(same, float("-inf"))
    logits = torch.cat([(predicted * wanted).sum(-1, keepdim=True), scores], dim=1) / temperature
    first = torch.zeros(len(logits), dtype=torch.long, device=logits.device)
    loss = nn.functional.cross_entropy(logits, first, reduction="sum")
    best, worst = logits.argmax(dim=-1) == 0, logits.argmin(dim=-1) == 0
    return Contrast(loss, (best & ~worst).sum())


def same_codes(target_codes: Tensor, all_codes: Tensor, negatives: Tensor) -> Tensor:
    """`[M, K]`, where a negative has the very codes of its target.

    Args:
        target_codes: `[M, G]`.
        all_codes: `[N, G]`.
        negatives: `[M, K]`, frames of the row.
    """
    return (all_codes[negatives] == target_codes[:, None, :]).all(dim=-1)


def replace_frames(hidden: Tensor, latents: Tensor, replace: Tensor) -> Tensor:
    """What the CTC branch sees: the encoder's output, or in some frames the quantised latent, projected up.

    Args:
        hidden, latents: `[N, C]`.
        replace: `[N]`, true for the latent.
    """
    return torch.where(replace[..., None], latents.to(hidden.dtype), hidden)


def total_loss(
    ctc_sum: Tensor | float,
    contrastive_sum: Tensor | float,
    diversity: Tensor | float,
    num_masked: int,
    *,
    alpha: float,
    diversity_weight: float,
) -> Tensor | float:
    """α·CTC + (1 − α)·(InfoNCE + weight · diversity · masked frames), all of them sums over the micro-batch.

    The gradient is divided by the masked frames of the whole update, over all processes, for both terms
    (`training.pretraining_step`). Without labels the first term is 0 and the factor of the second stays.
    """
    return alpha * ctc_sum + (1 - alpha) * (contrastive_sum + diversity_weight * diversity * num_masked)
