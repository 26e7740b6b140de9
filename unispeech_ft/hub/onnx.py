"""A trained model as an ONNX graph from waveforms to logits, and its comparison with PyTorch on ragged batches.

`B` clips, `S` samples, `T` frames, `F` feature channels, `V` rows of the head. The graph takes the clips' lengths, so
that padding has no influence: it normalises each clip by its own samples, and so does an extractor with a group norm.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from unispeech_ft.errors import UserError
from unispeech_ft.hub.evidence import OnnxFacts
from unispeech_ft.models.families import backbone, reads_waveforms
from unispeech_ft.models.forward import encode, frame_mask, head
from unispeech_ft.models.saved import SavedModel, load_saved

if TYPE_CHECKING:
    from unispeech_ft.data.audio import Waveform

OPSET = 18
TOLERANCE = 1e-4
# Protocol buffers end at 2 GiB; larger weights go into a file beside the graph.
LARGEST_FILE_BYTES = 1_900_000_000
SAMPLE_RATE_HZ = 16_000
PACKAGES = ("torch", "transformers", "onnx", "onnxruntime")
INPUTS, OUTPUTS = ["waveforms", "num_samples"], ["logits", "num_frames"]
# Lengths in seconds of the batches that are compared: alone, alike, ragged.
COMPARED_S = ((1.0,), (0.7, 0.7), (2.0, 0.5, 1.3), (0.6, 3.1))


def masked_group_norm(norm: nn.GroupNorm, hidden: Tensor, mask: Tensor) -> Tensor:
    """A group norm with a group for each channel over the frames that exist: `[B, C, T]`, mask `[B, 1, T]`."""
    count = mask.sum(dim=-1, keepdim=True)
    mean = (hidden * mask).sum(dim=-1, keepdim=True) / count
    variance = ((hidden - mean).square() * mask).sum(dim=-1, keepdim=True) / count
    return (hidden - mean) / torch.sqrt(variance + norm.eps) * norm.weight[:, None] + norm.bias[:, None]


class WaveformToLogits(nn.Module):
    """The whole path of a clip, lengths included, in operations that ONNX has."""

    def __init__(self, saved: SavedModel) -> None:
        super().__init__()
        self.network = saved.built.model
        self.normalize, self.eps = saved.built.front_end.normalize, saved.built.front_end.eps

    def normalised(self, waveforms: Tensor, mask: Tensor) -> Tensor:
        """Zero mean and unit variance over each clip's own samples, zeros beyond them."""
        if not self.normalize:
            return waveforms * mask
        count = mask.sum(dim=-1, keepdim=True)
        centred = (waveforms - (waveforms * mask).sum(dim=-1, keepdim=True) / count) * mask
        variance = centred.square().sum(dim=-1, keepdim=True) / count
        return centred / torch.sqrt(variance + self.eps)

    def features(self, samples: Tensor, num_samples: Tensor) -> tuple[Tensor, Tensor]:
        """`[B, S]` → `[B, T, F]` and the frames of each clip."""
        hidden, length = samples[:, None], num_samples
        for layer in backbone(self.network).feature_extractor.conv_layers:
            hidden = layer.conv(hidden)
            length = torch.div(length - layer.conv.kernel_size[0], layer.conv.stride[0], rounding_mode="floor") + 1
            norm = getattr(layer, "layer_norm", None)
            if isinstance(norm, nn.GroupNorm):
                mask = frame_mask(length, hidden.shape[-1])[:, None].to(hidden.dtype)
                hidden = masked_group_norm(norm, hidden, mask)
            elif norm is not None:
                hidden = norm(hidden.transpose(1, 2)).transpose(1, 2)
            hidden = layer.activation(hidden)
        return hidden.transpose(1, 2), length

    def forward(self, waveforms: Tensor, num_samples: Tensor) -> tuple[Tensor, Tensor]:
        """`[B, S]` float32 and `[B]` int64 → logits `[B, T, V]` and frames `[B]`; logits beyond a clip mean nothing."""
        mask = frame_mask(num_samples, waveforms.shape[1]).to(waveforms.dtype)
        features, num_frames = self.features(self.normalised(waveforms, mask), num_samples)
        return head(self.network, encode(self.network, features, num_frames)), num_frames
