"""The network of a phone recogniser, with all that a run trains beside it."""

from __future__ import annotations

from accelerate import Accelerator

from unispeech_ft.kernels.install import place
from unispeech_ft.models.adapters import add_adapters
from unispeech_ft.models.articulation import add_articulation
from unispeech_ft.models.build import BuiltModel, as_probe, build_model
from unispeech_ft.phonemes.tokenizer import PhoneTokenizer
from unispeech_ft.tasks.ctc_phoneme.config import CtcPhonemeConfig


def build_recogniser(config: CtcPhonemeConfig, tokenizer: PhoneTokenizer, accelerator: Accelerator) -> BuiltModel:
    """The network on the accelerator's device, with its adapters and the head of articulatory features where they are
    asked for; prints where they start from.

    Raises:
        UserError: as `build_model` and `add_adapters`.
    """
    conditioned = config.loss.conditioned_layers
    built = build_model(config.model, config.mask, config.data, tokenizer, config.seed, config.head, conditioned)
    if config.probe.enabled:
        built = as_probe(built, config.seed)
    if config.adapter.kind is not None:
        accelerator.print(add_adapters(built.model, config.adapter, config.seed))
    if config.loss.features_weight > 0:
        add_articulation(built.model, tokenizer, config.seed)
    place(built.model, accelerator.device, config.model, config.training)
    accelerator.print(built.head_line())
    return built
