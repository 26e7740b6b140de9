"""ONNX export: ragged batches give PyTorch's logits, whatever the family, and what cannot be exported says so."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import unispeech_ft.hub.onnx as hub_onnx
from unispeech_ft.errors import UserError
from unispeech_ft.hub.onnx import WaveformToLogits, compared_batches, largest_difference, onnx_logits, pytorch_logits
from unispeech_ft.models.build import BuiltModel
from unispeech_ft.models.front_end import FrontEnd
from unispeech_ft.models.saved import SavedModel
from unispeech_ft.phonemes.tokenizer import PhoneTokenizer

FAMILIES = ("unispeech", "unispeech-sat", "wavlm", "wav2vec2", "hubert")
SHAPE = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "conv_dim": [32, 32, 16],
    "conv_kernel": [10, 3, 8],
    "conv_stride": [5, 8, 8],
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 4,
    "vocab_size": 20,
}


def tiny(family: str, norm: str) -> SavedModel:
    """A model of a family whose one-dimensional weights are no ones and zeros, so that a forgotten one shows."""
    from transformers import AutoConfig, AutoModelForCTC

    torch.manual_seed(0)
    config = AutoConfig.for_model(family, **SHAPE, feat_extract_norm=norm, do_stable_layer_norm=norm == "layer")
    network = AutoModelForCTC.from_config(config).eval().requires_grad_(False)
    for parameter in network.parameters():
        if parameter.dim() == 1:
            parameter.add_(0.3 * torch.randn_like(parameter))
    network.set_attn_implementation("eager")
    front_end = FrontEnd(network, norm == "layer", 1e-5)
    return SavedModel("tiny", BuiltModel(network, front_end, 20, 0), PhoneTokenizer(("<pad>",), "<pad>"))


@pytest.mark.parametrize("norm", ["layer", "group"])
@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_the_path_ignores_padding(family, norm):
    saved = tiny(family, norm)
    path = WaveformToLogits(saved).eval()
    for clips in compared_batches():
        waveforms = torch.full((len(clips), max(map(len, clips))), 0.5)
        for row, clip in zip(waveforms, clips, strict=True):
            row[: len(clip)] = torch.from_numpy(clip)
        logits, num_frames = path(waveforms, torch.tensor([len(clip) for clip in clips]))
        for clip, found, count in zip(clips, logits, num_frames, strict=True):
            wanted = pytorch_logits(saved, clip)
            assert len(wanted) == count
            np.testing.assert_allclose(found[:count], wanted, atol=1e-5)


@pytest.fixture(scope="module")
def graph(small_run, tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("onnx") / "model.onnx"
    facts = hub_onnx.export_onnx(small_run.model_dir, file)
    assert facts.max_difference <= 1e-4
    assert [len(batch) for batch in facts.batches_samples] == [1, 2, 3, 2]
    assert list(file.parent.iterdir()) == [file]
    return file


def test_real_speech_in_ragged_batches(graph, small_model, spoken_corpus):
    from unispeech_ft.data.audio import read_audio

    clips = [read_audio(path) for path in sorted((spoken_corpus / "ky" / "clips").glob("*.mp3"))[:4]]
    assert len({len(clip) for clip in clips}) > 1
    assert largest_difference(small_model, graph, [clips, clips[:1], clips[2:]]) < 1e-4
    alone, together = onnx_logits(graph, [clips[:1], clips])
    np.testing.assert_allclose(alone[0], together[0], atol=1e-5)


@pytest.mark.parametrize(
    ("family", "norm"),
    [("wav2vec2", "group"), pytest.param("wavlm", "layer", marks=pytest.mark.slow)]
    + [pytest.param(family, "group", marks=pytest.mark.slow) for family in ("wavlm", "hubert", "unispeech-sat")],
)
def test_other_families(family, norm, tmp_path):
    saved = tiny(family, norm)
    hub_onnx.write_graph(WaveformToLogits(saved).eval(), tmp_path / "model.onnx")
    assert largest_difference(saved, tmp_path / "model.onnx", compared_batches()) < 1e-4


def test_a_graph_that_differs_is_not_written(small_run, graph, tmp_path, monkeypatch):
    monkeypatch.setattr(hub_onnx, "write_graph", lambda path, file: file.write_bytes(graph.read_bytes()))
    monkeypatch.setattr(hub_onnx, "pytorch_logits", lambda saved, clip: pytorch_logits(saved, clip) + 1e-3)
    with pytest.raises(UserError, match="differ from PyTorch's by 1.0e-03"):
        hub_onnx.export_onnx(small_run.model_dir, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_missing_packages(small_run, tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else find(name))
    with pytest.raises(UserError, match="onnxruntime, not installed here: pip install onnxruntime"):
        hub_onnx.export_onnx(small_run.model_dir, tmp_path / "model.onnx")


def test_filter_banks_are_refused(tmp_path, monkeypatch):
    config = SimpleNamespace(model_type="wav2vec2-bert")
    saved = SimpleNamespace(name="bert", built=SimpleNamespace(model=SimpleNamespace(config=config)))
    monkeypatch.setattr(hub_onnx, "load_saved", lambda model, stock: saved)
    with pytest.raises(UserError, match="reads filter banks"):
        hub_onnx.export_onnx(tmp_path, tmp_path / "model.onnx")


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--onnx", "nowhere/model.onnx"], "there is no folder nowhere"),
        ([], "nothing to write is named: add --onnx FILE or --sherpa FOLDER"),
    ],
)
def test_faults_end_with_2(words, reason, command, small_run):
    status, out, err = command("export", small_run.output_dir, *words)
    assert (status, out) == (2, "")
    assert reason in err


def test_the_command(command, small_run, graph, tmp_path, monkeypatch):
    monkeypatch.setattr(hub_onnx, "write_graph", lambda path, file: file.write_bytes(graph.read_bytes()))
    status, out, err = command("export", small_run.output_dir, "--onnx", tmp_path / "ky.onnx")
    assert status == 0, err
    assert "of PyTorch's on 4 ragged batches" in out
    assert (tmp_path / "ky.onnx").read_bytes() == graph.read_bytes()
