"""Clips as a padded batch through the stock encoders, for ONNX.

`B` clips, `T` frames, `F` feature channels, `C` hidden channels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from unispeech_ft.models.families import backbone

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def frame_mask(num_frames: Tensor, width: int) -> Tensor:
    """`[B]` lengths → `[B, T]`, true where a frame exists."""
    return torch.arange(width, device=num_frames.device)[None, :] < num_frames[:, None]


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
    encoded: Tensor = base.encoder(hidden, attention_mask=mask).last_hidden_state
    return encoded
