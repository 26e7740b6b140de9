"""Bottleneck adapters: they start as the base model, are Transformers' own, and stand only where it has a place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from running import merged
from test_adapters import disturb, network_of, row
from transformers import AutoModelForCTC, PreTrainedModel

from unispeech_ft.config.labelled import AdapterConfig
from unispeech_ft.errors import UserError
from unispeech_ft.models.adapters import add_adapters, count_trained, merge_adapters
from unispeech_ft.models.families import backbone
from unispeech_ft.models.forward import ctc_logits
from unispeech_ft.tasks.ctc_phoneme.config import CtcPhonemeConfig

WITH_PLACE = ("unispeech", "unispeech-sat", "hubert", "wav2vec2")


def narrow(**changes: Any) -> AdapterConfig:
    return AdapterConfig.model_validate(merged({"kind": "bottleneck", "rank": 4}, changes))


@pytest.mark.parametrize("kind", WITH_PLACE)
def test_from_the_base_model_to_plain_transformers(kind: str, tmp_path: Path) -> None:
    network = network_of(kind)
    with torch.no_grad():
        before = ctc_logits(network, row())
        said = add_adapters(network, narrow(), 1)
        assert torch.equal(ctc_logits(network, row()), before), "the first forward pass is the base model's"
        disturb(network)
        learnt = ctc_logits(network, row())
        assert (learnt - before).abs().max() > 0.1
        merge_adapters(network)
        network.save_pretrained(tmp_path)
        opened, info = AutoModelForCTC.from_pretrained(tmp_path, output_loading_info=True)
        assert not info["missing_keys"]
        assert not info["unexpected_keys"]
        assert torch.equal(ctc_logits(opened.eval(), row()), learnt)
    assert said.startswith("adapters: 3 bottlenecks of 4 channels; ")


@pytest.mark.parametrize("norms", [None, False])
def test_what_trains(norms: bool | None) -> None:
    network = network_of().train()
    add_adapters(network, narrow(**({} if norms is None else {"norms": norms})), 1)
    disturb(network)
    ctc_logits(network, row(), encoder_trains=True).square().sum().backward()
    got = {name for name, parameter in network.named_parameters() if parameter.grad is not None}
    assert got == {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    adapters = {name for name in got if "adapter_layer" in name}
    assert len(adapters) == 3 * 6
    norms_of_the_encoder = {name for name in got - adapters if "norm" in name}
    assert bool(norms_of_the_encoder) == (norms is None), "Houlsby et al. train them as well"
    assert got - adapters - norms_of_the_encoder == {"lm_head.weight", "lm_head.bias"}


def test_the_seed_alone_decides_where_they_start() -> None:
    def starts(seed: int, drawn_before: int) -> list[torch.Tensor]:
        network = network_of()
        torch.manual_seed(drawn_before)
        add_adapters(network, narrow(), seed)
        return [layer.adapter_layer.linear_1.weight for layer in backbone(network).encoder.layers]

    first, again, other = starts(1, 1), starts(1, 2), starts(2, 1)
    assert all(torch.equal(one, two) for one, two in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])
    assert not torch.equal(first[0], first[1])


def without_place(kind: str) -> PreTrainedModel:
    if kind != "unispeech, norms last":
        return network_of(kind)
    network = network_of("unispeech")
    changes = {"do_stable_layer_norm": False, "feat_extract_norm": "layer"}
    return AutoModelForCTC.from_config(type(network.config).from_dict(network.config.to_dict() | changes))


@pytest.mark.parametrize("kind", ["wavlm", "wav2vec2-bert", "unispeech, norms last"])
def test_families_without_a_place_are_refused(kind: str) -> None:
    network = without_place(kind)
    with pytest.raises(UserError, match="no place for one in the layers of this") as found:
        add_adapters(network, narrow(), 1)
    assert "set adapter.kind lora" in str(found.value.remedy)
    assert getattr(network.config, "adapter_attn_dim", None) is None


def test_bottlenecks_of_the_base_model_train_on(tmp_path: Path) -> None:
    network = network_of()
    add_adapters(network, narrow(), 1)
    disturb(network)
    network.save_pretrained(tmp_path)
    opened = AutoModelForCTC.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        before = ctc_logits(opened, row())
        assert "3 bottlenecks of 4 channels, the base model's own" in add_adapters(opened, narrow(), 2)
        assert torch.equal(ctc_logits(opened, row()), before)
    assert count_trained(opened) == count_trained(network)
    with pytest.raises(UserError, match=r"adapter\.rank is 8, but the base model has bottlenecks of 4"):
        add_adapters(AutoModelForCTC.from_pretrained(tmp_path), narrow(rank=8), 1)


def test_counted_without_weights() -> None:
    counts = []
    for settings in (narrow(), AdapterConfig(kind="lora", rank=4)):
        with torch.device("meta"):
            shape = AutoModelForCTC.from_config(network_of().config)
        real = network_of()
        for network in (shape, real):
            add_adapters(network, settings, 1)
        assert count_trained(shape) == count_trained(real)
        counts.append(count_trained(real))
    bottleneck = 2 * 32 + 4 * 32 + 4 + 32 * 4 + 32
    norms = 3 * 2 * 2 * 32 + 2 * 32
    head = 9 * 32 + 9
    assert counts[0][0] == 3 * bottleneck + norms + head
    assert counts[1][0] == 3 * 2 * 2 * 4 * 32 + head


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"adapter": {"kind": "bottleneck", "alpha": 8.0}}, "adapter.alpha or adapter.where is given"),
        ({"adapter": {"kind": "bottleneck", "where": ["key"]}}, "adapter.alpha or adapter.where is given"),
        ({"adapter": {"kind": "bottleneck"}, "model": {"from_scratch": True}}, "the encoder starts at random"),
        ({"adapter": {"kind": "bottleneck"}, "probe": {"enabled": True}}, "adapter.kind is bottleneck"),
        ({"adapter": {"kind": "bottleneck", "rank": 64}}, ""),
        ({"adapter": {"kind": "bottleneck", "norms": False}}, ""),
    ],
)
def test_faults(settings: dict[str, Any], said: str) -> None:
    checks = CtcPhonemeConfig.model_validate(settings).checks()
    found = [what for wrong, what, _ in checks if wrong and "adapter" in what]
    assert bool(found) == bool(said)
    assert all(said in what for what in found)
