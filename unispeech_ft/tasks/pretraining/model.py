"""A `UniSpeechForPreTraining` from a configuration, a pre-trained model or random weights, and its model folder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from unispeech_ft.errors import UserError
from unispeech_ft.models.build import base_folder, new_head, regularise
from unispeech_ft.models.build import read_model_config as read_config
from unispeech_ft.models.families import backbone, normalises_input
from unispeech_ft.models.filter_bank import start_as_filter_bank
from unispeech_ft.models.loader import load_network
from unispeech_ft.phonemes.tokenizer import PhoneTokenizer, load_tokenizer
from unispeech_ft.tasks.pretraining.config import PretrainingConfig, PretrainingModelConfig

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

QUANTISER_PARTS = ("quantizer.", "project_q.", "project_hid.")


@dataclass(frozen=True)
class PretrainingModel:
    """A model ready to train.

    Attributes:
        network: `UniSpeechForPreTraining` in float32.
        tokenizer: what the rows of its CTC head stand for; None where it never had labels.
        normalize: whether it reads waveforms of zero mean and unit variance.
        eps: of the normalisation.
        notes: lines for people, on what starts at random.
    """

    network: Any
    tokenizer: PhoneTokenizer | None
    normalize: bool
    eps: float
    notes: tuple[str, ...]


def read_pretraining_config(model: PretrainingModelConfig) -> PreTrainedConfig:
    """The Transformers configuration of the model to pre-train.

    Raises:
        UserError: it cannot be found, or is no UniSpeech with a layer-normed extractor.
    """
    config = read_config(model)
    name = str(model.base or "model.config")
    if config.model_type != "unispeech":
        raise UserError(
            f"model.base: {name} is of type {config.model_type!r}", remedy="pre-training takes a unispeech model"
        )
    if config.feat_extract_norm != "layer" or not config.do_stable_layer_norm:
        raise UserError(
            f"model.base: {name} has a group-normed extractor or post-norm layers, which padding would disturb",
            remedy="set feat_extract_norm layer and do_stable_layer_norm true, as in UniSpeech Large",
        )
    return config


def _load(model: PretrainingModelConfig, config: PreTrainedConfig) -> tuple[Any, list[str]]:
    """The network, and the names of the parts that its files lack."""
    from transformers import UniSpeechForPreTraining

    if model.from_scratch:
        network = UniSpeechForPreTraining._from_config(config).float()
        if model.extractor_grad_scale == 0:
            start_as_filter_bank(backbone(network).feature_extractor)
        return network, []
    return load_network(
        UniSpeechForPreTraining,
        str(model.base),
        config,
        heads=("ctc_proj.", *QUANTISER_PARTS),
        revision=model.revision,
    )


def _set_trainable(network: Any, config: PretrainingConfig) -> None:
    """What no term of the loss reaches does not train, so that weight decay leaves it alone."""
    if config.model.extractor_grad_scale == 0:
        backbone(network).feature_extractor._freeze_parameters()
    alpha = config.objective.alpha
    for name, parameter in network.named_parameters():
        if (alpha == 0 and name.startswith("ctc_proj.")) or (
            alpha == 1 and config.objective.replacement == 0 and name.startswith(QUANTISER_PARTS)
        ):
            parameter.requires_grad = False


def build_pretraining_model(config: PretrainingConfig, tokenizer: PhoneTokenizer | None) -> PretrainingModel:
    """The model that a configuration asks for.

    Args:
        tokenizer: the rows of the CTC head; None keeps the base model's, if it has any.

    Raises:
        UserError: the base model cannot be found or loaded, or is no UniSpeech.
    """
    shape = read_pretraining_config(config.model)
    regularise(shape, config.model, config.mask)
    shape.feat_quantizer_dropout = config.model.quantizer_dropout
    shape.replace_prob, shape.num_negatives = config.objective.replacement, config.objective.negatives
    shape.contrastive_logits_temperature = config.objective.contrastive_temperature
    shape.diversity_loss_weight = config.objective.diversity_weight
    torch.manual_seed(config.seed)
    network, missing = _load(config.model, shape)
    folder = base_folder(config.model)
    old = load_tokenizer(folder) if folder and not any(name.startswith("ctc_proj.") for name in missing) else None
    notes = []
    if any(name.startswith(QUANTISER_PARTS) for name in missing):
        notes.append(f"{config.model.base} has no quantiser: codebook and projections start at random")
    if tokenizer is not None:
        network.ctc_proj, kept, fresh = new_head(network.ctc_proj, tokenizer, old, config.seed)
        notes.append(f"CTC head: {kept} rows taken over from the base model, {fresh} fresh")
    head = tokenizer or old
    if head is not None:
        network.config.num_ctc_classes = network.config.vocab_size = len(head.tokens)
        network.config.pad_token_id = head.blank_id
        network.config.bos_token_id, network.config.eos_token_id = head.ids.get("<s>"), head.ids.get("</s>")
    # Layers are left out by name (randomness), not by the stock encoder's own draws.
    network.config.layerdrop = 0.0
    if config.model.gradient_checkpointing:
        network.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    _set_trainable(network, config)
    normalize = normalises_input(shape, folder) if config.data.normalize is None else config.data.normalize
    return PretrainingModel(network, head, normalize, config.data.normalize_eps, tuple(notes))
