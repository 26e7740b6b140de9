"""The conv extractor on a CPU, as matrix products over overlapping windows.

`S` samples, `T` frames, `C` channels. The library's 1-D convolutions are compiled for each new length and run at about
half the speed of the same sums as one matrix product a layer.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers.activations import GELUActivation

from unispeech_ft.models.linear import product


def _windows(hidden: Tensor, kernel: int, stride: int) -> Tensor:
    """`[T, C]` → `[T', kernel · C]`, a view of the windows that each output frame sees."""
    frames, channels = hidden.shape
    return hidden.as_strided(((frames - kernel) // stride + 1, kernel * channels), (stride * channels, 1))


def _normalise(norm: nn.Module, hidden: Tensor) -> Tensor:
    if not isinstance(norm, nn.GroupNorm):
        return norm(hidden)
    # As many groups as channels: each is normalised over time.
    variance, mean = torch.var_mean(hidden, dim=0, correction=0)
    scale = norm.weight * torch.rsqrt(variance + norm.eps)
    return torch.addcmul(norm.bias - mean * scale, hidden, scale)


def _layer(layer: nn.Module, hidden: Tensor) -> Tensor:
    weight = layer.conv.weight.transpose(1, 2).flatten(1)
    windows = _windows(hidden, layer.conv.kernel_size[0], layer.conv.stride[0])
    norm = getattr(layer, "layer_norm", None)
    gelu = isinstance(layer.activation, GELUActivation)
    convolved = product(windows, weight, layer.conv.bias, gelu=gelu and norm is None)
    if norm is not None:
        convolved = _normalise(norm, convolved)
        return torch.ops.aten.gelu_(convolved) if gelu else layer.activation(convolved)
    return convolved if gelu else layer.activation(convolved)


@torch.no_grad()
def conv_features(extractor: nn.Module, waveform: Tensor) -> Tensor:
    """The output of a Transformers feature extractor for one clip, to rounding.

    Args:
        extractor: `feature_extractor` of a backbone, in evaluation mode.
        waveform: `[S]`.

    Returns:
        `[T, C]`.
    """
    hidden = waveform.contiguous()[:, None]
    for layer in extractor.conv_layers:
        hidden = _layer(layer, hidden)
    return hidden
