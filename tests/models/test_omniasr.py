"""OmniASR's encoders as wav2vec 2.0: what they say of a clip, a run from one, and faults."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from running import TINY_MODEL, merged, must_run, tiny_settings, write_settings
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoModelForCTC, Wav2Vec2ForCTC

from unispeech_ft.data.row import row_of
from unispeech_ft.errors import UserError
from unispeech_ft.models.families import backbone, check_family
from unispeech_ft.models.forward import encode
from unispeech_ft.models.loader import load_network, read_config
from unispeech_ft.models.omniasr import SHAPE

omni: Any = pytest.importorskip("transformers.models.omniasr_ctc", reason="a Transformers that lacks OmniASR")
encoders: Any = pytest.importorskip("transformers.models.omniasr")


@pytest.fixture(params=[True, False], ids=["with its head", "encoder alone"])
def omniasr(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    audio = encoders.OmniASRAudioConfig(**{name: TINY_MODEL[name] for name in SHAPE if name in TINY_MODEL})
    torch.manual_seed(3)
    made: Any = omni.OmniASRForCTC(omni.OmniASRCTCConfig(audio_config=audio, vocab_size=11)) if request.param else None
    made = made or encoders.OmniASRAudioModel(audio)
    with torch.no_grad():  # norms and biases that are not 1 and 0 as at the start
        for parameter in made.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    made.save_pretrained(tmp_path / "omniasr")
    encoders.OmniASRFeatureExtractor().save_pretrained(tmp_path / "omniasr")
    return tmp_path / "omniasr"


def heard(folder: Path, clip: torch.Tensor) -> torch.Tensor:
    """What Transformers' own class gives before the head, `[T, C]`."""
    network: Any = AutoModel.from_pretrained(folder).eval()
    return network(clip[None, None]).last_hidden_state[0].detach()


@pytest.mark.parametrize("model_class", [AutoModelForCTC, AutoModel])
def test_it_hears_what_the_original_hears(omniasr: Path, model_class: Any) -> None:
    config = read_config(omniasr, "omniasr")
    check_family(config, "omniasr")
    config.vocab_size, config.hidden_dropout = 5, 0.37
    network, missing = load_network(model_class, str(omniasr), config, heads=("lm_head",))
    assert missing == (["lm_head.bias", "lm_head.weight"] if model_class is AutoModelForCTC else [])
    network = network.eval()
    assert backbone(network).encoder.layers[0].dropout.p == 0.37, "of the configuration that is given"
    clip = torch.from_numpy(np.random.default_rng(2).normal(size=16_000).astype(np.float32))
    expected = heard(omniasr, clip)
    encoder = backbone(network)
    with torch.no_grad():
        torch.testing.assert_close(encoder(clip[None]).last_hidden_state[0], expected, rtol=1e-4, atol=1e-5)
        features = encoder.feature_extractor(clip[None])[0].T
        torch.testing.assert_close(encode(network, row_of([features.numpy()])), expected, rtol=1e-4, atol=1e-5)


def test_a_run_leaves_a_model_of_wav2vec2(omniasr: Path, tiny_speech: Path, tmp_path: Path) -> None:
    settings = merged(tiny_settings(tiny_speech, tmp_path), {"schedule": {"updates": 2}})
    settings["model"] = {"base": str(omniasr)}
    said = must_run("--config", write_settings(tmp_path / "omniasr.yaml", settings))
    assert "rows that start at random" in said
    network, info = AutoModelForCTC.from_pretrained(tmp_path / "run" / "model", output_loading_info=True)
    assert isinstance(network, Wav2Vec2ForCTC)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert json.loads((tmp_path / "run" / "model" / "preprocessor_config.json").read_text())["do_normalize"]


def test_a_download_that_is_incomplete(omniasr: Path) -> None:
    tensors = load_file(omniasr / "model.safetensors")
    name = next(name for name in tensors if name.endswith("layers.1.attention.k_proj.weight"))
    tensors.pop(name)
    save_file(tensors, omniasr / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match=r"lacks 1 tensors of the encoder \(.*encoder.layers.1.attention.k_proj.weight"):
        load_network(AutoModelForCTC, str(omniasr), read_config(omniasr, "o"), heads=("lm_head",))


def test_kernels_that_it_asks_for_are_not_obeyed(omniasr: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = omniasr / "config.json"
    asked = json.loads(file.read_text(encoding="utf-8"))
    asked.get("audio_config", asked)["attn_implementation"] = "somebody/kernels"
    file.write_text(json.dumps(asked), encoding="utf-8")
    network, _ = load_network(AutoModelForCTC, str(omniasr), read_config(omniasr, "o"), heads=("lm_head",))
    assert isinstance(network, Wav2Vec2ForCTC)
    assert "attn_implementation, which is not obeyed" in capsys.readouterr().err
