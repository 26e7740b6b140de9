"""A model on its device, with the kernels that are fastest there; what it computes stays the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from unispeech_ft.config.sections import ModelConfig, TrainingConfig
from unispeech_ft.kernels.attention import Kernel, gates_position_bias, use_attention
from unispeech_ft.kernels.dropout import replace_dropouts
from unispeech_ft.kernels.linear import replace_linears
from unispeech_ft.kernels.positions import replace_positional_conv
from unispeech_ft.models.families import backbone

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def _kernel(model: PreTrainedModel, attention: str, device: torch.device) -> Kernel | None:
    """The kernel of ours that an `attention` of the YAML means; None for a stock one."""
    if attention == "matmul" or (attention == "sdpa" and gates_position_bias(model)):
        return attention
    if attention != "auto":
        return None
    if device.type == "cpu":
        return "matmul"
    return "sdpa" if gates_position_bias(model) else None


def place(
    model: PreTrainedModel,
    device: torch.device,
    settings: ModelConfig,
    training: TrainingConfig,
) -> None:
    """Moves a model to its device and chooses attention, dropout, products and compilation."""
    model.to(device)
    kernel = _kernel(model, settings.attention, device)
    if kernel is not None:
        use_attention(model, kernel)
    if device.type == "cpu":
        if training.fast_dropout:
            replace_dropouts(model)
        if training.fast_products:
            replace_linears(model)
        if training.fast_positions:
            replace_positional_conv(backbone(model).encoder)
    if training.compile_layers:
        layers: nn.ModuleList = backbone(model).encoder.layers
        for layer in layers:
            layer.compile(dynamic=True)
