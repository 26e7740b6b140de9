"""Encoders with heads that predict a class for every masked frame: HuBERT, WavLM and ILS-SSL before fine-tuning.

`N` frames of a row, `C` hidden channels, `D` channels in which frames and classes are compared, `V` classes.
Transformers has no pre-training class for these families. Importing this module registers ours with
`AutoModelForPreTraining`; the other auto classes take the encoder out of the same folder. UniSpeech-SAT has its stock
class, whose heads `heads_of` reads under the same names.
Source: src/fairseq/models/{hubert/hubert.py, hubert/ils_hubert.py, wavlm/wavlm.py} of microsoft/UniSpeech.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForPreTraining, HubertConfig, HubertModel, PreTrainedConfig, WavLMConfig, WavLMModel
from transformers.models.hubert.modeling_hubert import HubertPreTrainedModel
from transformers.models.wavlm.modeling_wavlm import WavLMPreTrainedModel

from unispeech_ft.models.ils import IlsHubertConfig, IlsHubertModel, IlsWavLMConfig, IlsWavLMModel

__all__ = ["AutoModelForPreTraining", "Heads", "PredictionHead", "heads_of", "start_heads"]
__all__ += ["HubertForPreTraining", "IlsHubertForPreTraining", "IlsWavLMForPreTraining", "WavLMForPreTraining"]

PREDICTION = "prediction."
SAT_HEADS = ("project_hid.", "label_embeddings_concat")


class PredictionHead(nn.Module):
    """Hidden states `[N, C]` → `[N, D]`, beside the embeddings `[V, D]` of the classes.

    Args:
        normed: with a norm of its own before the projection, as ILS-SSL Large has it.
    """

    def __init__(self, config: PreTrainedConfig, *, normed: bool) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps) if normed else nn.Identity()
        self.projection = nn.Linear(config.hidden_size, config.proj_codevector_dim)
        self.embeddings = nn.Parameter(torch.rand(config.num_clusters, config.proj_codevector_dim))

    def forward(self, hidden: Tensor) -> Tensor:
        projected: Tensor = self.projection(self.norm(hidden))
        return projected


def prediction_heads(config: PreTrainedConfig) -> nn.ModuleList:
    """A head for each of `config.prediction_layers`, or for the encoder's output where that is None."""
    layers = config.prediction_layers
    normed = layers is not None and bool(config.do_stable_layer_norm)
    return nn.ModuleList([PredictionHead(config, normed=normed) for _ in layers or [None]])


@dataclass(frozen=True)
class Heads:
    """What a network predicts with.

    Attributes:
        layers: of the encoder, from 1, one for each head; None where the only head reads the encoder's output.
        project: `[N, C]` → `[N, D]`, one for each head.
        embeddings: `[V, D]`, one for each head.
    """

    layers: Sequence[int] | None
    project: Sequence[nn.Module]
    embeddings: Sequence[Tensor]


def heads_of(network: Any) -> Heads:
    """The heads of a network of this module, or of a `UniSpeechSatForPreTraining`."""
    if hasattr(network, "label_embeddings_concat"):
        return Heads(None, [network.project_hid], [network.label_embeddings_concat])
    heads = list(network.prediction)
    return Heads(network.config.prediction_layers, heads, [head.embeddings for head in heads])


def start_heads(network: Any) -> None:
    """Starts the heads as the originals do: uniform embeddings, and projections as torch starts them."""
    with torch.no_grad():
        for project, embeddings in zip(heads_of(network).project, heads_of(network).embeddings, strict=True):
            embeddings.uniform_()
            for module in project.modules():
                if isinstance(module, nn.Linear | nn.LayerNorm):
                    module.reset_parameters()


class HubertForPreTraining(HubertPreTrainedModel):
    """`HubertModel` with heads of masked prediction."""

    def __init__(self, config: HubertConfig) -> None:
        super().__init__(config)
        self.hubert = HubertModel(config)
        self.prediction = prediction_heads(config)
        self.post_init()


class WavLMForPreTraining(WavLMPreTrainedModel):
    """`WavLMModel` with heads of masked prediction."""

    def __init__(self, config: WavLMConfig) -> None:
        super().__init__(config)
        self.wavlm = WavLMModel(config)
        self.prediction = prediction_heads(config)
        self.post_init()


class IlsHubertForPreTraining(HubertPreTrainedModel):
    """`IlsHubertModel` with heads of masked prediction."""

    config_class = IlsHubertConfig

    def __init__(self, config: IlsHubertConfig) -> None:
        super().__init__(config)
        self.hubert = IlsHubertModel(config)
        self.prediction = prediction_heads(config)
        self.post_init()


class IlsWavLMForPreTraining(WavLMPreTrainedModel):
    """`IlsWavLMModel` with heads of masked prediction."""

    config_class = IlsWavLMConfig

    def __init__(self, config: IlsWavLMConfig) -> None:
        super().__init__(config)
        self.wavlm = IlsWavLMModel(config)
        self.prediction = prediction_heads(config)
        self.post_init()


for _config, _model in (
    (HubertConfig, HubertForPreTraining),
    (WavLMConfig, WavLMForPreTraining),
    (IlsHubertConfig, IlsHubertForPreTraining),
    (IlsWavLMConfig, IlsWavLMForPreTraining),
):
    AutoModelForPreTraining.register(_config, _model, exist_ok=True)
