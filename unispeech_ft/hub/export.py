"""A trained model as a folder that plain transformers loads: weights, configuration, processor, tokenizer, card."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from unispeech_ft.models.build import BuiltModel
from unispeech_ft.models.families import reads_waveforms
from unispeech_ft.phonemes.tokenizer import PhoneTokenizer, save_tokenizer

if TYPE_CHECKING:
    from transformers import FeatureExtractionMixin


def _feature_extractor(built: BuiltModel) -> FeatureExtractionMixin:
    from transformers import Wav2Vec2FeatureExtractor

    if built.front_end.filter_banks is not None:
        return built.front_end.filter_banks
    layer_norm = getattr(built.model.config, "feat_extract_norm", "layer") == "layer"
    # The stock extractor's own epsilon is 1e-7; ours is stored for this toolkit's commands.
    return Wav2Vec2FeatureExtractor(
        feature_size=1,
        sampling_rate=16_000,
        padding_value=0.0,
        do_normalize=built.front_end.normalize,
        return_attention_mask=layer_norm,
        normalize_eps=built.front_end.eps,
    )


def export_model(folder: Path, built: BuiltModel, tokenizer: PhoneTokenizer, layerdrop: float, card: str) -> None:
    """Writes the model folder, whole or not at all, over an older one.

    Args:
        layerdrop: the value that the model was trained with; the live model's is 0, since layers are drawn by name.
        card: text of README.md.
    """
    from transformers import Wav2Vec2BertProcessor, Wav2Vec2PhonemeCTCTokenizer, Wav2Vec2Processor

    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    save_tokenizer(tokenizer, partial)
    processor_class = Wav2Vec2Processor if reads_waveforms(built.model.config) else Wav2Vec2BertProcessor
    exported = Wav2Vec2PhonemeCTCTokenizer.from_pretrained(partial)
    extractor = _feature_extractor(built)
    processor_class(feature_extractor=extractor, tokenizer=exported).save_pretrained(partial)
    extractor.save_pretrained(partial)
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
