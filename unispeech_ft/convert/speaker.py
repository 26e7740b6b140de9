"""The authors' released speaker verification files: an encoder below `feature_extract.model.`, an ECAPA-TDNN beside it.

Source: downstreams/speaker_verification/models/ecapa_tdnn.py and verification.py of microsoft/UniSpeech.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from unispeech_ft.convert.reading import OriginalFile, open_original
from unispeech_ft.errors import UserError

ENCODER, LAYER_WEIGHTS = "feature_extract.model.", "feature_weight"
# Left out: what the original's own training counts and classifies by.
NOT_TAKEN = ("num_batches_tracked", "loss_calculator.", "projection.")
NAMES: tuple[tuple[str, str], ...] = (
    (r"^feature_weight$", "layer_sum.weights"),
    (r"^layer1\.", "body.first."),
    (r"^layer2\.", "body.blocks.0."),
    (r"^layer3\.", "body.blocks.1."),
    (r"^layer4\.", "body.blocks.2."),
    (r"Conv1dReluBn1\.", "before."),
    (r"Conv1dReluBn2\.", "after."),
    (r"Res2Conv1dReluBn\.convs\.(\d)\.", r"parts.\1.conv."),
    (r"Res2Conv1dReluBn\.bns\.(\d)\.", r"parts.\1.norm."),
    (r"SE_Connect\.linear1\.", "squeeze."),
    (r"SE_Connect\.linear2\.", "excite."),
    (r"^conv\.", "body.join."),
    (r"^pooling\.linear1\.", "body.attention.0."),
    (r"^pooling\.linear2\.", "body.attention.2."),
    (r"^bn\.", "body.norm."),
    (r"^linear\.", "body.out."),
    (r"\.bn\.", ".norm."),
)


def is_speaker_file(content: Mapping[str, Any]) -> bool:
    """Whether a file holds a speaker head."""
    tensors = content.get("model")
    return isinstance(tensors, Mapping) and LAYER_WEIGHTS in tensors


def new_name(name: str) -> str:
    """The name of a head's tensor here."""
    for pattern, replacement in NAMES:
        name = re.sub(pattern, replacement, name)
    return "head." + name


def apart(original: OriginalFile, upstream: Path | None) -> tuple[OriginalFile, dict[str, str], dict[str, Any]]:
    """The encoder as a file of its own, the head's names here → in the file, and what the head is.

    Args:
        upstream: checkpoint, or its configuration, of the encoder before; the released files lack it.

    Raises:
        UserError: nothing says what the encoder is.
    """
    tensors = original.content["model"]
    said = original.content if any(original.content.get(key) for key in ("cfg", "args")) else None
    if said is None and upstream is None:
        raise UserError(
            f"{original.path} holds a speaker head, and not the configuration of its encoder",
            remedy="name the pre-trained checkpoint that it began from: --upstream FILE",
        )
    said = open_original(upstream, needs_tensors=False).content if said is None and upstream is not None else said
    encoder = {name.removeprefix(ENCODER): tensor for name, tensor in tensors.items() if name.startswith(ENCODER)}
    names = {new_name(name): name for name in tensors if not name.startswith(ENCODER) and not _not_taken(name)}
    shapes = {name: tensors[old].shape for name, old in names.items()}
    try:
        settings = {
            "task": "speaker_verification",
            "body": "ecapa",
            "channels": shapes["head.body.first.conv.weight"][0],
            "pooled": shapes["head.body.join.weight"][0],
            "size": shapes["head.body.out.weight"][0],
        }
    except KeyError as error:
        raise UserError(
            f"{original.path}: its head is no ECAPA-TDNN ({error} is missing)", remedy="name another"
        ) from None
    return replace(original, content={**(said or {}), "model": encoder}), names, settings


def _not_taken(name: str) -> bool:
    return name.endswith(NOT_TAKEN[0]) or name.startswith(NOT_TAKEN[1:])
