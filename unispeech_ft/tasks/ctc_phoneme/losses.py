"""What may be added to CTC while the encoder trains; the head of the last layer is the only one that stays, so the
model that is exported has nothing more, unless it is self-conditioned (`models.self_conditioned`).

`N` frames of the row, `V` rows of the head, `A` articulatory features.

Sources: Lee and Watanabe 2021, "Intermediate Loss Regularization for CTC-based Speech Recognition"; Yao et al. 2025,
"CR-CTC: Consistency regularization on CTC for improved speech recognition"; Kim et al. 2018, "Improved training for
online end-to-end speech recognition systems" (label smoothing of CTC); Graves et al. 2006, "Connectionist temporal
classification" (equation 16: the gradient of CTC holds the posteriors of the labels); `models.articulation`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from unispeech_ft.data.row import Row
from unispeech_ft.errors import UserError
from unispeech_ft.models.articulation import articulation, feature_tables
from unispeech_ft.models.build import read_model_config
from unispeech_ft.models.families import as_before_head
from unispeech_ft.models.forward import encode, encode_blocks, head
from unispeech_ft.phonemes.tokenizer import PhoneTokenizer
from unispeech_ft.tasks.ctc_phoneme.config import CtcPhonemeConfig, LossConfig

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

INTERMEDIATE, CONSISTENCY, ENTROPY = "intermediate_loss", "consistency_loss", "entropy_loss"
FEATURES = "features_loss"


class View(NamedTuple):
    """What a network says of a row.

    Attributes:
        last: `[N, V]`, the head's logits of what the encoder gives.
        inner: the same of what leaves some of its layers.
        features: `[N, A]`, logits of the articulatory features; None without a head of them.
    """

    last: Tensor
    inner: list[Tensor]
    features: Tensor | None


def added_to_ctc(settings: LossConfig) -> tuple[str, ...]:
    """The names of what is added, as metrics.jsonl has them; none by default."""
    named = (
        (INTERMEDIATE, bool(settings.intermediate_layers)),
        (CONSISTENCY, settings.consistency_weight > 0),
        (ENTROPY, settings.entropy_weight > 0),
        (FEATURES, settings.features_weight > 0),
    )
    return tuple(name for name, wanted in named if wanted)


def check_losses(config: CtcPhonemeConfig, tokenizer: PhoneTokenizer, *, reached: bool) -> None:
    """Whether what is added to CTC can be computed, so that a dry run tells it too.

    Args:
        reached: whether the base model is there; where it is not, nothing is said of its layers.

    Raises:
        UserError: the encoder lacks a layer that is named, or cannot be self-conditioned; or a phone has no features.
    """
    from unispeech_ft.models.self_conditioned import self_conditioned_config

    settings = config.loss
    if reached:
        encoder = read_model_config(config.model)
        check_layers(settings, encoder)
        self_conditioned_config(encoder, settings.conditioned_layers, str(config.model.base or "model.config"))
    if settings.features_weight > 0:
        feature_tables(tokenizer)


def check_layers(settings: LossConfig, encoder: PreTrainedConfig) -> None:
    """Whether the encoder has the layers that are named, below its last.

    Raises:
        UserError: it has not.
    """
    last = int(encoder.num_hidden_layers)
    beyond = [layer for layer in settings.intermediate_layers if layer >= last]
    if beyond:
        raise UserError(
            f"loss.intermediate_layers names layer {beyond[0]}, but the encoder has {last} layers, and the last one has"
            " CTC anyway",
            remedy=f"name layers from 1 to {last - 1}" if last > 1 else "leave it out",
        )


def block_logits(network: PreTrainedModel, row: Row, blocks: Sequence[int], layers: Sequence[int] | None) -> View:
    """What a network says of a row, some of its layers included.

    Args:
        blocks, layers: as in `models.forward.encode_blocks`.
    """
    if not blocks:
        hidden = encode(network, row, layers=layers)
        return View(head(network, hidden), [], articulation(network, hidden))
    last, inner = encode_blocks(network, row, blocks, layers=layers)
    logits = [head(network, as_before_head(network, hidden)) for hidden in inner]
    return View(head(network, last), logits, articulation(network, last))


def consistency(first: Tensor, second: Tensor) -> Tensor:
    """½ Σ over the frames of KL(second ‖ first) + KL(first ‖ second), two views' logits `[N, V]`; in each the first
    named is the target and takes no gradient."""
    one, other = (torch.log_softmax(logits, dim=-1) for logits in (first, second))

    def towards(target: Tensor, found: Tensor) -> Tensor:
        return nn.functional.kl_div(found, target.detach(), reduction="sum", log_target=True)

    return (towards(other, one) + towards(one, other)) / 2


def certainty(logits: Tensor) -> Tensor:
    """Σ over the frames of KL(posteriors ‖ uniform), which is log V less their entropy, of logits `[N, V]`."""
    log_probs = torch.log_softmax(logits, dim=-1)
    return (log_probs.exp() * (log_probs + math.log(logits.shape[1]))).sum()


def label_posteriors(logits: Tensor, ctc: Callable[[Tensor], Tensor]) -> Tensor:
    """Which row of the head each frame belongs to, given the labels: posteriors `[N, V]` over the paths of CTC.

    They are softmax less gradient; of a clip too short for its labels, whose gradient is 0, the softmax.

    Args:
        logits: `[N, V]`.
        ctc: logits → Σ CTC.
    """
    apart = logits.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(ctc(apart), apart)
    return (torch.softmax(apart.detach(), dim=-1) - gradient).clamp(min=0)


def features_loss(found: Tensor, posteriors: Tensor, present: Tensor, absent: Tensor) -> Tensor:
    """Σ over the frames of what is expected, under posteriors of the rows, of −log p of a feature of the phone, in the
    mean over the features. Blank and unspecified features ask for nothing.

    Args:
        found: `[N, A]`, logits of a feature being present.
        posteriors: `[N, V]`, without a gradient.
        present, absent: `[V, A]`, see `models.articulation`.
    """
    logsigmoid = nn.functional.logsigmoid
    said = (posteriors @ present) * logsigmoid(found) + (posteriors @ absent) * logsigmoid(-found)
    return -said.sum() / found.shape[1]


def total(ctc: Tensor, added: Mapping[str, Tensor], settings: LossConfig) -> Tensor:
    """The weighted sum of CTC and what is added, by name."""
    loss = ctc
    if INTERMEDIATE in added:
        loss = (1 - settings.intermediate_weight) * ctc + settings.intermediate_weight * added[INTERMEDIATE]
    if CONSISTENCY in added:
        loss = loss + settings.consistency_weight * added[CONSISTENCY]
    if ENTROPY in added:
        loss = loss + settings.entropy_weight * added[ENTROPY]
    if FEATURES in added:
        loss = loss + settings.features_weight * added[FEATURES]
    return loss
