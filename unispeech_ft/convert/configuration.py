"""fairseq's settings → a Transformers configuration. Source: the dataclasses of fairseq's wav2vec2.py and hubert.py."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from unispeech_ft.convert.recognise import Shapes, Target
from unispeech_ft.convert.renaming import CTC_HEAD
from unispeech_ft.convert.settings import OriginalSettings
from unispeech_ft.errors import UserError
from unispeech_ft.phonemes.tokenizer import PhoneTokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

ACTIVATIONS = {"gelu": "gelu", "gelu_accurate": "gelu_new", "gelu_fast": "gelu_new", "relu": "relu", "tanh": "tanh"}
# Regularisation: fairseq's name → Transformers' name, and fairseq's value where a file does not say.
REGULARISATION: dict[str, tuple[str, float | int]] = {
    "dropout": ("hidden_dropout", 0.1),
    "attention_dropout": ("attention_dropout", 0.1),
    "activation_dropout": ("activation_dropout", 0.0),
    "dropout_input": ("feat_proj_dropout", 0.0),
    "final_dropout": ("final_dropout", 0.0),
    "encoder_layerdrop": ("layerdrop", 0.0),
    "mask_prob": ("mask_time_prob", 0.65),
    "mask_length": ("mask_time_length", 10),
    "mask_channel_prob": ("mask_feature_prob", 0.0),
    "mask_channel_length": ("mask_feature_length", 10),
}


def _regularisation(settings: Mapping[str, Any], notes: list[str]) -> dict[str, Any]:
    """Dropouts and masks; values that the file lacks are fairseq's own, and `notes` names them."""
    absent = [key for key in REGULARISATION if not isinstance(settings.get(key), (int, float))]
    if absent:
        values = ", ".join(f"{key} {REGULARISATION[key][1]}" for key in absent)
        notes.append(f"the configuration does not say these, so they are fairseq's defaults: {values}")
    found = {new: default if key in absent else settings[key] for key, (new, default) in REGULARISATION.items()}
    return found | {"apply_spec_augment": bool(settings.get("apply_mask", True))}


def _architecture(settings: Mapping[str, Any]) -> dict[str, Any]:
    activation = settings.get("activation_fn", "gelu")
    if not isinstance(activation, str) or activation not in ACTIVATIONS:
        raise UserError("its activation_fn is not known", remedy=f"use a model with one of {', '.join(ACTIVATIONS)}")
    channels, kernels, strides = zip(*settings["convolutions"], strict=True)
    return {
        "hidden_size": settings["encoder_embed_dim"],
        "intermediate_size": settings["encoder_ffn_embed_dim"],
        "num_hidden_layers": settings["encoder_layers"],
        "num_attention_heads": settings["encoder_attention_heads"],
        "hidden_act": ACTIVATIONS[activation],
        "do_stable_layer_norm": bool(settings["layer_norm_first"]),
        "feat_extract_norm": "layer" if settings["extractor_mode"] == "layer_norm" else "group",
        "conv_dim": list(channels),
        "conv_kernel": list(kernels),
        "conv_stride": list(strides),
        "conv_bias": settings["conv_bias"],
        "num_conv_pos_embeddings": settings["conv_pos"],
        "num_conv_pos_embedding_groups": settings["conv_pos_groups"],
    }


def _pretraining(settings: Mapping[str, Any], shapes: Shapes) -> dict[str, Any]:
    """Sizes of quantiser, projections and heads, as far as the tensors hold them."""
    found: dict[str, Any] = {}
    if "latent_vars" in settings:
        found = {
            "num_codevectors_per_group": settings["latent_vars"],
            "num_codevector_groups": settings["latent_groups"],
            "codevector_dim": settings["latent_dim"],
            "proj_codevector_dim": settings["final_dim"],
            "feat_quantizer_dropout": float(settings.get("dropout_features", 0.0)),
        }
    for key, new in {
        "num_negatives": "num_negatives",
        "logit_temp": "contrastive_logits_temperature",
        "replace_prob": "replace_prob",
    }.items():
        if isinstance(settings.get(key), (int, float)):
            found[new] = settings[key]
    if "label_embs_concat" in shapes and len(shapes["label_embs_concat"]) == 2:
        found["num_clusters"] = shapes["label_embs_concat"][0]
    return found


def _head(
    settings: OriginalSettings, target: Target, shapes: Shapes, tokenizer: PhoneTokenizer | None
) -> dict[str, Any]:
    found: dict[str, Any] = {"ctc_loss_reduction": "sum", "ctc_zero_infinity": settings.zero_infinity is not False}
    if CTC_HEAD + "weight" in shapes:
        rows = shapes[CTC_HEAD + "weight"][0]
        found |= {"vocab_size": rows} | ({"num_ctc_classes": rows} if target.family == "UniSpeech" else {})
    if tokenizer is not None:
        # In Transformers the CTC blank is the pad token.
        ids = tokenizer.ids
        found["pad_token_id"] = tokenizer.blank_id
        found |= {key: ids[token] for key, token in (("bos_token_id", "<s>"), ("eos_token_id", "</s>")) if token in ids}
    return found


def model_config(
    settings: OriginalSettings,
    settled: Mapping[str, Any],
    target: Target,
    shapes: Shapes,
    tokenizer: PhoneTokenizer | None,
    notes: list[str],
) -> PreTrainedConfig:
    """The Transformers configuration of a target.

    Args:
        settled: settings with the tensors' facts over them, see `shapes.settle`.
        shapes: by original name.
        tokenizer: rows of the CTC head, where they are known.
        notes: takes what was not in the file.

    Raises:
        UserError: the architecture is one that Transformers cannot express.
    """
    from huggingface_hub.errors import StrictDataclassError

    from unispeech_ft.models.ils import AutoConfig

    values = _architecture(settled) | _regularisation(settled, notes) | _head(settings, target, shapes, tokenizer)
    if settled["relative_position_embedding"]:
        values |= {"num_buckets": settled["num_buckets"], "max_bucket_distance": settled["max_distance"]}
    if target.class_name.endswith("ForPreTraining"):
        values |= _pretraining(settled, shapes)
    # WavLM's configuration lacks it, and the stock model asks for it once mask_feature_prob is above 0.
    values["mask_feature_min_masks"] = 0
    try:
        config = AutoConfig.for_model(target.model_type, **values)
    except (StrictDataclassError, ValueError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"no {target.class_name} has such a configuration ({reason})",
            remedy="use the original file as its authors published it",
        ) from None
    config.architectures = [target.class_name]
    config.dtype = "float32"
    return config
