"""The conv extractor on a CPU, as matrix products over overlapping windows.

`S` samples, `T` frames, `C` channels. The library's 1-D convolutions are compiled for each new length and run at about
half the speed of the same sums as one matrix product a layer.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers.activations import GELUActivation

from unispeech_ft.kernels.linear import product

# Larger arrays leave the processor's cache between two operations.
FRAMES_IN_CACHE = 1024


def _windows(hidden: Tensor, kernel: int, stride: int) -> Tensor:
    """`[T, C]` → `[T', kernel · C]`, a view of the windows that each output frame sees."""
    frames, channels = hidden.shape
    return hidden.as_strided(((frames - kernel) // stride + 1, kernel * channels), (stride * channels, 1))


def _normalise(norm: Any, hidden: Tensor) -> Tensor:
    if not isinstance(norm, nn.GroupNorm):
        return nn.functional.layer_norm(hidden, norm.normalized_shape, norm.weight, norm.bias, norm.eps)
    # As many groups as channels: each is normalised over time. torch.var_mean takes five times as long.
    centred = hidden.sub_(hidden.mean(0))
    squares = torch.stack([part.square().sum(0) for part in centred.split(FRAMES_IN_CACHE)]).sum(0)
    scale = norm.weight * torch.rsqrt(squares / len(hidden) + norm.eps)
    return torch.addcmul(norm.bias, centred, scale, out=centred)


def _layer(layer: Any, hidden: Tensor) -> Tensor:
    weight = layer.conv.weight.transpose(1, 2).flatten(1).to(hidden.dtype)
    bias = None if layer.conv.bias is None else layer.conv.bias.to(hidden.dtype)
    windows = _windows(hidden, layer.conv.kernel_size[0], layer.conv.stride[0])
    norm = getattr(layer, "layer_norm", None)
    gelu = isinstance(layer.activation, GELUActivation)
    convolved = product(windows, weight, bias, gelu=gelu and norm is None)
    if norm is not None:
        convolved = _normalise(norm, convolved)
        if gelu:
            torch.ops.aten.gelu_(convolved)
    activated: Tensor = convolved if gelu else layer.activation(convolved)
    return activated


@torch.no_grad()
def conv_features(extractor: Any, waveform: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """The output of a Transformers feature extractor for one clip, to rounding.

    Args:
        extractor: `feature_extractor` of a backbone, in evaluation mode.
        waveform: `[S]` in 32 bits.
        dtype: precision of all layers but the first, which takes a twentieth of the time and reads the sound itself.

    Returns:
        `[T, C]` in `dtype`.
    """
    hidden = waveform.contiguous()[:, None]
    for layer in extractor.conv_layers:
        hidden = _layer(layer, hidden).to(dtype)
    return hidden
