"""The names of tensors, original → Transformers; regular expressions that match whole names.

Source: the modules of fairseq/models/wav2vec/wav2vec2.py, hubert.py, unispeech.py, unispeech_sat.py, and WavLM.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

Renames = Sequence[tuple[str, str]]

NEST = "w2v_encoder.w2v_model."
CTC_HEAD = "w2v_encoder.proj."
MASK_EMBEDDING = "masked_spec_embed"
LAYER = r"encoder\.layers\.(\d+)\."
NEW_LAYER = r"encoder.layers.\1."

BACKBONE: Renames = (
    (r"mask_emb", MASK_EMBEDDING),
    (r"feature_extractor\.conv_layers\.(\d+)\.0\.(weight|bias)", r"feature_extractor.conv_layers.\1.conv.\2"),
    (
        r"feature_extractor\.conv_layers\.(\d+)\.2(?:\.1)?\.(weight|bias)",
        r"feature_extractor.conv_layers.\1.layer_norm.\2",
    ),
    (r"layer_norm\.(weight|bias)", r"feature_projection.layer_norm.\1"),
    (r"post_extract_proj\.(weight|bias)", r"feature_projection.projection.\1"),
    (r"encoder\.pos_conv\.0\.(bias|weight_g|weight_v)", r"encoder.pos_conv_embed.conv.\1"),
    (r"encoder\.pos_conv\.0\.parametrizations\.weight\.original0", "encoder.pos_conv_embed.conv.weight_g"),
    (r"encoder\.pos_conv\.0\.parametrizations\.weight\.original1", "encoder.pos_conv_embed.conv.weight_v"),
    (r"encoder\.layer_norm\.(weight|bias)", r"encoder.layer_norm.\1"),
    (LAYER + r"self_attn\.([kvq]|out)_proj\.(weight|bias)", NEW_LAYER + r"attention.\2_proj.\3"),
    (LAYER + r"self_attn_layer_norm\.(weight|bias)", NEW_LAYER + r"layer_norm.\2"),
    (LAYER + r"fc1\.(weight|bias)", NEW_LAYER + r"feed_forward.intermediate_dense.\2"),
    (LAYER + r"fc2\.(weight|bias)", NEW_LAYER + r"feed_forward.output_dense.\2"),
    (LAYER + r"final_layer_norm\.(weight|bias)", NEW_LAYER + r"final_layer_norm.\2"),
)
POSITION_BIAS: Renames = (
    (LAYER + r"self_attn\.relative_attention_bias\.weight", NEW_LAYER + r"attention.rel_attn_embed.weight"),
    (LAYER + r"self_attn\.grep_linear\.(weight|bias)", NEW_LAYER + r"attention.gru_rel_pos_linear.\2"),
    (LAYER + r"self_attn\.grep_a", NEW_LAYER + r"attention.gru_rel_pos_const"),
)
QUANTISER: Renames = (
    (r"quantizer\.vars", "quantizer.codevectors"),
    (r"quantizer\.weight_proj\.(weight|bias)", r"quantizer.weight_proj.\1"),
    (r"project_q\.(weight|bias)", r"project_q.\1"),
    (r"final_proj\.(weight|bias)", r"project_hid.\1"),
)
SPEAKER: Renames = (
    (r"spk_proj\.(weight|bias)", r"speaker_proj.\1"),
    (r"label_embs_concat", "label_embeddings_concat"),
    (r"encoder\.layer_norm_for_extract\.(weight|bias)", r"layer_norm_for_extract.\1"),
)
PRETRAINING_HEAD = (
    r"(quantizer|project_q|final_proj|spk_proj|encoder\.layer_norm_for_extract|post_layer_norm)\.[\w.]+"
    r"|label_embs_concat|weights"
)
FINAL_NORM = r"encoder\.layer_norm\.(weight|bias)"


@dataclass(frozen=True)
class Renamed:
    """What became of a checkpoint's tensors.

    Attributes:
        names: Transformers' name → the original's.
        unused: original name → why nothing needs it.
        unknown: original names that no rule covers.
    """

    names: Mapping[str, str]
    unused: Mapping[str, str]
    unknown: Sequence[str]


def bare(name: str) -> str:
    """A tensor's name without the nest of a fine-tuned model."""
    return name.removeprefix(NEST)


def _renamed(name: str, renames: Renames) -> str | None:
    for pattern, replacement in renames:
        match = re.fullmatch(pattern, name)
        if match:
            return match.expand(replacement)
    return None


def rename_all(
    originals: Iterable[str], backbone: Renames, heads: Renames, ctc_head: str, prefix: str, unused: Mapping[str, str]
) -> Renamed:
    """Applies the tables of a target.

    Args:
        backbone: renames below `prefix`.
        heads: renames beside it.
        ctc_head: new name of the CTC projection.
        prefix: with its dot, or empty where the target is a bare encoder.
        unused: patterns of tensors that the target needs not, with the reason; they go before the renames.
    """
    names: dict[str, str] = {}
    dropped: dict[str, str] = {}
    unknown: list[str] = []
    for original in originals:
        name = bare(original)
        reasons = [reason for pattern, reason in unused.items() if re.fullmatch(pattern, name)]
        inside, beside = _renamed(name, backbone), _renamed(name, heads)
        if reasons:
            dropped[original] = reasons[0]
        elif original.startswith(CTC_HEAD) and ctc_head:
            names[f"{ctc_head}.{original.removeprefix(CTC_HEAD)}"] = original
        elif inside is not None or beside is not None:
            names[f"{prefix}{inside}" if inside is not None else str(beside)] = original
        else:
            unknown.append(original)
    return Renamed(names, dropped, unknown)
