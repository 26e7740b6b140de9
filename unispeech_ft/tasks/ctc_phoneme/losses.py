"""What may be added to CTC while the encoder trains; the head of the last layer is the only one, so the model that is
exported has nothing more, unless it is self-conditioned (`models.self_conditioned`).

`N` frames of the row, `V` rows of the head.

Sources: Lee and Watanabe 2021, "Intermediate Loss Regularization for CTC-based Speech Recognition"; Yao et al. 2025,
"CR-CTC: Consistency regularization on CTC for improved speech recognition"; Kim et al. 2018, "Improved training for
online end-to-end speech recognition systems" (label smoothing of CTC).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from unispeech_ft.data.row import Row
from unispeech_ft.errors import UserError
from unispeech_ft.models.families import backbone
from unispeech_ft.models.forward import encode, encode_blocks, head
from unispeech_ft.tasks.ctc_phoneme.config import LossConfig

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

INTERMEDIATE, CONSISTENCY, ENTROPY = "intermediate_loss", "consistency_loss", "entropy_loss"


def added_to_ctc(settings: LossConfig) -> tuple[str, ...]:
    """The names of what is added, as metrics.jsonl has them; none by default."""
    named = (
        (INTERMEDIATE, bool(settings.intermediate_layers)),
        (CONSISTENCY, settings.consistency_weight > 0),
        (ENTROPY, settings.entropy_weight > 0),
    )
    return tuple(name for name, wanted in named if wanted)


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


def block_logits(
    network: PreTrainedModel, row: Row, blocks: Sequence[int], layers: Sequence[int] | None
) -> tuple[Tensor, list[Tensor]]:
    """The head's logits `[N, V]` of what the encoder gives, and of what leaves some of its layers.

    Where layers begin with their norm, the norm behind the last stands behind each of these, as the head expects it.

    Args:
        blocks, layers: as in `models.forward.encode_blocks`.
    """
    if not blocks:
        return head(network, encode(network, row, layers=layers)), []
    last, inner = encode_blocks(network, row, blocks, layers=layers)
    norm: Any = nn.Identity()
    if getattr(network.config, "do_stable_layer_norm", False):
        norm = backbone(network).encoder.layer_norm
    return head(network, last), [head(network, norm(hidden)) for hidden in inner]


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


def total(ctc: Tensor, added: Mapping[str, Tensor], settings: LossConfig) -> Tensor:
    """The weighted sum of CTC and what is added, by name."""
    loss = ctc
    if INTERMEDIATE in added:
        loss = (1 - settings.intermediate_weight) * ctc + settings.intermediate_weight * added[INTERMEDIATE]
    if CONSISTENCY in added:
        loss = loss + settings.consistency_weight * added[CONSISTENCY]
    if ENTROPY in added:
        loss = loss + settings.entropy_weight * added[ENTROPY]
    return loss
