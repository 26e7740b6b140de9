"""Speaker heads: ECAPA-TDNN as the authors released it, and SUPERB's x-vector. Frames → one vector a clip.

`B` clips, `C` channels, `F` feature channels, `T` frames, `N` frames of a row, `E` values of the vector. Padding has no
influence: the mask `[B, 1, T]` goes with every layer.
Source: downstreams/speaker_verification/models/ecapa_tdnn.py of microsoft/UniSpeech; Desplanques et al. 2020;
Snyder et al. 2018.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, cast

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from unispeech_ft.config.labelled import Size
from unispeech_ft.config.sections import Positive, Probability
from unispeech_ft.data.row import Layout
from unispeech_ft.kernels.rows import spread
from unispeech_ft.models.layer_sum import LayerSum
from unispeech_ft.models.masked_norm import ConvUnit, MaskedBatchNorm, instance_norm, with_features
from unispeech_ft.models.padded import frame_mask
from unispeech_ft.models.upstream import HeadSettings

SCALE, SQUEEZED, POOLED, ATTENTION = 8, 128, 1536, 128
LEAST_VARIANCE = 1e-9


class Res2Block(nn.Module):
    """A squeeze-excitation block whose middle convolution goes through the channels an eighth at a time."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        part = channels // SCALE
        self.before = ConvUnit(channels, channels)
        self.parts = nn.ModuleList(ConvUnit(part, part, 3, dilation) for _ in range(SCALE - 1))
        self.after = ConvUnit(channels, channels)
        self.squeeze = nn.Linear(channels, SQUEEZED)
        self.excite = nn.Linear(SQUEEZED, channels)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        *parts, last = self.before(hidden, mask).chunk(SCALE, dim=1)
        found = [self.parts[0](parts[0], mask)]
        for unit, part in zip(self.parts[1:], parts[1:], strict=True):
            found.append(unit(found[-1] + part, mask))
        joined = self.after(torch.cat([*found, last], dim=1), mask)
        mean: Tensor = joined.sum(dim=2) / mask.sum(dim=2)
        gate: Tensor = self.excite(self.squeeze(mean).relu()).sigmoid()
        return cast(Tensor, hidden + joined * gate[:, :, None])


class Ecapa(nn.Module):
    """`[B, C, T]` → `[B, E]`."""

    def __init__(self, inside: int, channels: int, size: int, pooled: int = POOLED) -> None:
        super().__init__()
        self.first = ConvUnit(inside, channels, 5)
        self.blocks = nn.ModuleList(Res2Block(channels, dilation) for dilation in (2, 3, 4))
        self.join = nn.Conv1d(3 * channels, pooled, 1)
        self.attention = nn.Sequential(nn.Conv1d(pooled, ATTENTION, 1), nn.Tanh(), nn.Conv1d(ATTENTION, pooled, 1))
        self.norm = MaskedBatchNorm(2 * pooled)
        self.out = nn.Linear(2 * pooled, size)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        hidden = self.first(hidden, mask)
        found: list[Tensor] = []
        for block in self.blocks:
            hidden = block(hidden, mask)
            found.append(hidden)
        joined = self.join(torch.cat(found, dim=1)).relu()
        weights = self.attention(joined).masked_fill(mask == 0, -torch.inf).softmax(dim=2)
        pooled = weighted_statistics(joined, weights)
        normed: Tensor = self.norm(pooled[:, :, None], torch.ones_like(pooled[:, :1, None]))
        vector: Tensor = self.out(normed[:, :, 0])
        return vector


class XVector(nn.Module):
    """`[B, C, T]` → `[B, E]`: SUPERB's, with the rectifiers that Transformers' own lacks."""

    def __init__(self, inside: int, channels: int, size: int, pooled: int = POOLED) -> None:
        super().__init__()
        self.project = nn.Conv1d(inside, channels, 1)
        shapes = [(channels, 5, 1), (channels, 3, 2), (channels, 3, 3), (channels, 1, 1), (pooled, 1, 1)]
        self.layers = nn.ModuleList(
            nn.Conv1d(channels, width, kernel, dilation=dilation, padding=dilation * (kernel // 2))
            for width, kernel, dilation in shapes
        )
        self.out = nn.Sequential(nn.Linear(2 * pooled, size), nn.ReLU(), nn.Linear(size, size))

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        hidden = self.project(hidden) * mask
        for layer in self.layers:
            hidden = layer(hidden).relu() * mask
        vector: Tensor = self.out(weighted_statistics(hidden, mask / mask.sum(dim=2, keepdim=True)))
        return vector


def weighted_statistics(hidden: Tensor, weights: Tensor) -> Tensor:
    """Mean and standard deviation over time, `[B, C, T]` → `[B, 2 · C]`; the weights of a clip sum up to 1."""
    mean = (weights * hidden).sum(dim=2, keepdim=True)
    variance = (weights * (hidden - mean).square()).sum(dim=2)
    return torch.cat([mean[:, :, 0], variance.clamp(min=LEAST_VARIANCE).sqrt()], dim=1)


class SpeakerHeadSettings(HeadSettings):
    """What a speaker head is made of."""

    task: Literal["speaker_verification"] = "speaker_verification"
    body: Literal["ecapa", "xvector"]
    channels: Size
    pooled: Size
    size: Size
    instance_norm: bool = True
    features: bool = False
    dropout: Probability = 0.0
    speakers: list[str] = []
    loss: Literal["aam", "am"] = "aam"
    scale: Positive = 32.0
    threshold: float | None = Field(None, description="cosines from it on are of one speaker; validation chose it")

    @model_validator(mode="after")
    def _in_parts(self) -> SpeakerHeadSettings:
        if self.body == "ecapa" and self.channels % SCALE:
            raise ValueError(f"channels {self.channels} is no multiple of {SCALE}")
        return self

    @property
    def rows(self) -> list[str]:
        return self.speakers


class SpeakerHead(nn.Module):
    """The weighted sum of all layers, normed over time if asked for, the features beside it where they are asked for,
    and a body that makes one vector of both.

    Args:
        num_layers: of the encoder.
        width: of its hidden states.
        num_channels: `F`.
    """

    def __init__(self, num_layers: int, width: int, num_channels: int, settings: SpeakerHeadSettings) -> None:
        super().__init__()
        self.layer_sum = LayerSum(num_layers)
        self.norms = settings.instance_norm
        self.features_norm = MaskedBatchNorm(num_channels) if settings.features else None
        width += num_channels if settings.features else 0
        self.dropout = nn.Dropout(settings.dropout)
        body = {"ecapa": Ecapa, "xvector": XVector}[settings.body]
        self.body = body(width, settings.channels, settings.size, settings.pooled)

    def forward(self, states: Sequence[Tensor], layout: Layout, features: Tensor) -> Tensor:
        """`L + 1` times `[N, C]`, and features `[N, F]` → `[B, E]`."""
        clips, longest = len(layout.num_frames), layout.longest
        heard = with_features(self.layer_sum(states), features, self.features_norm)
        padded = spread(heard, layout.padded_places, clips * longest).view(clips, longest, -1)
        mask = frame_mask(layout.starts.diff(), longest)[:, None].to(padded.dtype)
        padded = padded.transpose(1, 2)
        # The original adds 1e-6 before its norm, which takes every constant away again.
        normed = instance_norm(padded, mask) if self.norms else padded
        return cast(Tensor, self.body(self.dropout(normed), mask))
