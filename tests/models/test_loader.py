"""What a model folder may not bring: code, kernels, absurd sizes, weights that are no numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from benchmark.setting import Setting, write_model
from safetensors.torch import load_file, save_file

from unispeech_ft.errors import UserError
from unispeech_ft.models.build import build_model, read_model_config
from unispeech_ft.models.loader import load_network, read_config
from unispeech_ft.models.saved import load_saved


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    made = Setting("tiny", "cpu", "no", tmp_path, num_utterances=2)
    write_model(made)
    return made


def change(folder: Path, **values: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text(encoding="utf-8")) | values), encoding="utf-8")


def test_code_kernels_and_quantisation_of_a_folder_are_not_obeyed(
    setting: Setting, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("it asked"))
    code = f"open({str(tmp_path / 'ran')!r}, 'w').close()\nclass C: pass\n"
    (setting.model_folder / "evil.py").write_text(code, encoding="utf-8")
    change(
        setting.model_folder,
        auto_map={"AutoConfig": "evil.C", "AutoModelForCTC": "evil.C"},
        attn_implementation="someone/kernels",
        quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True},
    )
    config = setting.config()
    built = build_model(config.model, config.mask, config.data, setting.tokenizer, config.seed)
    assert not (tmp_path / "ran").exists()
    assert not hasattr(built.model.config, "quantization_config")
    [line] = {line for line in capsys.readouterr().err.splitlines() if "obeyed" in line}
    assert "auto_map, attn_implementation, quantization_config, which is not obeyed" in line


@pytest.mark.parametrize(
    "values",
    [
        {"num_attention_heads": 0},
        {"hidden_size": -1},
        {"hidden_size": 10**9},
        {"vocab_size": 300_000_000},
        {"conv_stride": [0, 2]},
        {"conv_dim": [32] * 500},
        {"hidden_size": "many"},
        {"hidden_size": True},
        {"num_hidden_layers": 2.5},
    ],
)
def test_sizes_that_no_network_has(setting: Setting, values: dict[str, Any]) -> None:
    change(setting.model_folder, **values)
    with pytest.raises(UserError, match=r"config\.json") as refused:
        read_config(setting.model_folder, "the model")
    assert len(refused.value.what) < 400


@pytest.mark.parametrize("text", ["", "[]", "{", '"x"', "null", '{"model_type": 3}', '{"model_type": "nothing"}'])
def test_configurations_that_are_none(setting: Setting, text: str) -> None:
    (setting.model_folder / "config.json").write_text(text, encoding="utf-8")
    with pytest.raises(UserError):
        read_model_config(setting.config().model)
    with pytest.raises(UserError):
        load_saved(setting.model_folder)


def test_weights_that_are_not_finite_are_refused(setting: Setting) -> None:
    file = setting.model_folder / "model.safetensors"
    weights = load_file(file)
    name = next(name for name in weights if "layers.0" in name)
    weights[name][0] = float("nan")
    save_file(weights, file, metadata={"format": "pt"})
    config = setting.config()
    with pytest.raises(UserError, match="not finite"):
        build_model(config.model, config.mask, config.data, setting.tokenizer, config.seed)
    assert not torch.isfinite(weights[name]).all()


def test_what_the_files_lack_need_not_be_finite_yet(setting: Setting) -> None:
    class Loaded:
        """Its weights are not written to before the caller starts them."""

        @staticmethod
        def from_pretrained(*_: Any, **__: Any) -> tuple[torch.nn.Module, dict[str, Any]]:
            network = torch.nn.ModuleDict({"encoder": torch.nn.Linear(2, 2), "head": torch.nn.Linear(2, 2)})
            torch.nn.init.constant_(network["head"].weight, float("nan"))
            mismatched = {("head.weight", (2, 2), (3, 3))}
            return network, {"missing_keys": {"head.bias"}, "mismatched_keys": mismatched}

    name = str(setting.model_folder)
    config = read_config(setting.model_folder, name)
    _, missing = load_network(Loaded, name, config, heads=("head",))
    assert missing == ["head.bias", "head.weight"]
