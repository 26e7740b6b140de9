"""Configurations of ILS-SSL Large, whose encoder ends without the layer norm that the stock classes apply.

Their model types name this package, so that plain Transformers, which does not know them, says what to import.
Source: src/fairseq/models/hubert/ils_hubert.py of microsoft/UniSpeech (the encoder runs with `layer` given).
"""

from __future__ import annotations

from typing import Any

from transformers import HubertConfig, WavLMConfig

from unispeech_ft.models.families import ILS_HUBERT, ILS_WAVLM


class IlsHubertConfig(HubertConfig):
    """ILS-SSL Large without relative positions."""

    model_type = ILS_HUBERT

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        _register_models()


class IlsWavLMConfig(WavLMConfig):
    """ILS-SSL Large with relative positions, as WavLM whose gate is 1."""

    model_type = ILS_WAVLM

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        _register_models()


def _register_models() -> None:
    """Makes the Auto classes know the networks; by now somebody needs them, and every module stands."""
    from unispeech_ft.models.ils import register_models

    register_models()
