"""Self-conditioned CTC: the packed row against a loop over stock layers and against the class that Transformers loads,
for all families; saving and loading; what a new head keeps of it."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from models.test_forward import (
    KINDS,
    SMALL,
    assert_equal_gradients,
    clips,
    gradients,
    masks,
    network,
    stock,
)
from torch import Tensor, nn
from transformers import AutoModelForCTC, PreTrainedModel

from unispeech_ft.config.sections import DataConfig, MaskConfig, ModelConfig
from unispeech_ft.data.row import row_of
from unispeech_ft.errors import UserError
from unispeech_ft.models import forward
from unispeech_ft.models.build import build_model
from unispeech_ft.models.families import backbone, check_plain, plain_type
from unispeech_ft.models.padded import encode_padded
from unispeech_ft.models.saved import load_saved
from unispeech_ft.models.saving import save_model
from unispeech_ft.models.self_conditioned import self_conditioned_config
from unispeech_ft.phonemes.tokenizer import PhoneTokenizer

LAYERS = [1, 2]
SUPPORTED = [kind for kind in KINDS if not kind.startswith("wav2vec2-bert")]


def conditioned(kind: str, layers: list[int] = LAYERS) -> tuple[PreTrainedModel, PreTrainedModel]:
    """A network without conditioning, and one with the same encoder and head that has it."""
    plain = network(kind)
    config = self_conditioned_config(plain.config, layers, "x")
    model = AutoModelForCTC.from_config(config).train()
    assert model.load_state_dict(plain.state_dict(), strict=False).missing_keys == [
        "conditioning.weight",
        "conditioning.bias",
    ]
    nn.init.normal_(model.conditioning.weight)
    nn.init.normal_(model.conditioning.bias)
    return plain, model


def by_hand(plain: PreTrainedModel, model: Any, row: Any) -> Tensor:
    """The stock encoder without conditioning, whose states a hook written here changes."""

    def changed(_layer: nn.Module, _given: Any, found: Any) -> Any:
        hidden = found if isinstance(found, Tensor) else found[0]
        states = hidden
        if plain.config.do_stable_layer_norm:
            norm = backbone(plain).encoder.layer_norm
            if isinstance(norm, nn.LayerNorm):
                states = nn.functional.layer_norm(hidden, hidden.shape[-1:], norm.weight, norm.bias, norm.eps)
        posteriors = torch.softmax(states @ plain.lm_head.weight.T + plain.lm_head.bias, dim=-1)
        hidden = hidden + posteriors @ model.conditioning.weight.T + model.conditioning.bias
        return hidden if isinstance(found, Tensor) else (hidden, *found[1:])

    hooks = [backbone(plain).encoder.layers[layer - 1].register_forward_hook(changed) for layer in LAYERS]
    found = stock(plain, row)
    for hook in hooks:
        hook.remove()
    return found


@pytest.mark.parametrize("kind", SUPPORTED)
def test_the_packed_row_equals_stock_layers_and_our_class(kind: str) -> None:
    plain, model = conditioned(kind)
    time_mask, channel_mask = masks()
    row = row_of(clips(), time_mask=time_mask, channel_mask=channel_mask)
    ours, through_class, expected = forward.encode(model, row), stock(model, row), by_hand(plain, model, row)
    assert not torch.allclose(expected, stock(plain, row), atol=1e-2), "the conditioning must weigh something"
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(through_class, expected, rtol=1e-5, atol=1e-5)
    assert_equal_gradients(gradients(model, ours), gradients(model, through_class))
    assert model.conditioning.weight.grad is not None


@torch.no_grad()
@pytest.mark.parametrize("kind", ["unispeech-large", "wavlm-base"])
def test_the_padded_batch_equals_the_packed_row(kind: str) -> None:
    _, model = conditioned(kind)
    model.eval()
    found = clips()
    longest = max(map(len, found))
    padded = torch.stack([torch.from_numpy(np.pad(clip, ((0, longest - len(clip)), (0, 0)))) for clip in found])
    encoded = encode_padded(model, padded, torch.tensor([len(clip) for clip in found]))
    rows = forward.encode(model, row_of(found)).split([len(clip) for clip in found])
    for clip, row in zip(encoded, rows, strict=True):
        torch.testing.assert_close(clip[: len(row)], row, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_what_leaves_a_layer_is_not_yet_conditioned() -> None:
    plain, model = conditioned("unispeech-large", [2])
    row = row_of(clips())
    _, (first, second) = forward.encode_blocks(model.eval(), row, [1, 2])
    _, expected = forward.encode_blocks(plain.eval(), row, [1, 2])
    torch.testing.assert_close([first, second], expected, rtol=1e-5, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("layers", [[0, 2], [1, 2], [0], [2]])
def test_a_layer_that_is_left_out_conditions_nothing(layers: list[int]) -> None:
    _, model = conditioned("unispeech-large")
    row = row_of(clips())
    torch.testing.assert_close(
        forward.encode(model.eval(), row, layers=layers), stock(model, row, layers), rtol=1e-5, atol=1e-5
    )


@torch.no_grad()
def test_a_fresh_layer_changes_nothing_and_a_copy_has_its_own() -> None:
    plain, model = conditioned("wavlm-large")
    row = row_of(clips())
    twin = copy.deepcopy(model).eval()
    before = stock(twin, row)
    nn.init.zeros_(model.conditioning.weight)
    nn.init.zeros_(model.conditioning.bias)
    torch.testing.assert_close(forward.encode(model.eval(), row), forward.encode(plain.eval(), row))
    torch.testing.assert_close(stock(twin, row), before, rtol=0, atol=0)


def exported(folder: Path, phones: list[str]) -> Any:
    """A self-conditioned model as a run leaves it, its linear layer not at zero."""
    tokenizer = PhoneTokenizer.from_inventory(phones, "original")
    shape = {**SMALL, **KINDS["unispeech-large"][1], "model_type": "unispeech"}
    model = ModelConfig(from_scratch=True, config=shape)
    built = build_model(model, MaskConfig(), DataConfig(), tokenizer, 1, conditioned_layers=LAYERS)
    network: Any = built.model
    assert not network.conditioning.weight.any()
    nn.init.normal_(network.conditioning.weight)
    save_model(folder, network, built.extractor, tokenizer, layerdrop=0.0, card="x")
    return network.eval()


@torch.no_grad()
def test_a_folder_loads_in_transformers_and_here(tmp_path: Path) -> None:
    model = exported(tmp_path / "model", ["a", "b", "tʃ"])
    again, said = AutoModelForCTC.from_pretrained(tmp_path / "model", output_loading_info=True)
    assert not said["missing_keys"]
    assert not said["unexpected_keys"]
    assert type(again).__name__ == "SelfConditionedUniSpeechForCTC"
    assert again.config.conditioned_layers == LAYERS
    assert plain_type(again.config.model_type) == "unispeech"
    waveform = torch.randn(2, 9_000)
    torch.testing.assert_close(again.eval()(waveform).logits, model(waveform).logits)
    nn.init.zeros_(again.conditioning.weight)
    assert not torch.allclose(again(waveform).logits, model(waveform).logits, atol=1e-3)
    saved = load_saved(tmp_path / "model").built.model
    row = row_of(clips())
    torch.testing.assert_close(forward.ctc_logits(saved, row), forward.ctc_logits(model, row))


def test_a_new_head_keeps_what_was_said_of_its_phones(tmp_path: Path) -> None:
    before = exported(tmp_path / "model", ["a", "b", "tʃ"])
    old = PhoneTokenizer.from_inventory(["a", "b", "tʃ"], "original")
    new = PhoneTokenizer.from_inventory(["a", "d", "tʃ"], "original")
    base = ModelConfig(base=str(tmp_path / "model"))
    built: Any = build_model(base, MaskConfig(), DataConfig(), new, 1, conditioned_layers=[1])
    made, had = built.model.conditioning.weight, before.conditioning.weight
    assert built.model.config.conditioned_layers == [1]
    assert made.shape == (32, len(new.tokens))
    for token in ("a", "tʃ"):
        assert torch.equal(made[:, new.ids[token]], had[:, old.ids[token]])
    assert torch.equal(made[:, new.blank_id], had[:, old.blank_id])
    assert not made[:, new.ids["d"]].any()
    with pytest.raises(UserError, match="self-conditioned after layers 1, 2"):
        build_model(base, MaskConfig(), DataConfig(), new, 1)


def test_other_families_and_damaged_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is of type 'wav2vec2-bert'"):
        self_conditioned_config(network("wav2vec2-bert").config, [1], "x")
    model = exported(tmp_path / "model", ["a", "b"])
    with pytest.raises(UserError, match="its encoder is another one"):
        check_plain(model.config, "x")
    check_plain(network("wavlm-large").config, "x")
    file = tmp_path / "model" / "config.json"
    for wrong in ("[1, 3]", '["x"]', "[0]", "7"):
        text = file.read_text(encoding="utf-8")
        start, end = (
            text.index('"conditioned_layers": ') + 22,
            text.index("]", text.index('"conditioned_layers": ')) + 1,
        )
        (tmp_path / "model" / "config.json").write_text(text[:start] + wrong + text[end:], encoding="utf-8")
        with pytest.raises(UserError):
            load_saved(tmp_path / "model")
        file.write_text(text, encoding="utf-8")
