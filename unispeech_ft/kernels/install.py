"""A model on its device."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from unispeech_ft.config.sections import ModelConfig, TrainingConfig

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def place(model: PreTrainedModel, device: torch.device, settings: ModelConfig, training: TrainingConfig) -> None:
    """Moves a model to its device."""
    nn.Module.to(model, device)
