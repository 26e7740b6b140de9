"""What conversion decides, on small checkpoints made here; parity with the original code is in its own file."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from originals import (
    DICTIONARY,
    PHONES,
    encoder_shapes,
    fine_tuned,
    foreign_class,
    pretrained,
    random_tensors,
    save,
    settings,
)
from safetensors.torch import load_file

from unispeech_ft.convert.convert import convert, plan_conversion
from unispeech_ft.convert.reading import open_original
from unispeech_ft.errors import UserError
from unispeech_ft.models.saved import load_saved

Command = Callable[..., tuple[int | str | None, str, str]]


def _config(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "config.json").read_text(encoding="utf-8"))


def _converted(content: Any, folder: Path, **options: Any) -> Path:
    convert(save(content, folder / "checkpoint.pt", **options), folder / "out")
    return folder / "out"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.float32])
@pytest.mark.parametrize("legacy", [False, True])
def test_tensors_are_read_as_torch_reads_them(tmp_path: Path, dtype: torch.dtype, legacy: bool) -> None:
    storage = torch.randn(60, generator=torch.Generator().manual_seed(1)).to(dtype)
    tensors = {
        "whole": storage.view(6, 10),
        "part": storage[7:19],
        "turned": storage.view(6, 10).T,
        "none": storage[:0],
    }
    tensors["number"] = storage[3].clone()
    tensors["parameter"] = torch.nn.Parameter(storage[:4].clone())
    original = open_original(save({"model": tensors}, tmp_path / "checkpoint.pt", legacy=legacy))
    for name, tensor in tensors.items():
        read = torch.tensor(original.read(original.content["model"][name]))
        assert torch.equal(read, tensor.detach().float()), name


@pytest.mark.parametrize("legacy", [False, True])
def test_fairseqs_old_style_converts(tmp_path: Path, legacy: bool) -> None:
    content = {"args": argparse.Namespace(**settings("wav2vec2", arch="wav2vec2"), normalize=False)}
    content |= {"cfg": None, "model": random_tensors(encoder_shapes())}
    out = _converted(content, tmp_path, legacy=legacy)
    assert _config(out)["architectures"] == ["Wav2Vec2Model"]
    assert json.loads((out / "preprocessor_config.json").read_text())["do_normalize"] is False


def test_omegaconf_is_understood_without_omegaconf(tmp_path: Path) -> None:
    with (
        foreign_class("omegaconf.dictconfig.DictConfig") as container,
        foreign_class("omegaconf.nodes.AnyNode") as node,
    ):

        def wrapped(value: Any) -> Any:
            made = (container if isinstance(value, dict) else node)()
            if isinstance(value, dict):
                made.__dict__ |= {"_content": {key: wrapped(item) for key, item in value.items()}, "_parent": None}
            else:
                made.__dict__ |= {"_val": value, "_parent": made}
            return made

        content = fine_tuned()
        content["cfg"]["model"]["normalize"] = "${task.normalize}"
        content["cfg"] = wrapped(content["cfg"])
        file = save(content, tmp_path / "checkpoint.pt")
    plan = plan_conversion(file)
    assert plan.target.class_name == "UniSpeechForCTC"
    assert plan.normalize is True
    assert plan.config.mask_time_prob == 0.75


def test_a_fine_tuning_overrides_its_pre_training(tmp_path: Path) -> None:
    config = _config(_converted(fine_tuned(), tmp_path))
    assert (config["mask_time_prob"], config["layerdrop"], config["final_dropout"]) == (0.75, 0.1, 0.2)
    assert (config["hidden_dropout"], config["feat_proj_dropout"], config["mask_time_length"]) == (0.1, 0.1, 10)
    assert config["ctc_zero_infinity"] is True


@pytest.mark.parametrize(
    ("said", "told", "key", "value"),
    [
        ({"conv_bias": True}, "conv_bias: the configuration says True, the tensors False", "conv_bias", False),
        ({"encoder_layers": 12}, "encoder_layers: the configuration says 12, the tensors 2", "num_hidden_layers", 2),
        ({"encoder_embed_dim": 768}, "encoder_embed_dim: the configuration says 768", "hidden_size", 16),
        ({"conv_pos": 128}, "conv_pos: the configuration says 128, the tensors 8", "num_conv_pos_embeddings", 8),
        (
            {"extractor_mode": "default"},
            "extractor_mode: the configuration says 'default'",
            "feat_extract_norm",
            "layer",
        ),
        ({"conv_feature_layers": "[(9, 10, 5)] * 3"}, "conv_feature_layers: ", "conv_kernel", [10, 3, 3]),
    ],
)
def test_where_they_disagree_the_tensors_win_and_it_is_said(
    said: dict, told: str, key: str, value: object, command: Command, tmp_path: Path
) -> None:
    file = save(pretrained(**said), tmp_path / "checkpoint.pt")
    status, _, err = command("convert", file, tmp_path / "out")
    assert status == 0
    assert f"warning: {told}" in err
    assert _config(tmp_path / "out")[key] == value
    assert told in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")


def test_what_neither_says_is_an_error_or_told(command: Command, tmp_path: Path) -> None:
    lacking = pretrained(encoder_attention_heads=None, layer_norm_first=None)
    _, _, err = command("convert", save(lacking, tmp_path / "a.pt"), tmp_path / "a")
    assert "lacks encoder_attention_heads, layer_norm_first, which no tensor shows" in err
    silent = pretrained(dropout=None)
    del silent["cfg"]["task"]
    status, _, err = command("convert", save(silent, tmp_path / "b.pt"), tmp_path / "b")
    assert status == 0
    assert "fairseq's defaults: dropout 0.1" in err
    assert "does not say whether waveforms were normalised" in err


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda model: model.pop("encoder.layers.1.fc2.bias"), "are missing: unispeech"),
        (lambda model: model.pop("encoder.layers.0.fc1.weight"), "the checkpoint lacks encoder.layers.0.fc1.weight"),
        (lambda model: model.update({"encoder.layers.1.adapter.weight": torch.zeros(2)}), "are unknown: w2v_encoder"),
        (lambda model: model.update({"encoder.layers.1.fc2.bias": torch.zeros(2)}), "have the wrong shape: "),
        (lambda model: model.update({"encoder.layers.3.fc2.bias": torch.zeros(2)}), r"lacks encoder.layers.2"),
    ],
)
def test_tensors_that_matter_are_errors(change: Callable, told: str, tmp_path: Path) -> None:
    content, prefix = fine_tuned(), "w2v_encoder.w2v_model."
    inner = {name.removeprefix(prefix): tensor for name, tensor in content["model"].items()}
    change(inner)
    heads = ("w2v_encoder.proj.weight", "w2v_encoder.proj.bias")
    content["model"] = {name if name in heads else prefix + name: tensor for name, tensor in inner.items()}
    with pytest.raises(UserError, match=told):
        plan_conversion(save(content, tmp_path / "checkpoint.pt"))


def test_unused_and_added_tensors_are_listed(command: Command, tmp_path: Path) -> None:
    content = pretrained("ils_hubert", relative_position_embedding=True, max_distance=20)
    content["model"]["encoder.layers.0.self_attn.relative_attention_bias.weight"] = torch.randn(8, 2)
    content["model"] |= {"label_embs_concat": torch.zeros(2, 5, 4), "post_layer_norm.0.weight": torch.zeros(16)}
    status, out, _ = command("convert", save(content, tmp_path / "checkpoint.pt"), tmp_path / "out")
    assert status == 0
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    for text in (out, card):
        assert "has no place for: `label_embs_concat`, `post_layer_norm.0.weight`" in text
        assert "the original never applies it: `encoder.layer_norm.weight`, `encoder.layer_norm.bias`" in text
        assert "at values that change nothing: `encoder.layers.0.attention.gru_rel_pos_const`" in text


def test_an_encoder_as_wide_as_its_extractor_is_not_projected(tmp_path: Path) -> None:
    content = pretrained(conv_feature_layers="[(16, 10, 5)] + [(16, 3, 2)] * 2")
    content["model"] = random_tensors(encoder_shapes(channels=16))
    weights = load_file(_converted(content, tmp_path) / "model.safetensors")
    assert torch.equal(weights["feature_projection.projection.weight"], torch.eye(16))
    assert not weights["feature_projection.projection.bias"].any()


def test_half_precision_becomes_single(command: Command, tmp_path: Path) -> None:
    content = pretrained()
    content["model"] = random_tensors(encoder_shapes(), torch.float16)
    assert "float16 became float32" in command("convert", save(content, tmp_path / "c.pt"), tmp_path / "out")[2]
    weights = load_file(tmp_path / "out" / "model.safetensors")
    assert torch.equal(weights["masked_spec_embed"], content["model"]["mask_emb"].float())


def _with_dictionary(content: dict[str, Any], symbols: tuple[str, ...], file: Path) -> Path:
    with foreign_class("fairseq.data.dictionary.Dictionary") as kind:
        made = kind()
        made.__dict__ |= {"symbols": list(symbols), "bos_word": "<s>"}
        return save(content | {"task_state": {"target_dictionary": made}}, file)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("dict.txt", "".join(f"{phone} 1\n" for phone in PHONES)),
        ("dict.json", json.dumps({phone: row for row, phone in enumerate(PHONES)})),
        ("whole.json", json.dumps({phone: row for row, phone in enumerate(DICTIONARY)})),
    ],
)
def test_a_dictionary_beside_the_file_names_the_rows(name: str, text: str, command: Command, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    file = save(fine_tuned(), tmp_path / "checkpoint.pt")
    status, out, err = command("convert", file, tmp_path / "out", "--dictionary", tmp_path / name)
    assert (status, err) == (0, "")
    assert "3 phones, blank 3" in out
    saved = load_saved(tmp_path / "out")
    assert saved.tokenizer.tokens == DICTIONARY
    assert saved.tokenizer.blank_token == "<s>"
    assert _config(tmp_path / "out")["pad_token_id"] == 3


def test_stock_fairseq_has_its_special_tokens_first(tmp_path: Path) -> None:
    (tmp_path / "dict.txt").write_text("".join(f"{phone} 1\n" for phone in PHONES), encoding="utf-8")
    plan = plan_conversion(save(fine_tuned(name="wav2vec2"), tmp_path / "checkpoint.pt"), tmp_path / "dict.txt")
    assert plan.tokenizer is not None
    assert plan.tokenizer.tokens == ("<s>", "<pad>", "</s>", "<unk>", *PHONES)


def test_the_files_own_dictionary_is_used_and_an_unused_token_is_no_phone(tmp_path: Path) -> None:
    symbols = ("a", "", "o:", *DICTIONARY[3:])
    convert(_with_dictionary(fine_tuned(), symbols, tmp_path / "checkpoint.pt"), tmp_path / "out")
    assert load_saved(tmp_path / "out").tokenizer.phones == ["a", "o:"]


def test_a_head_without_a_dictionary_is_told(command: Command, tmp_path: Path) -> None:
    status, _, err = command("convert", save(fine_tuned(), tmp_path / "checkpoint.pt"), tmp_path / "out")
    assert status == 0
    assert "no tokenizer is written; give --dictionary" in err
    assert not (tmp_path / "out" / "vocab.json").exists()


@pytest.mark.parametrize(
    ("rows", "inside", "text", "told"),
    [
        (9, None, "a 1\nb 1\nc 1\n", "the dictionary has 7 entries with its special tokens, the CTC head 9 rows"),
        (7, DICTIONARY, "a 1\nb 1\nc 1\n", "own dictionary differ"),
        (7, None, "a\n", "line 1 is not `phone count`"),
        (7, None, '{"a": 0, "b": 2}', "does not give phones the ids 0, 1, 2"),
        (7, None, '{"a": ', "neither text nor JSON"),
        (7, None, "a 1\na 1\nb 1\n", "cannot be phones: 'a'"),
        (None, None, "a 1\n", "the checkpoint has no CTC head"),
    ],
)
def test_dictionaries_that_do_not_fit(rows: int | None, inside: Any, text: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "dict").write_text(text, encoding="utf-8")
    content = pretrained() if rows is None else fine_tuned(rows)
    file = tmp_path / "checkpoint.pt"
    file = _with_dictionary(content, inside, file) if inside else save(content, file)
    with pytest.raises(UserError, match=told):
        plan_conversion(file, tmp_path / "dict")


def test_an_existing_folder_is_refused_and_stays(command: Command, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    status, _, err = command("convert", save(pretrained(), tmp_path / "checkpoint.pt"), tmp_path / "out")
    assert status == 2
    assert "exists already: name a new folder" in err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine"]


def test_out_appears_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = save(pretrained(), tmp_path / "checkpoint.pt")

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("unispeech_ft.convert.convert.save_processor", interrupted)
    with pytest.raises(KeyboardInterrupt):
        convert(file, tmp_path / "below" / "out")
    assert list(tmp_path.iterdir()) == [file]


def test_help_says_what_it_reads(command: Command) -> None:
    status, out, _ = command("convert", "--help")
    assert status == 0
    assert "--dictionary FILE" in out
    assert "ILS-SSL" in out
