"""The golden material: small random models in the original formats, with the original code's outputs.

`B` clips, `S` samples, `T` frames, `C` channels. Folders are taken as they are found: names and sizes are theirs.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from unispeech_ft.models.families import backbone

SHARED = Path(os.environ.get("UNISPEECH_FT_SHARED", Path(__file__).parents[2] / "shared"))
GOLDEN = Path(os.environ.get("UNISPEECH_FT_GOLDEN", SHARED / "golden"))
TOLERANCE = 1e-5


@dataclass(frozen=True)
class Golden:
    """One golden folder."""

    folder: Path

    @property
    def checkpoint(self) -> Path:
        return self.folder / "checkpoint.pt"

    @cached_property
    def meta(self) -> dict[str, Any]:
        return json.loads((self.folder / "meta.json").read_text(encoding="utf-8"))

    @cached_property
    def expected(self) -> dict[str, Tensor]:
        return load_file(self.folder / "expected.safetensors")


def golden_folders() -> list[Golden]:
    """Every folder that holds a checkpoint and outputs; none where the material is absent."""
    found = sorted(GOLDEN.glob("*/expected.safetensors")) if GOLDEN.is_dir() else []
    return [Golden(file.parent) for file in found if (file.parent / "checkpoint.pt").is_file()]


def load_converted(folder: Path, architecture: str) -> nn.Module:
    """The network of a converted folder, through the Auto class of its kind."""
    from transformers import AutoModel, AutoModelForCTC, AutoModelForPreTraining

    kinds = {"ForCTC": AutoModelForCTC, "ForPreTraining": AutoModelForPreTraining}
    auto = next((kind for ending, kind in kinds.items() if architecture.endswith(ending)), AutoModel)
    network, info = auto.from_pretrained(folder, output_loading_info=True)
    assert type(network).__name__ == architecture
    assert not info["missing_keys"], info
    assert not info["mismatched_keys"], info
    assert all("masked_spec_embed" in key for key in info["unexpected_keys"]), info
    return network.eval()


def _first(value: Any) -> Tensor:
    return value[0] if isinstance(value, tuple) else value


@torch.no_grad()
def outputs_of(network: nn.Module, input_values: Tensor) -> dict[str, Tensor]:
    """Everything that a network computes from `[B, S]`, by the golden files' names."""
    inner = backbone(network) if hasattr(network, network.base_model_prefix) else network
    results: list[Tensor] = []
    layers = inner.encoder.layers
    hooks = [layers[0].register_forward_pre_hook(lambda _, args: results.append(args[0]))]
    hooks += [layer.register_forward_hook(lambda _, args, out: results.append(_first(out))) for layer in layers]
    out = inner(input_values)
    for hook in hooks:
        hook.remove()
    hidden = out.last_hidden_state
    found = {"last_hidden_state": hidden, "layer_results": torch.stack(results)}
    if "extract_features" in out:
        found["extract_features"] = out.extract_features
    heads = dict(network.named_children())
    for name in heads.keys() & {"lm_head", "ctc_proj"}:
        found["ctc_logits"] = heads[name](hidden)
    if "quantizer" in heads and "extract_features" in found:
        reads = heads["quantizer"].weight_proj.in_features
        quantised = heads["quantizer"](found["extract_features"] if reads == inner.config.conv_dim[-1] else hidden)[0]
        targets = heads["project_q"](quantised)
        found |= {"quantized": quantised, "projected_quantized": targets}
        up = network.config.model_type == "unispeech"
        found["projected_quantized_up" if up else "projected_states"] = heads["project_hid"](targets if up else hidden)
    return found
