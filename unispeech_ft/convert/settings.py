"""What a checkpoint says of its own training: fairseq's `args` and `cfg`, old and new, and WavLM's `cfg`.

Namespaces, dictionaries and omegaconf's containers all become plain dictionaries of one level; interpolations such as
`${task.normalize}` count as absent, since what they point at is read itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from unispeech_ft.convert.pickles import StandIn
from unispeech_ft.errors import UserError

# fairseq's Wav2VecEncoder puts these of the fine-tuning over those of the pre-training.
OVERRIDES = {
    "dropout": "dropout",
    "attention_dropout": "attention_dropout",
    "activation_dropout": "activation_dropout",
    "dropout_input": "dropout_input",
    "layerdrop": "encoder_layerdrop",
    "final_dropout": "final_dropout",
    "mask_prob": "mask_prob",
    "mask_length": "mask_length",
    "mask_channel_prob": "mask_channel_prob",
    "mask_channel_length": "mask_channel_length",
    "apply_mask": "apply_mask",
}


@dataclass(frozen=True)
class OriginalSettings:
    """The settings that a checkpoint was trained with.

    Attributes:
        name: of its architecture as fairseq registers it; None for WavLM, whose files do not say.
        model: settings by fairseq's names, those of a fine-tuning over those of the pre-training.
        fine_tuned: whether they are those of a CTC fine-tuning.
        normalize: whether its waveforms were normalised; None where it does not say.
        zero_infinity: of the CTC criterion; None where it does not say.
    """

    name: str | None
    model: Mapping[str, Any]
    fine_tuned: bool
    normalize: bool | None
    zero_infinity: bool | None


def _plain(value: Any) -> Any:
    """The value of an omegaconf node; anything else as it is."""
    if isinstance(value, StandIn) and isinstance(value.state, dict) and "_val" in value.state:
        value = value.state["_val"]
    if isinstance(value, StandIn) and len(value.arguments) == 1 and isinstance(value.arguments[0], (str, int, float)):
        return value.arguments[0]
    return value


def as_mapping(value: Any) -> dict[str, Any]:
    """A dictionary, Namespace or DictConfig, one level of it; empty for anything else."""
    if isinstance(value, StandIn):
        state = value.state if isinstance(value.state, dict) else {}
        value = state.get("_content", {**state, **value.items})
    if not isinstance(value, dict):
        return {}
    plain = {key: _plain(item) for key, item in value.items() if isinstance(key, str)}
    return {key: item for key, item in plain.items() if not (isinstance(item, str) and item.startswith("${"))}


def _sections(value: Any) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Settings of model, task and criterion; they are one where the file knows no sections."""
    root = as_mapping(value)
    model = as_mapping(root["model"]) if "model" in root else {}
    if not model:
        return root, root, root
    task, criterion = (as_mapping(root[name]) if name in root else {} for name in ("task", "criterion"))
    return model, task, criterion


def _architecture(model: Mapping[str, Any]) -> str | None:
    named = [model.get(key) for key in ("_name", "arch")]
    names = [name for name in named if isinstance(name, str) and re.fullmatch(r"[\w.-]{1,64}", name)]
    return names[0] if names else None


def _flag(key: str, *sections: Mapping[str, Any]) -> bool | None:
    values = [section[key] for section in sections if isinstance(section.get(key), bool)]
    return values[0] if values else None


def read_settings(content: Mapping[str, Any]) -> OriginalSettings:
    """The settings in an opened checkpoint.

    Args:
        content: of a file, with `cfg` or `args`.

    Raises:
        UserError: it has neither, or leaves out those of the pre-trained model.
    """
    source = content.get("cfg") or content.get("args")
    model, task, criterion = _sections(source)
    if not model:
        raise UserError(
            "the checkpoint holds no configuration (neither cfg nor args)",
            remedy="use the original file as its authors published it, not its bare weights",
        )
    name = _architecture(model)
    inner_model, inner_task, _ = _sections(model.get("w2v_args"))
    if not inner_model:
        if name and name.endswith(("_ctc", "_seq2seq")):
            raise UserError(
                f"the checkpoint is a fine-tuned {name} without the settings of its pre-trained model (w2v_args)",
                remedy="use a checkpoint that fairseq saved at the end of fine-tuning",
            )
        zero_infinity = _flag("zero_infinity", criterion)
        return OriginalSettings(name, model, False, _flag("normalize", task, model), zero_infinity)
    overrides = {new: model[old] for old, new in OVERRIDES.items() if old in model}
    normalize = _flag("normalize", model, task, inner_task, inner_model)
    zero_infinity = _flag("zero_infinity", criterion)
    return OriginalSettings(_architecture(inner_model), inner_model | overrides, True, normalize, zero_infinity)
