"""Adapters: they start as the base model, what reads `.weight` sees them, and merged they are stock layers."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from running import TINY_MODEL, merged
from transformers import AutoConfig, AutoModelForCTC, PreTrainedModel

from unispeech_ft.config.labelled import AdapterConfig
from unispeech_ft.data.row import Row, row_of
from unispeech_ft.errors import UserError
from unispeech_ft.models.adapters import MODULES, add_adapters, has_adapters, merge_adapters
from unispeech_ft.models.families import backbone
from unispeech_ft.models.forward import ctc_logits
from unispeech_ft.models.fused_layers import copied, copies_of
from unispeech_ft.models.graph_rooms import Room
from unispeech_ft.models.layer_graphs import give_rooms
from unispeech_ft.models.parts import weight_of
from unispeech_ft.tasks.ctc_phoneme.config import CtcPhonemeConfig

EVERYWHERE = tuple(MODULES)
BERT: dict[str, Any] = {
    "model_type": "wav2vec2-bert",
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "feature_projection_input_dim": 16,
    "add_adapter": False,
}


def network_of(kind: str = "unispeech") -> PreTrainedModel:
    settings: dict[str, Any] = BERT if kind == "wav2vec2-bert" else merged(TINY_MODEL, {"model_type": kind})
    torch.manual_seed(3)
    rest = {key: value for key, value in settings.items() if key != "model_type"}
    network: PreTrainedModel = AutoModelForCTC.from_config(AutoConfig.for_model(kind, vocab_size=9, **rest)).eval()
    network.config.layerdrop = 0.0
    return network


def lora(**changes: Any) -> AdapterConfig:
    return AdapterConfig.model_validate({"kind": "lora", "rank": 4, "where": EVERYWHERE} | changes)


def row() -> Row:
    random = np.random.default_rng(5)
    return row_of([random.normal(size=(n, 16)).astype(np.float32) for n in (9, 23)])


def disturb(network: PreTrainedModel) -> None:
    """Makes what trains another, as training does."""
    torch.manual_seed(11)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter), alpha=0.3)


def factors(module: Any) -> tuple[torch.nn.Parameter, torch.nn.Parameter]:
    """`B` and `A` of peft's layer."""
    return module.lora_B["default"].weight, module.lora_A["default"].weight


@pytest.mark.parametrize("kind", ["unispeech", "wavlm", "wav2vec2-bert"])
def test_from_the_base_model_to_stock_layers(kind: str) -> None:
    network = network_of(kind)
    names = network.state_dict().keys()
    with torch.no_grad():
        before = ctc_logits(network, row())
        add_adapters(network, lora(), 1)
        assert torch.equal(ctc_logits(network, row()), before), "the first forward pass is the base model's"
        disturb(network)
        learnt = ctc_logits(network, row())
        assert (learnt - before).abs().max() > 0.1
        merge_adapters(network)
        assert not has_adapters(network)
        assert torch.equal(ctc_logits(network, row()), learnt)
    assert network.state_dict().keys() == names


@pytest.mark.parametrize("where", [("query", "value"), EVERYWHERE])
@pytest.mark.parametrize("norms", [False, True])
def test_what_trains(where: tuple[str, ...], norms: bool) -> None:
    network = network_of().train()
    said = add_adapters(network, lora(where=where, norms=norms), 1)
    disturb(network)
    ctc_logits(network, row(), encoder_trains=True).square().sum().backward()
    got = {name for name, parameter in network.named_parameters() if parameter.grad is not None}
    assert got == {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    adapters = {name for name in got if "lora_" in name}
    assert len(adapters) == 3 * 2 * sum(2 if place == "feed_forward" else 1 for place in where)
    rest = got - adapters
    assert {name for name in rest if "norm" not in name} == {"lm_head.weight", "lm_head.bias"}
    assert any("norm" in name for name in rest) == norms
    assert f"{len(adapters) // 2} projections of rank 4" in said


def test_against_plain_products() -> None:
    """Gradients of a projection's adapter, from those of a weight that trains whole."""
    network = network_of()
    add_adapters(network, lora(rank=3, alpha=12.0), 1)
    disturb(network)
    ctc_logits(network, row(), encoder_trains=True).square().sum().backward()
    name = "encoder.layers.1.attention.v_proj"
    up, down = factors(backbone(network).get_submodule(name))
    whole = network_of()
    whole.load_state_dict(network.state_dict(), strict=False)
    with torch.no_grad():
        for path, module in backbone(network).named_modules():
            if hasattr(module, "lora_A"):
                b, a = factors(module)
                backbone(whole).get_submodule(path).weight.copy_(module.base_layer.weight + 4.0 * b @ a)
    ctc_logits(whole, row(), encoder_trains=True).square().sum().backward()
    gradient = backbone(whole).get_submodule(name).weight.grad
    torch.testing.assert_close(up.grad, 4.0 * gradient @ down.T, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(down.grad, 4.0 * up.T @ gradient, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["unispeech", "wav2vec2-bert"])
def test_stock_layers_around_which_peft_stands_say_the_same(kind: str) -> None:
    """Transformers' own forward pass calls peft's layers; `weight_of` is what they multiply with."""
    network = network_of(kind)
    add_adapters(network, lora(), 1)
    disturb(network)
    clip = torch.randn(1, 16, 16) if kind == "wav2vec2-bert" else torch.randn(1, 16_000)
    with torch.no_grad():
        learnt = network(clip).logits
        merge_adapters(network)
        torch.testing.assert_close(network(clip).logits, learnt, rtol=1e-4, atol=1e-4)


def test_a_product_of_full_rank_reaches_any_weight() -> None:
    network = network_of()
    add_adapters(network, lora(rank=32, alpha=32.0, where=("query",)), 1)
    module: Any = backbone(network).encoder.layers[0].attention.q_proj
    wanted = torch.randn(32, 32)
    up, down = factors(module)
    with torch.no_grad():
        up.copy_((wanted - module.weight) @ torch.linalg.inv(down))
    torch.testing.assert_close(weight_of(module), wanted, rtol=1e-3, atol=1e-3)


def test_in_16_bits_what_trains_is_what_is_merged() -> None:
    network = network_of()
    add_adapters(network, lora(), 1)
    disturb(network)
    attention: Any = backbone(network).encoder.layers[0].attention
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = weight_of(attention.q_proj).detach().clone()
    merge_adapters(network)
    assert torch.equal(attention.q_proj.weight, inside)


def test_copies_for_triton_hold_what_was_learnt() -> None:
    network = network_of()
    add_adapters(network, lora(), 1)
    disturb(network)
    layers = list(backbone(network).encoder.layers)
    copies = copies_of(layers, torch.float32)
    merge_adapters(network)
    for copy, original in zip(*copied(copies, layers), strict=True):
        assert torch.equal(copy, original)


def test_no_graph_keeps_weights_that_are_computed_anew() -> None:
    network: Any = network_of()
    give_rooms(network, (Room(128, 2, 64),), training=True)
    assert network.layer_graphs
    add_adapters(network, lora(), 1)
    give_rooms(network, (Room(128, 2, 64),), training=True)
    assert not network.layer_graphs
    merge_adapters(network)
    give_rooms(network, (Room(128, 2, 64),), training=False)
    assert network.layer_graphs


def test_checkpointed_layers_give_the_same_gradients() -> None:
    found = []
    for checkpointing in (False, True):
        network = network_of()
        if checkpointing:
            network.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        add_adapters(network, lora(), 1)
        disturb(network)
        for module in network.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        network.train()
        ctc_logits(network, row(), encoder_trains=True).square().sum().backward()
        found.append({name: p.grad for name, p in network.named_parameters() if p.grad is not None})
    torch.testing.assert_close(found[1], found[0], rtol=1e-5, atol=1e-5)


def test_a_rank_above_the_weights() -> None:
    with pytest.raises(UserError, match=r"adapter\.rank is 33, but the weights have a rank of 32"):
        add_adapters(network_of(), lora(rank=33), 1)


def test_without_peft(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    said = (
        r"adapter.kind lora needs peft, which is not installed: pip install 'unispeech-ft\[adapters\]', or use adapter"
    )
    with pytest.raises(UserError, match=said):
        add_adapters(network_of(), lora(), 1)


def test_what_starts_at_random_is_of_the_seed_alone() -> None:
    found = []
    for seed, disturbed in ((1, 5), (1, 6), (2, 6)):
        network = network_of()
        torch.manual_seed(disturbed)
        add_adapters(network, lora(), seed)
        found.append(factors(backbone(network).encoder.layers[1].attention.k_proj)[1])
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[1], found[2])


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"adapter": {"rank": 8}}, "adapter is given without its kind"),
        ({"adapter": {"kind": "lora", "where": ["query", "query"]}}, "names a projection twice"),
        ({"adapter": {"kind": "lora", "where": []}}, "names no projection"),
        ({"adapter": {"kind": "lora"}, "model": {"from_scratch": True}}, "the encoder starts at random"),
        ({"adapter": {"kind": "lora"}, "probe": {"enabled": True}}, "adapter.kind is lora"),
    ],
)
def test_faults(settings: dict[str, Any], said: str) -> None:
    checks = CtcPhonemeConfig.model_validate(settings).checks()
    assert [what for wrong, what, _ in checks if wrong and said in what]
    plain = CtcPhonemeConfig.model_validate({"adapter": {"kind": "lora"}}).checks()
    assert not [what for wrong, what, _ in plain if wrong and "adapter" in what]


def test_another_base_family_has_the_same_places(tmp_path: Path) -> None:
    network = network_of("hubert")
    add_adapters(network, lora(), 1)
    merge_adapters(network)
    network.save_pretrained(tmp_path)
    _, info = AutoModelForCTC.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
