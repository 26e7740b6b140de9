"""A model as a folder that plain transformers loads: weights, configuration, processor, tokenizer, card."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from unispeech_ft.data.audio import SAMPLE_RATE_HZ
from unispeech_ft.files import atomic_folder
from unispeech_ft.models.families import reads_waveforms
from unispeech_ft.phonemes.tokenizer import PhoneTokenizer, save_tokenizer

if TYPE_CHECKING:
    from transformers import FeatureExtractionMixin, PreTrainedConfig, PreTrainedModel


def waveform_extractor(config: PreTrainedConfig, normalize: bool, eps: float) -> FeatureExtractionMixin:
    """The stock feature extractor of waveforms at 16 kHz.

    Args:
        normalize: zero mean and unit variance a clip.
        eps: of the normalisation; the stock extractor's own is 1e-7, this one is stored for our commands.
    """
    from transformers import Wav2Vec2FeatureExtractor

    return Wav2Vec2FeatureExtractor(
        feature_size=1,
        sampling_rate=SAMPLE_RATE_HZ,
        padding_value=0.0,
        do_normalize=normalize,
        return_attention_mask=getattr(config, "feat_extract_norm", "layer") == "layer",
        normalize_eps=eps,
    )


def save_processor(
    folder: Path, config: PreTrainedConfig, extractor: FeatureExtractionMixin, tokenizer: PhoneTokenizer | None
) -> None:
    """Writes feature extractor, tokenizer and processor into a model folder; without a tokenizer, the first alone."""
    from transformers import Wav2Vec2BertProcessor, Wav2Vec2PhonemeCTCTokenizer, Wav2Vec2Processor

    folder.mkdir(parents=True, exist_ok=True)
    if tokenizer is not None:
        save_tokenizer(tokenizer, folder)
        processor_class = Wav2Vec2Processor if reads_waveforms(config) else Wav2Vec2BertProcessor
        exported = Wav2Vec2PhonemeCTCTokenizer.from_pretrained(folder)  # nosec B615  # a local folder
        processor_class(feature_extractor=extractor, tokenizer=exported).save_pretrained(folder)
    extractor.save_pretrained(folder)


def save_model(
    folder: Path,
    network: PreTrainedModel,
    extractor: FeatureExtractionMixin,
    tokenizer: PhoneTokenizer | None,
    *,
    layerdrop: float,
    card: str,
) -> None:
    """Writes the model folder, whole or not at all, over an older one.

    Args:
        layerdrop: the value that the model was trained with; the live model's is 0, since layers are drawn by name.
        card: text of README.md.
    """
    from transformers.utils import logging

    config = network.config
    live, config.layerdrop = config.layerdrop, layerdrop
    logging.disable_progress_bar()
    try:
        with atomic_folder(folder, replace=True) as partial:
            save_processor(partial, config, extractor, tokenizer)
            network.save_pretrained(partial)
            (partial / "README.md").write_text(card, encoding="utf-8")
    finally:
        config.layerdrop = live
        logging.enable_progress_bar()
