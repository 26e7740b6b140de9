"""Converted → fine-tuned for five updates → saved → reloaded, for every golden folder and a checkpoint made here."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from golden import Golden
from originals import fine_tuned, save
from safetensors.torch import load_file
from transformers import AutoModelForCTC

import unispeech_ft
from unispeech_ft.convert.convert import convert
from unispeech_ft.models.saved import load_saved

EXTRACTOR = "feature_extractor."


def _by_bare_name(folder: Path) -> dict[str, torch.Tensor]:
    """Tensors of a folder, named from the encoder on."""
    starts = (EXTRACTOR, "feature_projection.", "encoder.", "masked_spec_embed")
    named = {}
    for name, tensor in load_file(folder / "model.safetensors").items():
        bare = next((name[name.index(start) :] for start in starts if start in name), name)
        renamed = bare.replace("parametrizations.weight.original0", "weight_g")
        named[renamed.replace("parametrizations.weight.original1", "weight_v")] = tensor
    return named


def _five_updates(base: Path, config: Path, folder: Path) -> Path:
    from_base = {"model.base": str(base), "model.from_scratch": "false", "model.config": "null"}
    run = {"output_dir": str(folder / "run"), "schedule.updates": 5, "model.layerdrop": 0.5}
    return unispeech_ft.train(config, {**from_base, **run}).model_dir


def _check(base: Path, tuned: Path) -> None:
    before, after = _by_bare_name(base), _by_bare_name(tuned)
    frozen = [name for name in after if name.startswith(EXTRACTOR)]
    assert frozen
    assert all(torch.equal(before[name], after[name]) for name in frozen)
    encoder = [name for name in after if name.startswith("encoder.layers.")]
    assert sorted(encoder) == sorted(name for name in before if name.startswith("encoder.layers."))
    assert not all(torch.equal(before[name], after[name]) for name in encoder)
    types = [json.loads((folder / "config.json").read_text())["model_type"] for folder in (base, tuned)]
    assert types[0] == types[1]
    plain, info = AutoModelForCTC.from_pretrained(tuned, output_loading_info=True)
    assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    clip = torch.randn(1, 16_000, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        logits = plain.eval()(clip).logits
        again = load_saved(tuned, stock=True).built.model(clip).logits
        fast = load_saved(tuned).built.model(clip).logits
    assert torch.isfinite(logits).all()
    assert torch.equal(logits, again)
    torch.testing.assert_close(fast, logits, rtol=1e-5, atol=1e-5)


def test_every_golden_checkpoint_goes_round(
    golden: Golden, converted: Callable[[Golden], Path], small_config: Path, tmp_path: Path
) -> None:
    base = converted(golden)
    _check(base, _five_updates(base, small_config, tmp_path))


@pytest.mark.parametrize("name", ["unispeech", "ils_hubert"])
def test_a_checkpoint_made_here_goes_round(name: str, small_config: Path, tmp_path: Path) -> None:
    convert(save(fine_tuned(name=name), tmp_path / "checkpoint.pt"), tmp_path / "base")
    _check(tmp_path / "base", _five_updates(tmp_path / "base", small_config, tmp_path))
