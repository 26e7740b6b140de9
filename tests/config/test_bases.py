"""The base models that come as YAMLs: the recipe of `ky_1h` on the same lists, in shapes that can be trained here, and
a small one for small cards, whose memory is reckoned."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from running import REPOSITORY
from transformers import AutoConfig, AutoModelForCTC

from unispeech_ft.models.adapters import add_adapters
from unispeech_ft.models.families import backbone, check_family, frame_s
from unispeech_ft.runs.shipped import shipped
from unispeech_ft.tasks.ctc_phoneme.config import CtcPhonemeConfig, load_config
from unispeech_ft.training.passes import bytes_of_weights, bytes_per_frame

FOLDER = REPOSITORY / "configs" / "ctc_phoneme"
LARGE = {
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "intermediate_size": 4096,
    "num_attention_heads": 16,
    "do_stable_layer_norm": True,
    "feat_extract_norm": "layer",
    "conv_bias": True,
}
ONE_B = LARGE | {"hidden_size": 1280, "num_hidden_layers": 48, "intermediate_size": 5120}
# By YAML: the Hub id, the family, the shape as published, and millions of parameters.
BASES: dict[str, tuple[str, str, dict[str, Any], int]] = {
    "xls_r_300m": ("facebook/wav2vec2-xls-r-300m", "wav2vec2", LARGE, 316),
    "xls_r_1b": ("facebook/wav2vec2-xls-r-1b", "wav2vec2", ONE_B, 963),
    "xls_r_2b": (
        "facebook/wav2vec2-xls-r-2b",
        "wav2vec2",
        ONE_B | {"hidden_size": 1920, "intermediate_size": 7680},
        2159,
    ),
    "omniasr_300m": ("hf-audio/omniasr-ctc-300m-v2", "wav2vec2", LARGE, 316),
    "mms_300m": ("facebook/mms-300m", "wav2vec2", LARGE, 316),
    "mms_1b": ("facebook/mms-1b", "wav2vec2", ONE_B, 963),
    "mhubert_147": ("utter-project/mHuBERT-147", "hubert", {}, 94),
    "w2v_bert_2": ("facebook/w2v-bert-2.0", "wav2vec2-bert", {}, 581),
}


def network_of(kind: str, shape: dict[str, Any]) -> Any:
    """A network of a shape, without weights."""
    config = AutoConfig.for_model(kind, vocab_size=60, **shape)
    check_family(config, kind)
    with torch.device("meta"):
        network = AutoModelForCTC.from_config(config)
    if kind != "wav2vec2-bert":
        backbone(network).feature_extractor._freeze_parameters()
    return network


def settings_of(config: CtcPhonemeConfig) -> dict[str, Any]:
    """All but the model and where the run lies."""
    found = config.model_dump(exclude={"output_dir"})
    return found | {"model": {key: value for key, value in found["model"].items() if key != "base"}}


@pytest.mark.parametrize("name", BASES)
def test_a_base_is_a_yaml_on_the_same_lists(name: str) -> None:
    base, kind, shape, millions = BASES[name]
    given = {"data.root": "ky"}
    config = load_config(FOLDER / f"ky_1h_{name}.yaml", given)
    assert config.model.base == base
    assert config.output_dir == f"runs/ky_1h_{name}"
    assert settings_of(config) == settings_of(load_config(FOLDER / "ky_1h.yaml", given))
    assert f"ctc_phoneme/ky_1h_{name}" in [item.name for item in shipped()]
    count = sum(parameter.numel() for parameter in network_of(kind, shape).parameters())
    assert count / 1e6 == pytest.approx(millions, abs=1)


def reckoned(config: CtcPhonemeConfig, network: Any, *, fused: bool) -> float:
    """GB that weights and one pass take, by `training.passes`."""
    shape, step_s = network.config, frame_s(network.config)
    seconds = config.training.seconds_per_pass or config.batch.seconds_per_micro_batch
    a_frame = bytes_per_frame(
        shape,
        round(config.data.max_duration_s / step_s),
        fused=fused,
        in_16_bits=True,
        checkpointed=config.model.gradient_checkpointing,
    )
    weights = 4 * sum(parameter.numel() for parameter in network.parameters())
    return float(weights + bytes_of_weights(network) + a_frame * seconds / step_s) / 1e9


@pytest.mark.parametrize("kind", ["wav2vec2", "hubert", "wavlm", "unispeech-sat"])
@pytest.mark.parametrize("fused", [True, False])
def test_a_small_card_holds_the_preset(kind: str, fused: bool) -> None:
    config = load_config(FOLDER / "ky_1h_12gb.yaml", {"data.root": "ky"})
    network = network_of(kind, LARGE)
    network.to_empty(device="cpu")  # its weights are never looked at
    assert "48 projections of rank 16; 1.6 M of" in add_adapters(network, config.adapter, 1)
    assert reckoned(config, network, fused=fused) < 4
    assert "bf16" in (FOLDER / "ky_1h_12gb.yaml").read_text(encoding="utf-8").splitlines()[0]


@pytest.mark.parametrize(("name", "gb"), [("xls_r_1b", 25), ("mms_1b", 25), ("xls_r_2b", 50)])
def test_what_a_large_one_takes_is_said(name: str, gb: int) -> None:
    _, kind, shape, _ = BASES[name]
    file = FOLDER / f"ky_1h_{name}.yaml"
    assert f"by reckoning {gb} GB" in file.read_text(encoding="utf-8")
    assert reckoned(load_config(file, {"data.root": "ky"}), network_of(kind, shape), fused=True) == pytest.approx(
        gb, abs=1
    )


def test_checkpointing_keeps_less_and_both_grow_with_the_model() -> None:
    small, large = (network_of("wav2vec2", shape).config for shape in (LARGE, ONE_B))
    for fused in (True, False):
        plain, checkpointed = (
            [bytes_per_frame(c, 500, fused=fused, in_16_bits=True, checkpointed=once) for c in (small, large)]
            for once in (False, True)
        )
        assert 3 * checkpointed[0] < plain[0] < plain[1]
        assert checkpointed[0] < checkpointed[1]
