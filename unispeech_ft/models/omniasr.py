"""Encoders of OmniASR as wav2vec 2.0, which they are under other names, so that what is fine-tuned from one is a stock
model of wav2vec2.

Where they differ, nothing is lost: OmniASR's convolution of positions has a weight without its norm, from which
length and direction are taken; the vector that stands for masked frames is not in its files and starts at random. The
head, of letters, is left out.

Sources: `transformers/models/omniasr/modeling_omniasr.py`; Omnilingual ASR team 2025, "Omnilingual ASR: Open-Source
Multilingual Speech Recognition for 1600+ Languages".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from unispeech_ft.models.families import backbone

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

ENCODER, WITH_HEAD = "omniasr_audio", "omniasr_ctc"
# Before the names of an encoder's tensors in a model with a head.
TOWER = "model.audio_tower."
RENAMED = (
    ("subsampling.conv_layers.", "feature_extractor.conv_layers."),
    ("subsampling.", "feature_projection."),
    ("encode_positions.", "encoder.pos_conv_embed."),
    ("layer", "encoder.layer"),  # layers and layer_norm
)
POSITIONS = "encoder.pos_conv_embed.conv.weight"
SHAPE = (
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "hidden_act",
    "layer_norm_eps",
    "initializer_range",
    "conv_dim",
    "conv_kernel",
    "conv_stride",
    "conv_bias",
    "num_conv_pos_embeddings",
    "num_conv_pos_embedding_groups",
)


def is_omniasr(config: PreTrainedConfig) -> bool:
    """Whether a configuration is of one of these encoders, with its head or without."""
    return config.model_type in (ENCODER, WITH_HEAD)


def as_wav2vec2(config: Any) -> PreTrainedConfig:
    """The configuration of wav2vec 2.0 that has an encoder's shape."""
    from transformers import Wav2Vec2Config

    audio = config.audio_config if config.model_type == WITH_HEAD else config
    shape: dict[str, Any] = {name: getattr(audio, name) for name in SHAPE}
    shape |= {"do_stable_layer_norm": True, "feat_extract_norm": "layer", "feat_extract_activation": audio.hidden_act}
    return Wav2Vec2Config(**shape)


def _renamed(tower: str, tensors: Mapping[str, Any]) -> dict[str, Any]:
    """What belongs to the encoder, under the names of wav2vec 2.0."""
    found = {}
    for name, tensor in tensors.items():
        if name.startswith(tower):
            old, new = next(pair for pair in RENAMED if name.removeprefix(tower).startswith(pair[0]))
            found[new + name.removeprefix(tower + old)] = tensor
    return found


def network_as_wav2vec2(
    model_class: Any, config: PreTrainedConfig, original: PreTrainedModel, info: Mapping[str, Any]
) -> tuple[PreTrainedModel, dict[str, set[Any]]]:
    """The network of wav2vec 2.0 with the weights of an encoder, and what is missing in it.

    Args:
        model_class: an auto class of Transformers.
        config: from `as_wav2vec2`, with dropouts and masks of the caller's own.
        original: of the class that Transformers has for the files, in float32.
        info: what `from_pretrained` said of its loading.
    """
    tower = TOWER if original.config.model_type == WITH_HEAD else ""
    network: PreTrainedModel = model_class.from_config(config).float()
    encoder = backbone(network)
    given = _renamed(tower, original.state_dict())
    with torch.no_grad():
        encoder.encoder.pos_conv_embed.conv.weight = given.pop(POSITIONS)
    encoder.load_state_dict(given, strict=False)
    path = "" if encoder is network else f"{network.base_model_prefix}."
    missing = {path + name for name in _renamed(tower, dict.fromkeys(info["missing_keys"]))}
    missing |= {name for name in network.state_dict() if not name.startswith(path)}
    return network, {"missing_keys": missing, "mismatched_keys": set()}
