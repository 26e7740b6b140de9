"""What the tensors of an original file say of its architecture; where its configuration says otherwise, they win.

Names are the original's: `feature_extractor.conv_layers.i.0.weight` is `[out, in, kernel]`, the weight norm of
`encoder.pos_conv.0` `[hidden, hidden / groups, kernel]`, `quantizer.vars` `[1, groups × entries, size / groups]`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from unispeech_ft.convert.layers import conv_layers
from unispeech_ft.convert.recognise import Shapes
from unispeech_ft.convert.renaming import bare
from unispeech_ft.errors import UserError

FIRST_LAYER = "encoder.layers.0."
POSITION_WEIGHTS = ("encoder.pos_conv.0.weight_v", "encoder.pos_conv.0.parametrizations.weight.original1")


def _no_encoder(lacking: str) -> UserError:
    return UserError(
        f"the checkpoint lacks {lacking}, so it is no encoder of the wav2vec 2.0 kind",
        remedy="use a checkpoint of UniSpeech, UniSpeech-SAT, WavLM, ILS-SSL, HuBERT or wav2vec 2.0",
    )


def _shape(shapes: Shapes, name: str, dimensions: int) -> tuple[int, ...]:
    if name not in shapes or len(shapes[name]) != dimensions or 0 in shapes[name]:
        raise _no_encoder(name)
    return shapes[name]


def _numbers(shapes: Shapes, pattern: str) -> list[int]:
    """The numbers of modules, which have to go 0, 1, 2 … without a gap."""
    found = sorted({int(match[1]) for name in shapes if (match := re.match(pattern, name))})
    if not found or found != list(range(len(found))):
        missing = next(number for number in range(len(found) + 1) if number not in found)
        raise _no_encoder(pattern.replace(r"(\d+)", str(missing)).replace("\\", ""))
    return found


def _convolutions(shapes: Shapes) -> list[tuple[int, int]]:
    """Channels and kernel of each layer of the extractor."""
    numbers = _numbers(shapes, r"feature_extractor\.conv_layers\.(\d+)\.0\.weight")
    kernels = [_shape(shapes, f"feature_extractor.conv_layers.{number}.0.weight", 3) for number in numbers]
    return [(shape[0], shape[2]) for shape in kernels]


def _position_convolution(shapes: Shapes) -> tuple[int, int]:
    """Kernel and groups of the convolution that stands for positions."""
    name = next((name for name in POSITION_WEIGHTS if name in shapes), POSITION_WEIGHTS[0])
    hidden, per_group, kernel = _shape(shapes, name, 3)
    return kernel, hidden // per_group


def _quantiser(shapes: Shapes) -> dict[str, Any]:
    if "quantizer.vars" not in shapes or "project_q.weight" not in shapes:
        return {}
    _, entries, part = _shape(shapes, "quantizer.vars", 3)
    projected, size = _shape(shapes, "project_q.weight", 2)
    groups = max(1, size // part)
    return {"latent_groups": groups, "latent_vars": entries // groups, "latent_dim": size, "final_dim": projected}


def facts_of(originals: Shapes) -> dict[str, Any]:
    """fairseq's settings as the tensors show them.

    Raises:
        UserError: they are not those of a wav2vec 2.0 encoder.
    """
    shapes = {bare(name): shape for name, shape in originals.items()}
    width, hidden = _shape(shapes, FIRST_LAYER + "fc1.weight", 2)
    kernel, groups = _position_convolution(shapes)
    convolutions = _convolutions(shapes)
    relative = FIRST_LAYER + "self_attn.relative_attention_bias.weight"
    normed = "feature_extractor.conv_layers.0.2.1.weight" in shapes
    facts: dict[str, Any] = {
        "encoder_embed_dim": hidden,
        "encoder_ffn_embed_dim": width,
        "encoder_layers": len(_numbers(shapes, r"encoder\.layers\.(\d+)\.")),
        "conv_bias": "feature_extractor.conv_layers.0.0.bias" in shapes,
        "extractor_mode": "layer_norm" if normed else "default",
        "conv_pos": kernel,
        "conv_pos_groups": groups,
        "relative_position_embedding": relative in shapes,
    }
    if relative in shapes:
        facts["num_buckets"], facts["encoder_attention_heads"] = _shape(shapes, relative, 2)
    return facts | {"convolutions": convolutions} | _quantiser(shapes)


def _with_strides(convolutions: Sequence[tuple[int, int]], said: object, notes: list[str]) -> list[tuple[int, ...]]:
    """The extractor's layers; channels and kernels from the tensors, strides from the configuration."""
    layers: list[tuple[int, ...]] = [*conv_layers(said)]
    if len(layers) != len(convolutions):
        raise UserError(
            f"the configuration names {len(layers)} conv layers, the tensors {len(convolutions)}, and only the former"
            " could know their strides",
            remedy="use the original file as its authors published it",
        )
    found: list[tuple[int, ...]] = [
        (*layer, stride) for layer, (_, _, stride) in zip(convolutions, layers, strict=True)
    ]
    if found != layers:
        notes.append(_disagreement("conv_feature_layers", layers, found))
    return found


def _disagreement(key: str, said: object, found: object) -> str:
    shown = said if isinstance(said, (int, float, list)) else ascii(said)[:80] if isinstance(said, str) else "otherwise"
    return f"{key}: the configuration says {shown}, the tensors {found}; taken from the tensors"


def settle(said: Mapping[str, Any], facts: Mapping[str, Any], notes: list[str]) -> dict[str, Any]:
    """The configuration with the tensors' facts over it; `notes` names every disagreement.

    Args:
        said: settings of the file, by fairseq's names.
        facts: from `facts_of`.

    Raises:
        UserError: what the tensors cannot show is missing.
    """
    needed = {"encoder_attention_heads": int, "layer_norm_first": bool, "conv_feature_layers": str}
    needed |= {"max_distance": int} if facts["relative_position_embedding"] else {}
    lacking = [key for key, kind in needed.items() if key not in facts and type(said.get(key)) is not kind]
    if lacking:
        raise UserError(
            f"the configuration lacks {', '.join(lacking)}, which no tensor shows",
            remedy="use the original file as its authors published it",
        )
    # latent_dim and final_dim of 0 stand for the encoder's own size.
    for key in sorted(set(facts) & set(said)):
        if said[key] != facts[key] and not (key in ("latent_dim", "final_dim") and not said[key]):
            notes.append(_disagreement(key, said[key], facts[key]))
    convolutions = _with_strides(facts["convolutions"], said["conv_feature_layers"], notes)
    settled = {**said, **facts, "convolutions": convolutions}
    heads, channels = settled["encoder_attention_heads"], settled["encoder_embed_dim"]
    if heads < 1 or channels % heads:
        raise UserError(
            f"{heads} attention heads do not divide {channels} channels",
            remedy="use the original file as its authors published it",
        )
    return settled
