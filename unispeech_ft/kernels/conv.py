"""The conv extractor as matrix products over overlapping windows.

`S` samples, `T` frames, `C` channels. On a CPU the library's 1-D convolutions are compiled for each new length and run
at about half the speed of the same sums as one matrix product a layer; on a GPU at a quarter, since channels lie apart.
Several clips can stand in one row of sound.
"""

from __future__ import annotations

from collections.abc import Sequence
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


# First frame and number of frames of each clip.
Spans = Sequence[tuple[int, int]]


def _over_time(norm: Any, hidden: Tensor) -> None:
    """As many groups as channels: each is normalised over time, in place. torch.var_mean takes five times as long."""
    centred = hidden.sub_(hidden.mean(0))
    parts = centred.split(FRAMES_IN_CACHE) if hidden.device.type == "cpu" else (centred,)
    squares = torch.stack([part.square().sum(0) for part in parts]).sum(0)
    scale = norm.weight * torch.rsqrt(squares / len(hidden) + norm.eps)
    torch.addcmul(norm.bias, centred, scale, out=centred)


def _normalise(norm: Any, hidden: Tensor, clips: Spans) -> Tensor:
    if not isinstance(norm, nn.GroupNorm):
        weight, bias = norm.weight.to(hidden.dtype), norm.bias.to(hidden.dtype)
        return nn.functional.layer_norm(hidden, norm.normalized_shape, weight, bias, norm.eps)
    for first, frames in clips:
        _over_time(norm, hidden[first : first + frames])
    return hidden


def _convolved(hidden: Tensor, weight: Tensor, bias: Tensor | None, stride: int) -> Tensor:
    """A convolution `[T, C]` → `[T', C']` by a kernel `[C', taps, C]` as products with views, so many taps at a time
    that their windows do not overlap and nothing is copied."""
    frames, channels = hidden.shape
    outputs, taps, _ = weight.shape
    length = (frames - taps) // stride + 1
    found = None
    for tap in range(0, taps, stride):
        part = weight[:, tap : tap + stride].flatten(1)
        rows = hidden.as_strided(
            (length, part.shape[1]), (stride * channels, 1), hidden.storage_offset() + tap * channels
        )
        if found is None:
            found = nn.functional.linear(rows, part, bias)
        else:
            found.addmm_(rows, part.T)
    assert found is not None
    return found


def _layer(layer: Any, hidden: Tensor, dtype: torch.dtype, clips: Spans) -> Tensor:
    weight = layer.conv.weight.transpose(1, 2).to(hidden.dtype)
    bias = None if layer.conv.bias is None else layer.conv.bias.to(hidden.dtype)
    norm = getattr(layer, "layer_norm", None)
    gelu = isinstance(layer.activation, GELUActivation)
    if hidden.device.type == "cpu":
        windows = _windows(hidden, layer.conv.kernel_size[0], layer.conv.stride[0])
        convolved = product(windows, weight.flatten(1), bias, gelu=gelu and norm is None)
        gelu, activated = gelu and norm is not None, gelu
    else:
        convolved, activated = _convolved(hidden, weight, bias, layer.conv.stride[0]), gelu
        if not isinstance(norm, nn.GroupNorm):
            convolved = convolved.to(dtype)
    if norm is not None:
        convolved = _normalise(norm, convolved, clips)
    if gelu:
        torch.ops.aten.gelu_(convolved)
    return convolved if activated else layer.activation(convolved)


@torch.no_grad()
def conv_features(
    extractor: Any, waveform: Tensor, dtype: torch.dtype = torch.float32, clips: Sequence[tuple[int, int]] | None = None
) -> Tensor:
    """The output of a Transformers feature extractor, to rounding.

    Args:
        extractor: `feature_extractor` of a backbone, in evaluation mode.
        waveform: `[S]` in 32 bits.
        dtype: precision of all layers but the first, which takes a twentieth of the time and reads the sound itself.
        clips: first sample and number of samples of each clip of a row of sound; None for one clip. A clip's first
            sample is a multiple of the strides' product; frames that see two clips are of no use.

    Returns:
        `[T, C]` in `dtype`.
    """
    hidden = waveform.contiguous()[:, None]
    spans = [(0, len(waveform))] if clips is None else clips
    for layer in extractor.conv_layers:
        kernel, stride = layer.conv.kernel_size[0], layer.conv.stride[0]
        spans = [(first // stride, (length - kernel) // stride + 1) for first, length in spans]
        hidden = _layer(layer, hidden, dtype, spans).to(dtype)
    return hidden
