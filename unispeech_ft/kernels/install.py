"""A model on its device."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from unispeech_ft.config.sections import ModelConfig, TrainingConfig


def place(model: Any, device: torch.device, settings: ModelConfig, training: TrainingConfig) -> None:
    """Moves a model to its device.

    On CUDA devices products in 32 bits are in 32 bits, and no attention kernel plans anew for each shape.
    """
    nn.Module.to(model, device)
    model.fused_layers = training.compile_layers is not False
    model.cuda_graphs = training.cuda_graphs
    if device.type == "cuda":
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.enable_cudnn_sdp(False)
