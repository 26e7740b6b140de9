"""A network to pre-train, from a configuration, a pre-trained model or random weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from unispeech_ft.data.targets import open_targets
from unispeech_ft.errors import UserError
from unispeech_ft.models.build import base_folder, new_head, regularise
from unispeech_ft.models.build import read_model_config as read_config
from unispeech_ft.models.families import ILS_HUBERT, ILS_WAVLM, backbone, normalises_input, shares_position_bias
from unispeech_ft.models.filter_bank import start_as_filter_bank
from unispeech_ft.models.loader import load_network
from unispeech_ft.models.prediction import PREDICTION, SAT_HEADS, start_heads
from unispeech_ft.phonemes.tokenizer import PhoneTokenizer, load_tokenizer
from unispeech_ft.tasks.pretraining.config import ObjectiveConfig, PretrainingConfig

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

QUANTISER_PARTS = ("quantizer.", "project_q.", "project_hid.")


@dataclass(frozen=True)
class PretrainingModel:
    """A model ready to train.

    Attributes:
        network: `…ForPreTraining` in float32.
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


FAMILIES = {
    "unispeech": ("unispeech",),
    "masked_prediction": ("wavlm", "hubert", ILS_WAVLM, ILS_HUBERT),
    "sat": ("unispeech-sat",),
}
HEADS = {
    "unispeech": ("ctc_proj.", *QUANTISER_PARTS),
    "masked_prediction": (PREDICTION,),
    "sat": (*SAT_HEADS, "speaker_proj.", "layer_norm_for_extract.", "quantizer.", "project_q."),
}


def read_pretraining_config(config: PretrainingConfig) -> PreTrainedConfig:
    """The Transformers configuration of the model to pre-train, with the heads of the objective.

    Raises:
        UserError: it cannot be found, or is of a family or shape that the objective does not go with.
    """
    model, objective = config.model, config.objective
    shape = read_config(model)
    name, families = str(model.base or "model.config"), FAMILIES[objective.kind]
    if shape.model_type not in families:
        raise UserError(
            f"model.base: {name} is of type {shape.model_type!r}",
            remedy=f"objective.kind {objective.kind} takes {' or '.join(families)}",
        )
    if objective.kind == "unispeech":
        if shape.feat_extract_norm != "layer" or not shape.do_stable_layer_norm:
            raise UserError(
                f"model.base: {name} has a group-normed extractor or post-norm layers, which padding would disturb",
                remedy="set feat_extract_norm layer and do_stable_layer_norm true, as in UniSpeech Large",
            )
        shape.feat_quantizer_dropout = model.quantizer_dropout
        shape.replace_prob, shape.num_negatives = objective.replacement, objective.negatives
        shape.contrastive_logits_temperature = objective.contrastive_temperature
        shape.diversity_loss_weight = objective.diversity_weight
    else:
        _check_layers(shape, objective, name)
        targets = open_targets(str(config.unlabelled.targets))
        shape.num_clusters = targets.num_classes + objective.first_class
        shape.proj_codevector_dim = objective.projection_dim
        if objective.kind == "sat":
            shape.codevector_dim = objective.projection_dim
        else:
            shape.prediction_layers = objective.layers
    regularise(shape, model, config.mask)
    return shape


def _check_layers(shape: PreTrainedConfig, objective: ObjectiveConfig, name: str) -> None:
    """Raises UserError where the layers that predict or contrast do not fit the encoder."""
    layers, count = objective.layers, shape.num_hidden_layers
    without_norm = shape.model_type in (ILS_WAVLM, ILS_HUBERT)
    if layers is not None and layers[-1] != count:
        raise UserError(
            f"objective.layers is {layers}, but {name} has {count} layers",
            remedy=f"name layer {count} as the last: those above it would learn nothing",
        )
    if (layers is not None and bool(shape.do_stable_layer_norm)) != without_norm:
        kind = "without objective.layers" if without_norm else "with objective.layers and a norm behind its last layer"
        raise UserError(
            f"model.base: {name} is of type {shape.model_type!r} {kind}",
            remedy=f"pre-norm encoders that predict at several layers are of type {ILS_WAVLM!r} or {ILS_HUBERT!r}, all"
            " others of wavlm or hubert",
        )
    if objective.utterance_layer is not None and objective.utterance_layer > count:
        raise UserError(
            f"objective.utterance_layer is {objective.utterance_layer}, but {name} has {count} layers",
            remedy="name one of them",
        )


def _load(config: PretrainingConfig, shape: PreTrainedConfig) -> tuple[Any, list[str]]:
    """The network, and the names of the parts that its files lack or hold in another shape."""
    from unispeech_ft.models.prediction import AutoModelForPreTraining

    model, kind = config.model, config.objective.kind
    if model.from_scratch:
        network = AutoModelForPreTraining.from_config(shape).float()
        if model.extractor_grad_scale == 0:
            start_as_filter_bank(backbone(network).feature_extractor)
        return network, [PREDICTION, *SAT_HEADS] if kind != "unispeech" else []
    options = {} if kind == "unispeech" else {"ignore_mismatched_sizes": True}
    heads, name = HEADS[kind], str(model.base)
    return load_network(AutoModelForPreTraining, name, shape, heads=heads, revision=model.revision, options=options)


def _idle_parts(objective: ObjectiveConfig) -> tuple[str, ...]:
    """Beginnings of the names of what no term of the loss reaches."""
    if objective.kind != "unispeech":
        contrasts = objective.utterance_weight > 0 or objective.diversity_weight > 0
        return () if contrasts else ("quantizer.", "project_q.", "speaker_proj.", "layer_norm_for_extract.")
    idle: tuple[str, ...] = ("ctc_proj.",) if objective.alpha == 0 else ()
    return idle if objective.alpha < 1 or objective.replacement > 0 else (*idle, *QUANTISER_PARTS)


def _set_trainable(network: Any, config: PretrainingConfig) -> None:
    """What no term of the loss reaches does not train, so that weight decay leaves it alone."""
    if config.model.extractor_grad_scale == 0:
        backbone(network).feature_extractor._freeze_parameters()
    idle = _idle_parts(config.objective)
    for name, parameter in network.named_parameters():
        if idle and name.startswith(idle):
            parameter.requires_grad = False


def _hold_position_gates(network: Any) -> None:
    """Holds WavLM's gates a·(b·const − 1) + 2 at 1 (a = b = sigmoid(0), const = −2), without training them."""
    for layer in backbone(network).encoder.layers:
        attention = layer.attention
        for parameter, value in (
            (attention.gru_rel_pos_linear.weight, 0.0),
            (attention.gru_rel_pos_linear.bias, 0.0),
            (attention.gru_rel_pos_const, -2.0),
        ):
            torch.nn.init.constant_(parameter, value)
            parameter.requires_grad = False


def _take_tokenizer(
    network: Any, tokenizer: PhoneTokenizer | None, old: PhoneTokenizer | None, seed: int
) -> tuple[PhoneTokenizer | None, list[str]]:
    """Gives the network the CTC head of a tokenizer; without one it keeps its own."""
    notes = []
    if tokenizer is not None:
        network.ctc_proj, kept, fresh = new_head(network.ctc_proj, tokenizer, old, seed)
        notes.append(f"CTC head: {kept} rows taken over from the base model, {fresh} fresh")
    head = tokenizer or old
    if head is not None:
        network.config.num_ctc_classes = network.config.vocab_size = len(head.tokens)
        network.config.pad_token_id = head.blank_id
        network.config.bos_token_id, network.config.eos_token_id = head.ids.get("<s>"), head.ids.get("</s>")
    return head, notes


def build_pretraining_model(config: PretrainingConfig, tokenizer: PhoneTokenizer | None) -> PretrainingModel:
    """The model that a configuration asks for.

    Args:
        tokenizer: the rows of the CTC head; None keeps the base model's, if it has any.

    Raises:
        UserError: the base model cannot be found or loaded, or the objective does not go with it.
    """
    shape = read_pretraining_config(config)
    torch.manual_seed(config.seed)
    network, missing = _load(config, shape)
    folder, notes, head = base_folder(config.model), [], None
    if config.objective.kind == "unispeech":
        old = load_tokenizer(folder) if folder and not any(name.startswith("ctc_proj.") for name in missing) else None
        if any(name.startswith(QUANTISER_PARTS) for name in missing):
            notes.append(f"{config.model.base} has no quantiser: codebook and projections start at random")
        head, more = _take_tokenizer(network, tokenizer, old, config.seed)
        notes += more
    else:
        if any(name.startswith((PREDICTION, *SAT_HEADS)) for name in missing):
            start_heads(network)
            notes.append(f"{shape.num_clusters} classes, whose heads start at random")
    if not config.model.position_gate and shares_position_bias(shape):
        _hold_position_gates(network)
    _set_trainable(network, config)
    # Layers are left out by name (randomness), not by the stock encoder's own draws.
    network.config.layerdrop = 0.0
    if config.model.gradient_checkpointing:
        network.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    normalize = normalises_input(shape, folder) if config.data.normalize is None else config.data.normalize
    return PretrainingModel(network, head, normalize, config.data.normalize_eps, tuple(notes))
