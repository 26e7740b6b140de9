"""The terms of masked prediction and of UniSpeech-SAT, as pure functions of tensors and of frames drawn beforehand.

`N` frames of a row of clips, `M` masked frames of the row, `K` frames drawn for each of them, `D` channels in which
they are compared, `V` classes. Source: Hsu et al. 2021 (HuBERT), section II; Chen et al. 2022 (WavLM), section III;
Chen et al. 2022 (UniSpeech-SAT), section 2; src/fairseq/{criterions/wavlm_criterion.py, models/unispeech_sat} of
microsoft/UniSpeech, with which tests/tasks/pretraining/test_golden_prediction.py compares.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from unispeech_ft.tasks.pretraining.objective import products


@dataclass(frozen=True)
class Prediction:
    """What was predicted of some frames.

    Attributes:
        loss_sum: Σ over the frames of −log p(class).
        correct: frames whose class has the best score.
        entropy_sum: Σ over the frames of the entropy of the prediction, in nats; without gradient.
        best: `[V]`, frames in which each class has the best score.
    """

    loss_sum: Tensor
    correct: Tensor
    entropy_sum: Tensor
    best: Tensor


@dataclass(frozen=True)
class UtteranceContrast:
    """The utterance-wise contrastive task on `M` masked frames.

    Attributes:
        loss: mean binary cross-entropy over all pairs.
        correct: share of the pairs that are told rightly.
    """

    loss: Tensor
    correct: Tensor


def class_scores(projected: Tensor, embeddings: Tensor, temperature: float) -> Tensor:
    """Cosine similarity of every frame with every class, divided by the temperature, `[N, V]`.

    Args:
        projected: `[N, D]`.
        embeddings: `[V, D]`.
    """
    return _cosines(projected, embeddings) / temperature


def _cosines(one: Tensor, other: Tensor) -> Tensor:
    """`[N, D]` and `[V, D]` → `[N, V]`."""
    return products(*(nn.functional.normalize(vectors.float(), dim=-1, eps=1e-8) for vectors in (one, other)))


def predict(scores: Tensor, classes: Tensor) -> Prediction:
    """Cross-entropy over all classes. The original puts the true class first and leaves it out where it comes again
    among all classes, which is the same.

    Args:
        scores: `[N, V]`.
        classes: `[N]`, the true ones.
    """
    log_probs = torch.log_softmax(scores, dim=-1)
    said = log_probs.detach()
    of_true = said.gather(1, classes[:, None])[:, 0]
    correct = (of_true >= said.amax(dim=-1)) & (of_true > said.amin(dim=-1))
    return Prediction(
        -log_probs.gather(1, classes[:, None]).sum(),
        correct.sum(),
        -(said.exp() * said).sum(),
        class_counts(said.argmax(dim=-1), scores.shape[-1]),
    )


def class_counts(classes: Tensor, num_classes: int) -> Tensor:
    """`[N]` classes → `[V]`, how often each comes."""
    counts = torch.zeros(num_classes, device=classes.device)
    return counts.index_add_(0, classes, torch.ones_like(classes, dtype=counts.dtype))


def utterance_contrast(
    predictions: Tensor, targets: Tensor, sampled: Tensor, clips: Tensor, temperature: float
) -> UtteranceContrast:
    """Does a quantised frame come from the clip of a masked frame? The frame's own, which comes first, and those of its
    clip do; gradients pass through both sides.

    Args:
        predictions: `[M, D]`.
        targets: `[M, D]`, the frames' quantised vectors, projected.
        sampled: `[M, K]`, places among the `M` masked frames.
        clips: `[M]`, the clip of each masked frame.
        temperature: divides the cosine similarities.
    """
    # All pairs, of which some are taken: gathering vectors would make [M, K, D].
    cosines = _cosines(predictions, targets)
    own = cosines.diagonal()[:, None]
    scores = torch.cat([own, cosines.gather(1, sampled)], dim=1) / temperature
    same = torch.cat([torch.ones_like(own), (clips[sampled] == clips[:, None]).to(own.dtype)], dim=1)
    loss = nn.functional.binary_cross_entropy_with_logits(scores, same)
    return UtteranceContrast(loss, ((scores.detach() > 0) == same.bool()).float().mean())


def feature_penalty(features: Tensor) -> Tensor:
    """Mean square of the extractor's output, which keeps it from growing."""
    return features.float().square().mean()
