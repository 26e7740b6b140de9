"""Self-conditioned CTC: what the head says of an inner layer goes, through a linear layer, back onto its hidden states.

`B` clips, `T` frames, `C` hidden channels, `V` rows of the head. Everything else is the stock classes' own, or those of
`models.ils`. Importing this module registers the classes with `AutoConfig` and `AutoModelForCTC`: what opens a model
here takes `AutoConfig` from this module, and `import unispeech_ft` registers where Transformers is imported already.
Source: Nozaki and Komatsu 2021, "Relaxing the Conditional Independence Assumption of CTC-based ASR by Conditioning on
Intermediate Predictions"; the norm before the head and the posteriors without dropout are ESPnet's.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers import (
    AutoModelForCTC,
    HubertConfig,
    PreTrainedConfig,
    UniSpeechConfig,
    UniSpeechSatConfig,
    Wav2Vec2Config,
    WavLMConfig,
)
from transformers.models.hubert.modeling_hubert import HubertForCTC
from transformers.models.unispeech.modeling_unispeech import UniSpeechForCTC
from transformers.models.unispeech_sat.modeling_unispeech_sat import UniSpeechSatForCTC
from transformers.models.wav2vec2.modeling_wav2vec2 import Wav2Vec2ForCTC
from transformers.models.wavlm.modeling_wavlm import WavLMForCTC

from unispeech_ft.errors import UserError
from unispeech_ft.models.families import CONDITIONING, as_before_head, backbone, self_conditioned
from unispeech_ft.models.ils import AutoConfig, IlsHubertConfig, IlsHubertForCTC, IlsWavLMConfig, IlsWavLMForCTC

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from unispeech_ft.phonemes.tokenizer import PhoneTokenizer

__all__ = ["AutoConfig", "conditioned_layers", "renew_conditioning", "self_conditioned_config"]


def _prepare(model: Any) -> None:
    """Adds the linear layer, and has the stock encoder's layers give conditioned states."""
    config, layers = model.config, backbone(model).encoder.layers
    for layer in config.conditioned_layers:
        if type(layer) is not int or not 1 <= layer < len(layers):
            raise ValueError(f"conditioned_layers names layer {layer}, but has to name layers 1 to {len(layers) - 1}")
    model.add_module(CONDITIONING, nn.Linear(config.vocab_size, config.hidden_size))
    nn.init.zeros_(model.conditioning.weight)
    nn.init.zeros_(model.conditioning.bias)
    for layer in config.conditioned_layers:
        layers[layer - 1].register_forward_hook(model._condition)


def _classes(plain_config: type[PreTrainedConfig], plain: type[PreTrainedModel]) -> tuple[Any, Any]:
    """The configuration and the class of one family; both differ from the plain ones in the same few lines."""

    class Config(plain_config):  # type: ignore[misc, valid-type]
        model_type = self_conditioned(plain_config.model_type)
        conditioned_layers: Any = ()

        def __init__(self, conditioned_layers: Sequence[int] = (), **settings: Any) -> None:
            super().__init__(**settings)
            self.conditioned_layers = list(conditioned_layers)

    class ForCTC(plain):  # type: ignore[misc, valid-type]
        config_class = Config

        def __init__(self, config: Any, **options: Any) -> None:
            super().__init__(config, **options)
            _prepare(self)

        def conditioned(self, hidden: Tensor) -> Tensor:
            """What leaves a layer, `[…, C]` → with what the head says of it, `[…, C]`."""
            logits = self.lm_head(as_before_head(self, hidden))
            posteriors = logits.softmax(dim=-1, dtype=torch.promote_types(logits.dtype, torch.float32))
            said: Tensor = self.conditioning(posteriors.to(logits.dtype))
            return hidden + said.to(hidden.dtype)

        def _condition(self, _layer: nn.Module, _given: Any, found: Any) -> Any:
            """The hook of a stock layer, which gives its states alone or first."""
            if isinstance(found, Tensor):
                return self.conditioned(found)
            return (self.conditioned(found[0]), *found[1:])

    for made, origin in ((Config, plain_config), (ForCTC, plain)):
        made.__name__ = made.__qualname__ = f"SelfConditioned{origin.__name__}"
        made.__doc__ = f"`{origin.__name__}`, self-conditioned after `conditioned_layers`, counted from 1."
        made.__module__ = __name__
        globals()[made.__name__] = made
    return Config, ForCTC


_FAMILIES = (
    (UniSpeechConfig, UniSpeechForCTC),
    (UniSpeechSatConfig, UniSpeechSatForCTC),
    (WavLMConfig, WavLMForCTC),
    (Wav2Vec2Config, Wav2Vec2ForCTC),
    (HubertConfig, HubertForCTC),
    (IlsHubertConfig, IlsHubertForCTC),
    (IlsWavLMConfig, IlsWavLMForCTC),
)
_made = {}
for _plain_config, _plain in _FAMILIES:
    _config, _model = _classes(_plain_config, _plain)
    AutoConfig.register(_config.model_type, _config, exist_ok=True)
    AutoModelForCTC.register(_config, _model, exist_ok=True)
    _made[_plain_config.model_type] = _config
_CONFIGS = MappingProxyType(_made)


def conditioned_layers(config: PreTrainedConfig) -> list[int]:
    """Layers, from 1, after which a model is conditioned on its head; none of a plain model."""
    return list(getattr(config, "conditioned_layers", ()))


def self_conditioned_config(config: PreTrainedConfig, layers: Sequence[int], name: str) -> PreTrainedConfig:
    """The configuration of the same encoder, conditioned after these layers; the configuration itself without any.

    Args:
        name: of the model, for people.

    Raises:
        UserError: there is no such class for the family, or the model is self-conditioned and is not meant to be.
    """
    before = conditioned_layers(config)
    if before and not layers:
        raise UserError(
            f"model.base: {name} is self-conditioned after layers {', '.join(map(str, before))}",
            remedy=f"set loss.self_conditioned true and loss.intermediate_layers {before}, or name another base",
        )
    if not layers:
        return config
    made = type(config) if before else _CONFIGS.get(config.model_type)
    if made is None:
        raise UserError(
            f"loss.self_conditioned is true, but {name} is of type {config.model_type!r}",
            remedy=f"leave it out, or use one of {', '.join(sorted(_CONFIGS))}",
        )
    values = {key: value for key, value in config.to_dict().items() if key not in ("model_type", "architectures")}
    found: PreTrainedConfig = made.from_dict({**values, "conditioned_layers": list(layers)})
    return found


def renew_conditioning(network: Any, tokenizer: PhoneTokenizer, old: PhoneTokenizer | None) -> None:
    """Gives a network a linear layer for the rows of a new head: what the old one says of a token is kept, and the
    others start at zero, where they change nothing.

    Args:
        old: the tokenizer of the head that the network's linear layer was trained with; None where it was not.
    """
    before = network.conditioning
    made = nn.Linear(len(tokenizer.tokens), before.out_features)
    nn.init.zeros_(made.weight)
    nn.init.zeros_(made.bias)
    with torch.no_grad():
        if old is not None:
            made.bias.copy_(before.bias)
        for row, token in enumerate(tokenizer.tokens if old is not None else ()):
            name = old.blank_token if old is not None and token == tokenizer.blank_token else token
            if old is not None and name in old.ids and old.ids[name] < before.in_features:
                made.weight[:, row] = before.weight[:, old.ids[name]]
    network.conditioning = made
