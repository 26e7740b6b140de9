"""From features to logits, the same way for training, evaluation and transcription.

`B` clips, `T` frames, `F` feature channels, `C` hidden channels, `V` rows of the head, `S` samples. The stock modules
do the work; what is ours is what they cannot be told: which frames and channels are masked, and which layers a
layer-drop draw leaves out.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from unispeech_ft.models.families import backbone

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def frame_mask(num_frames: Tensor, width: int) -> Tensor:
    """`[B]` lengths → `[B, T]`, true where a frame exists."""
    return torch.arange(width, device=num_frames.device)[None, :] < num_frames[:, None]


@contextlib.contextmanager
def kept_layers(encoder: nn.Module, kept: Sequence[int] | None) -> Iterator[None]:
    """The encoder with only some of its layers, None for all; the stock loop then runs just these."""
    layers = encoder.layers
    if kept is not None:
        encoder.layers = nn.ModuleList([layers[place] for place in kept])
    try:
        yield
    finally:
        encoder.layers = layers


def encode(
    model: PreTrainedModel,
    features: Tensor,
    num_frames: Tensor,
    *,
    time_mask: Tensor | None = None,
    channel_mask: Tensor | None = None,
    layers: Sequence[int] | None = None,
) -> Tensor:
    """Features `[B, T, F]` → hidden states `[B, T, C]`.

    Args:
        num_frames: `[B]` frames of each clip; what lies beyond has no influence on what lies within.
        time_mask: `[B, T]`, frames replaced by the learned mask embedding.
        channel_mask: `[B, C]`, channels set to zero in all frames of a clip, masked ones included.
        layers: places of the encoder layers that run; None for all.
    """
    base = backbone(model)
    projected = base.feature_projection(features)
    hidden = projected[0] if isinstance(projected, tuple) else projected
    if time_mask is not None:
        hidden = torch.where(time_mask[..., None], base.masked_spec_embed.to(hidden.dtype), hidden)
    if channel_mask is not None:
        hidden = hidden.masked_fill(channel_mask[:, None, :], 0)
    with kept_layers(base.encoder, layers):
        mask = frame_mask(num_frames, features.shape[1])
        hidden = base.encoder(hidden, attention_mask=mask).last_hidden_state
    if getattr(base, "intermediate_ffn", None) is not None:
        hidden = hidden + 0.5 * base.intermediate_ffn(hidden)
    return hidden


def head(model: PreTrainedModel, hidden: Tensor) -> Tensor:
    """Hidden states `[B, T, C]` → logits `[B, T, V]`, in float32 at least."""
    logits = model.lm_head(model.dropout(hidden))
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def ctc_loss_sum(logits: Tensor, num_frames: Tensor, labels: Tensor, num_labels: Tensor, blank: int) -> Tensor:
    """Σ over the clips of −log p(labels | logits); an infeasible clip counts 0, gradient included.

    Args:
        logits: `[B, T, V]`, float32 at least.
        num_frames: `[B]`.
        labels: the clips' labels one after another, `[Σ num_labels]`.
        num_labels: `[B]`.
        blank: row of the CTC blank.
    """
    # In 32 bits a path's log probability of −1,000 is known to 6e-5, and so is every gradient.
    precision = torch.float32 if logits.device.type == "mps" else torch.float64
    log_probs = torch.log_softmax(logits, dim=-1, dtype=precision).transpose(0, 1)
    loss = nn.functional.ctc_loss(
        log_probs, labels, num_frames, num_labels, blank=blank, reduction="sum", zero_infinity=True
    )
    return loss.float()
