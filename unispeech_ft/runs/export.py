"""A trained model as a folder that plain transformers loads: weights, configuration, processor, tokenizer, card."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from unispeech_ft.models.build import BuiltModel
from unispeech_ft.models.saving import save_processor, waveform_extractor
from unispeech_ft.phonemes.tokenizer import PhoneTokenizer

if TYPE_CHECKING:
    from transformers import FeatureExtractionMixin


def _feature_extractor(built: BuiltModel) -> FeatureExtractionMixin:
    if built.front_end.filter_banks is not None:
        return built.front_end.filter_banks
    return waveform_extractor(built.model.config, built.front_end.normalize, built.front_end.eps)


def export_model(folder: Path, built: BuiltModel, tokenizer: PhoneTokenizer, layerdrop: float, card: str) -> None:
    """Writes the model folder, whole or not at all, over an older one.

    Args:
        layerdrop: the value that the model was trained with; the live model's is 0, since layers are drawn by name.
        card: text of README.md.
    """
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    save_processor(partial, built.model.config, _feature_extractor(built), tokenizer)
    config = built.model.config
    live, config.layerdrop = config.layerdrop, layerdrop
    try:
        built.model.save_pretrained(partial)
    finally:
        config.layerdrop = live
    (partial / "README.md").write_text(card, encoding="utf-8")
    if folder.exists():
        shutil.rmtree(folder)
    partial.rename(folder)
