"""What an original file is: its family, and the Transformers class that expresses it.

The family is what the file's configuration names, corrected by tensors that only one family has.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from unispeech_ft.convert.renaming import CTC_HEAD, FINAL_NORM, PRETRAINING_HEAD, QUANTISER, SPEAKER, Renames, bare
from unispeech_ft.convert.settings import OriginalSettings
from unispeech_ft.errors import UserError
from unispeech_ft.models.families import ILS_HUBERT, ILS_WAVLM

Family = Literal["UniSpeech", "UniSpeech-SAT", "WavLM", "ILS-SSL", "HuBERT", "wav2vec 2.0"]
Shapes = Mapping[str, tuple[int, ...]]

# Registered names of architectures begin with these; the longer ones come first.
FAMILY_NAMES: tuple[tuple[str, Family], ...] = (
    ("unispeech_sat", "UniSpeech-SAT"),
    ("unispeech", "UniSpeech"),
    ("ils_hubert", "ILS-SSL"),
    ("hubert", "HuBERT"),
    ("wav2vec2", "wav2vec 2.0"),
    ("wavlm", "WavLM"),
)
NO_PLACE = "a pre-training head that the class has no place for"


@dataclass(frozen=True)
class Target:
    """The Transformers class for a file.

    Attributes:
        family: of the original.
        model_type: Transformers' name of the configuration.
        class_name: of the network.
        prefix: of the encoder's tensors in it, with its dot; empty for a bare encoder.
        heads: renames of the tensors beside the encoder.
        ctc_head: name of the CTC projection; empty for none.
        gated: whether the position bias has gates of its own.
        unused: patterns of tensors that the class needs not, with the reason.
    """

    family: Family
    model_type: str
    class_name: str
    prefix: str
    heads: Renames
    ctc_head: str
    gated: bool
    unused: Mapping[str, str]

    @property
    def kind(self) -> Literal["fine-tuned CTC", "pre-trained"]:
        return "fine-tuned CTC" if self.class_name.endswith("ForCTC") else "pre-trained"


def _has(shapes: Shapes, part: str) -> bool:
    return any(part in bare(name) for name in shapes)


def _named_family(name: str | None) -> Family | None:
    return next((family for start, family in FAMILY_NAMES if name is not None and name.startswith(start)), None)


def recognise_family(settings: OriginalSettings, shapes: Shapes, notes: list[str]) -> Family:
    """The family of a file; where name and tensors disagree the tensors win, and `notes` says so.

    Raises:
        UserError: nothing says what it is, or it is of another family.
    """
    named = _named_family(settings.name)
    found = named
    if _has(shapes, ".grep_a"):
        found = "WavLM"
    elif _has(shapes, "post_layer_norm.") or (named == "HuBERT" and _has(shapes, ".relative_attention_bias.")):
        found = "ILS-SSL"
    elif _has(shapes, "spk_proj."):
        found = "UniSpeech-SAT"
    elif named == "wav2vec 2.0" and _targets_go_up(settings, shapes):
        found = "UniSpeech"
    if found is None:
        known = ", ".join(family for _, family in FAMILY_NAMES)
        what = f"architecture {settings.name!r} is not known" if settings.name else "nothing says what the model is"
        raise UserError(f"{what}, and its tensors do not tell", remedy=f"use an original file of {known}")
    if named is not None and named != found:
        notes.append(f"the file calls itself {settings.name}, but its tensors are those of {found}: taken as {found}")
    return found


def _targets_go_up(settings: OriginalSettings, shapes: Shapes) -> bool:
    """Whether the quantised targets are projected up to the encoder's size, as UniSpeech does."""
    by_name = {bare(name): shape for name, shape in shapes.items()}
    if "final_proj.weight" not in by_name or "project_q.weight" not in by_name or "mask_emb" not in by_name:
        return False
    (hidden,), targets = by_name["mask_emb"], by_name["project_q.weight"][0]
    up, down = (hidden, targets), (targets, hidden)
    shape = by_name["final_proj.weight"]
    return shape == up and (up != down or settings.model.get("transpose") is True)


def _encoder(family: Family, shapes: Shapes, pre_norm: bool) -> tuple[str, str, str]:
    """Model type, stem of the classes and attribute of the encoder."""
    relative = _has(shapes, ".relative_attention_bias.")
    if family == "ILS-SSL":
        if pre_norm:
            return (ILS_WAVLM, "IlsWavLM", "wavlm.") if relative else (ILS_HUBERT, "IlsHubert", "hubert.")
        return ("wavlm", "WavLM", "wavlm.") if relative else ("hubert", "Hubert", "hubert.")
    return {
        "UniSpeech": ("unispeech", "UniSpeech", "unispeech."),
        "UniSpeech-SAT": ("unispeech-sat", "UniSpeechSat", "unispeech_sat."),
        "WavLM": ("wavlm", "WavLM", "wavlm."),
        "HuBERT": ("hubert", "Hubert", "hubert."),
        "wav2vec 2.0": ("wav2vec2", "Wav2Vec2", "wav2vec2."),
    }[family]


def choose_target(family: Family, settings: OriginalSettings, shapes: Shapes, pre_norm: bool) -> Target:
    """The class that holds as much of a file as Transformers can express.

    Args:
        shapes: of the tensors, by original name.
        pre_norm: whether the encoder's layers norm their input.
    """
    model_type, stem, prefix = _encoder(family, shapes, pre_norm)
    gated = _has(shapes, ".grep_a")
    norm = {FINAL_NORM: "the original never applies it"} if model_type in (ILS_HUBERT, ILS_WAVLM) else {}
    if CTC_HEAD + "weight" in shapes and (settings.fine_tuned or not _has(shapes, "quantizer.")):
        leftover = {PRETRAINING_HEAD: "a pre-training head; the file is fine-tuned"}
        return Target(family, model_type, f"{stem}ForCTC", prefix, (), "lm_head", gated, norm | leftover)
    if family in ("UniSpeech", "UniSpeech-SAT", "wav2vec 2.0") and _has(shapes, "quantizer."):
        heads = (*QUANTISER, *SPEAKER) if family == "UniSpeech-SAT" else QUANTISER
        ctc = "ctc_proj" if family == "UniSpeech" else ""
        return Target(family, model_type, f"{stem}ForPreTraining", prefix, heads, ctc, gated, norm)
    return Target(family, model_type, f"{stem}Model", "", (), "", gated, norm | {PRETRAINING_HEAD: NO_PLACE})
