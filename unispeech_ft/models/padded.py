"""Clips as a padded batch through the stock encoders: for ONNX, and for encoders that `forward` does not take apart.

`B` clips, `T` frames, `F` feature channels, `C` hidden channels.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from unispeech_ft.models.families import backbone

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def frame_mask(num_frames: Tensor, width: int) -> Tensor:
    """`[B]` lengths → `[B, T]`, true where a frame exists."""
    return torch.arange(width, device=num_frames.device)[None, :] < num_frames[:, None]


@contextlib.contextmanager
def kept_layers(encoder: Any, kept: Sequence[int] | None) -> Iterator[None]:
    """The encoder with only some of its layers, None for all; the stock loop then runs just these."""
    layers = encoder.layers
    if kept is not None:
        encoder.layers = nn.ModuleList([layers[place] for place in kept])
    try:
        yield
    finally:
        encoder.layers = layers


def encode_padded(
    model: PreTrainedModel,
    features: Tensor,
    num_frames: Tensor,
) -> Tensor:
    """Features `[B, T, F]` → hidden states `[B, T, C]`.

    Args:
        num_frames: `[B]` frames of each clip; what lies beyond has no influence on what lies within.
    """
    base = backbone(model)
    projected = base.feature_projection(features)
    hidden: Tensor = projected[0] if isinstance(projected, tuple) else projected
    mask = frame_mask(num_frames, features.shape[1])
    hidden = base.encoder(hidden, attention_mask=mask).last_hidden_state
    if getattr(base, "intermediate_ffn", None) is not None:
        hidden = hidden + 0.5 * base.intermediate_ffn(hidden)
    return hidden
