"""Encoder, speaker head and, for training, a row for each training speaker.

`B` clips, `E` values of a vector.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedConfig

from unispeech_ft.data.row import Row
from unispeech_ft.models.build import BuiltModel
from unispeech_ft.models.families import num_channels
from unispeech_ft.models.forward import encode_layers
from unispeech_ft.models.upstream import UpstreamWithHead, build_upstream, load_upstream
from unispeech_ft.tasks.speaker_verification.config import SpeakerConfig
from unispeech_ft.tasks.speaker_verification.heads import SpeakerHead, SpeakerHeadSettings
from unispeech_ft.tasks.speaker_verification.loss import MarginSoftmax

HEAD = ("head.",)


class TrainedHead(SpeakerHead):
    """A speaker head with the rows of its training speakers."""

    def __init__(self, num_layers: int, width: int, num_channels: int, settings: SpeakerHeadSettings) -> None:
        super().__init__(num_layers, width, num_channels, settings)
        self.speakers = MarginSoftmax(settings.size, len(settings.speakers), settings.loss, settings.scale)


def make_head(config: PreTrainedConfig, settings: SpeakerHeadSettings) -> SpeakerHead:
    """The head that settings name; one without speakers cannot go on training."""
    kind = TrainedHead if settings.speakers else SpeakerHead
    return kind(config.num_hidden_layers, config.hidden_size, num_channels(config), settings)


def build_speaker_model(config: SpeakerConfig, speakers: list[str]) -> BuiltModel:
    """The model with a row for each training speaker.

    Raises:
        UserError: the base model cannot be found or loaded.
    """
    own = config.speaker_verification
    settings = SpeakerHeadSettings(
        body=own.head,
        channels=own.channels,
        pooled=own.pooled,
        size=own.size,
        instance_norm=own.instance_norm,
        features=own.features,
        dropout=own.dropout,
        loss=own.loss,
        scale=own.scale,
        speakers=speakers,
    )
    return build_upstream(config.model, config.mask, config.data, make_head, settings, config.seed)


def load_speaker_model(name: str) -> Any:
    """The network of a model folder of this task.

    Raises:
        UserError: it is none.
    """
    return load_upstream(name, make_head, SpeakerHeadSettings)


def speaker_vectors(network: UpstreamWithHead | Any, row: Row, *, encoder_trains: bool = False) -> Tensor:
    """A row of features → `[B, E]`, float32.

    Args:
        encoder_trains: whether the encoder is in training mode and keeps what its backward pass needs.
    """
    upstream = network.upstream
    upstream.train(encoder_trains)
    with torch.set_grad_enabled(encoder_trains and torch.is_grad_enabled()):
        states = encode_layers(upstream, row)
    vectors: Tensor = network.head(states, row.layout, row.features)
    return vectors.float()
