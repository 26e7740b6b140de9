"""The families of encoders that the toolkit fine-tunes, and what sets them apart.

All of them are `feature extractor → feature projection → encoder → head` in Transformers; they differ in what the
extractor reads (waveforms, or filter banks for Wav2Vec2-BERT) and in whether the waveform is normalised.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from unispeech_ft.data.audio import SAMPLE_RATE_HZ
from unispeech_ft.errors import UserError, first_line
from unispeech_ft.files import parse_json

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedConfig, PreTrainedModel

    from unispeech_ft.scoring.timing import FrameGrid

# Plain Transformers, which does not know our own types, repeats them in its message.
OURS = " (import unispeech_ft)"
ILS_HUBERT, ILS_WAVLM = f"ils-hubert{OURS}", f"ils-wavlm{OURS}"
SELF_CONDITIONED = "self-conditioned-"
# The linear layer from the posteriors back onto the hidden states, in a model and in its files.
CONDITIONING = "conditioning"
WAVEFORM_FAMILIES = ("unispeech", "unispeech-sat", "wavlm", "wav2vec2", "hubert", ILS_HUBERT, ILS_WAVLM)
SHARED_BIAS_FAMILIES = ("wavlm", ILS_WAVLM)
FILTER_BANK_FAMILIES = ("wav2vec2-bert",)
FILTER_BANK_RATE_HZ = 50


def check_family(config: PreTrainedConfig, name: str) -> None:
    """Raises UserError where a configuration is of no family that can be fine-tuned here."""
    families = WAVEFORM_FAMILIES + FILTER_BANK_FAMILIES
    if plain_type(config.model_type) not in families:
        raise UserError(
            f"model.base: {name} is of type {config.model_type!r}", remedy=f"use one of {', '.join(families)}"
        )
    if getattr(config, "add_adapter", False):
        raise UserError(
            f"model.base: {name} has an adapter after its encoder", remedy="set add_adapter false in its config"
        )


def self_conditioned(model_type: str) -> str:
    """What Transformers calls a family once it is conditioned on its own head (`models.self_conditioned`)."""
    return f"{SELF_CONDITIONED}{model_type.removesuffix(OURS)}{OURS}"


def plain_type(model_type: str) -> str:
    """What Transformers calls the family without that; any other type as it is."""
    return next((family for family in WAVEFORM_FAMILIES if self_conditioned(family) == model_type), model_type)


def check_plain(config: PreTrainedConfig, name: str) -> None:
    """Raises UserError where an encoder is conditioned on a head that it would lose."""
    if plain_type(config.model_type) != config.model_type:
        raise UserError(
            f"{name} is self-conditioned: without its head of phones its encoder is another one",
            remedy="name a model that is not, for example the one that it was fine-tuned from",
        )


def reads_waveforms(config: PreTrainedConfig) -> bool:
    return plain_type(config.model_type) in WAVEFORM_FAMILIES


def shares_position_bias(config: PreTrainedConfig) -> bool:
    """Whether the first encoder layer makes the position bias that the others use, so that it cannot be left out."""
    return plain_type(config.model_type) in SHARED_BIAS_FAMILIES


def backbone(model: PreTrainedModel) -> Any:
    """The model without its head, or the model itself where it has none; its modules have the names that all families
    share."""
    return getattr(model, model.base_model_prefix, model)


def as_before_head(model: PreTrainedModel, hidden: Tensor) -> Tensor:
    """What leaves a layer, `[…, C]`, as the head expects it, `[…, C]`.

    Where layers begin with their norm, the norm behind the last stands before the head.
    """
    if not getattr(model.config, "do_stable_layer_norm", False):
        return hidden
    normed: Tensor = backbone(model).encoder.layer_norm(hidden)
    return normed


def num_frames(config: PreTrainedConfig, num_samples: int) -> int:
    """Frames that the encoder makes of so many samples at 16 kHz."""
    if not reads_waveforms(config):
        return max(0, (1 + (num_samples - 400) // 160) // 2)
    frames = num_samples
    for kernel, stride in zip(config.conv_kernel, config.conv_stride, strict=True):
        frames = (frames - kernel) // stride + 1
    return max(0, frames)


def num_channels(config: PreTrainedConfig) -> int:
    """Channels of a frame as the feature extractor gives it."""
    return int(config.conv_dim[-1] if reads_waveforms(config) else config.feature_projection_input_dim)


def frame_s(config: PreTrainedConfig) -> float:
    """Seconds from one frame to the next."""
    if not reads_waveforms(config):
        return 1 / FILTER_BANK_RATE_HZ
    stride = 1
    for factor in config.conv_stride:
        stride *= factor
    return stride / SAMPLE_RATE_HZ


def frame_grid(config: PreTrainedConfig) -> FrameGrid:
    """Where the frames lie in time: each is centred in the samples that it sees."""
    from unispeech_ft.scoring.timing import FrameGrid

    step_s = frame_s(config)
    if not reads_waveforms(config):
        seen_s = 560 / SAMPLE_RATE_HZ  # two windows of 400 samples, 160 apart
    else:
        seen, stride = 1, 1
        for kernel, factor in zip(config.conv_kernel, config.conv_stride, strict=True):
            seen, stride = seen + (kernel - 1) * stride, stride * factor
        seen_s = seen / SAMPLE_RATE_HZ
    return FrameGrid(step_s, (seen_s - step_s) / 2)


def extractor_settings(folder: Path) -> dict[str, Any]:
    """What a model folder says of its feature extractor; preprocessor_config.json wins over processor_config.json.

    Raises:
        UserError: one of them cannot be read.
    """
    settings: dict[str, Any] = {}
    for name in ("processor_config.json", "preprocessor_config.json"):
        if (folder / name).is_file():
            try:
                content = parse_json((folder / name).read_text(encoding="utf-8"))
                settings |= content.get("feature_extractor", content)
            except (OSError, ValueError, AttributeError, TypeError) as error:
                what = f"{folder}: {name} cannot be read ({first_line(error)})"
                raise UserError(what, remedy="download or export the model again") from None
    return settings


def normalises_input(config: PreTrainedConfig, folder: Path | None) -> bool:
    """Whether the model was trained on waveforms, or on filter banks, of zero mean and unit variance.

    Said by its `preprocessor_config.json` or `processor_config.json`; without one, models with layer-normed
    extractors (Large) and those of filter banks are, those with group-normed ones are not (Base).
    """
    by_shape = getattr(config, "feat_extract_norm", "layer") == "layer"
    key = "do_normalize" if reads_waveforms(config) else "do_normalize_per_mel_bins"
    return bool(extractor_settings(folder).get(key, by_shape)) if folder else by_shape
