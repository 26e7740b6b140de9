"""ILS-SSL Large: an encoder that never applies `encoder.layer_norm` at its output, pre-norm layers before it.

`B` clips, `T` frames, `C` hidden channels. Everything else is the stock classes' own: Hubert without relative
positions; with them WavLM, whose gate is held at 1 by its weights. Importing this module registers the classes with
`AutoConfig` and the auto classes of their heads: what opens a model here takes `AutoConfig` from this module, and
`import unispeech_ft` registers where Transformers is imported already.
Source: src/fairseq/models/hubert/ils_hubert.py and wav2vec/wav2vec2.py of microsoft/UniSpeech.
"""

from __future__ import annotations

from torch import nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForAudioClassification,
    AutoModelForCTC,
    HubertConfig,
    WavLMConfig,
)
from transformers.models.hubert.modeling_hubert import HubertForCTC, HubertForSequenceClassification, HubertModel
from transformers.models.wavlm.modeling_wavlm import WavLMForCTC, WavLMForSequenceClassification, WavLMModel

from unispeech_ft.models.families import ILS_HUBERT, ILS_WAVLM

__all__ = ["AutoConfig", "IlsHubertConfig", "IlsHubertForCTC", "IlsHubertForSequenceClassification", "IlsHubertModel"]
__all__ += ["IlsWavLMConfig", "IlsWavLMForCTC", "IlsWavLMForSequenceClassification", "IlsWavLMModel"]


class IlsHubertConfig(HubertConfig):
    """ILS-SSL Large without relative positions; the keys are Hubert's."""

    model_type = ILS_HUBERT


class IlsWavLMConfig(WavLMConfig):
    """ILS-SSL Large with relative positions; the keys are WavLM's."""

    model_type = ILS_WAVLM


def _without_final_norm(model: HubertModel | WavLMModel) -> None:
    if not model.config.do_stable_layer_norm:
        raise ValueError("ILS-SSL Base is a stock model; these classes are for pre-norm encoders (Large)")
    model.encoder.register_module("layer_norm", nn.Identity())


class IlsHubertModel(HubertModel):
    """`[B, samples]` → `[B, T, C]`, the last layer's output as it is."""

    config_class = IlsHubertConfig

    def __init__(self, config: IlsHubertConfig) -> None:
        super().__init__(config)
        _without_final_norm(self)


class IlsHubertForCTC(HubertForCTC):
    """`IlsHubertModel` with a CTC head."""

    config_class = IlsHubertConfig

    def __init__(self, config: IlsHubertConfig) -> None:
        super().__init__(config)
        _without_final_norm(self.hubert)


class IlsHubertForSequenceClassification(HubertForSequenceClassification):
    """`IlsHubertModel` with a classifier."""

    config_class = IlsHubertConfig

    def __init__(self, config: IlsHubertConfig) -> None:
        super().__init__(config)
        _without_final_norm(self.hubert)


class IlsWavLMModel(WavLMModel):
    """`[B, samples]` → `[B, T, C]`, with a relative position bias; the last layer's output as it is."""

    config_class = IlsWavLMConfig

    def __init__(self, config: IlsWavLMConfig) -> None:
        super().__init__(config)
        _without_final_norm(self)


class IlsWavLMForCTC(WavLMForCTC):
    """`IlsWavLMModel` with a CTC head."""

    config_class = IlsWavLMConfig

    def __init__(self, config: IlsWavLMConfig) -> None:
        super().__init__(config)
        _without_final_norm(self.wavlm)


class IlsWavLMForSequenceClassification(WavLMForSequenceClassification):
    """`IlsWavLMModel` with a classifier."""

    config_class = IlsWavLMConfig

    def __init__(self, config: IlsWavLMConfig) -> None:
        super().__init__(config)
        _without_final_norm(self.wavlm)


for _config, _model, _with_head, _classifier in (
    (IlsHubertConfig, IlsHubertModel, IlsHubertForCTC, IlsHubertForSequenceClassification),
    (IlsWavLMConfig, IlsWavLMModel, IlsWavLMForCTC, IlsWavLMForSequenceClassification),
):
    AutoConfig.register(_config.model_type, _config, exist_ok=True)
    AutoModel.register(_config, _model, exist_ok=True)
    AutoModelForCTC.register(_config, _with_head, exist_ok=True)
    AutoModelForAudioClassification.register(_config, _classifier, exist_ok=True)
