"""Every tensor of every golden folder, and what the folders say beside it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from golden import TOLERANCE, Golden, load_converted, outputs_of
from transformers import AutoFeatureExtractor, AutoProcessor

from unispeech_ft.data.audio import normalise_waveform
from unispeech_ft.models.saved import load_saved
from unispeech_ft.phonemes.tokenizer import load_tokenizer
from unispeech_ft.scoring.greedy import collapse


def _settings(folder: Path, file: str) -> dict:
    return json.loads((folder / file).read_text(encoding="utf-8"))


def _normalised(waveform: torch.Tensor, extractor: dict) -> torch.Tensor:
    if not extractor["do_normalize"]:
        return waveform
    return torch.from_numpy(
        np.stack([normalise_waveform(clip, extractor["normalize_eps"]) for clip in waveform.numpy()])
    )


def test_outputs_agree_with_the_original_code(
    golden: Golden, converted: Callable[[Golden], Path], measured: list[tuple[str, str, float]]
) -> None:
    folder = converted(golden)
    network = load_converted(folder, _settings(folder, "config.json")["architectures"][0])
    expected = dict(golden.expected)
    found = outputs_of(network, expected["input_values"])
    if "waveform" in expected:
        found["input_values"] = _normalised(expected.pop("waveform"), _settings(folder, "preprocessor_config.json"))
    assert expected.keys() <= found.keys(), "the golden file holds a tensor that this test cannot compute"
    differences = {name: float((found[name] - tensor).abs().max()) for name, tensor in expected.items()}
    measured.extend((golden.folder.name, name, difference) for name, difference in differences.items())
    assert max(differences.values()) <= TOLERANCE, differences


def test_automodel_alone_gives_the_encoder(golden: Golden, converted: Callable[[Golden], Path]) -> None:
    from transformers import AutoModel

    encoder = AutoModel.from_pretrained(converted(golden)).eval()
    with torch.no_grad():
        hidden = encoder(golden.expected["input_values"]).last_hidden_state
    assert (hidden - golden.expected["last_hidden_state"]).abs().max() <= TOLERANCE


def test_greedy_transcripts_are_the_originals(golden: Golden, converted: Callable[[Golden], Path]) -> None:
    if "greedy_transcripts" not in golden.meta:
        assert not _settings(converted(golden), "config.json")["architectures"][0].endswith("ForCTC")
        return
    saved = load_saved(converted(golden))
    with torch.no_grad():
        frame_ids = saved.built.model(golden.expected["input_values"]).logits.argmax(-1).numpy()
    tokenizer = saved.tokenizer
    labels = [collapse(clip, tokenizer.blank_id, tokenizer.special_ids) for clip in frame_ids]
    assert [" ".join(tokenizer.decode(ids)) for ids in labels] == golden.meta["greedy_transcripts"]


def test_the_tokenizer_is_in_the_trained_order(golden: Golden, converted: Callable[[Golden], Path]) -> None:
    tokenizer = load_tokenizer(converted(golden))
    if "dictionary" not in golden.meta:
        assert tokenizer is None
        return
    assert tokenizer is not None
    assert list(tokenizer.tokens) == golden.meta["dictionary"]
    assert tokenizer.blank_id == golden.meta["blank"]
    config = _settings(converted(golden), "config.json")
    assert (config["pad_token_id"], config["vocab_size"]) == (golden.meta["blank"], len(golden.meta["dictionary"]))


def test_the_folder_says_how_waveforms_are_read_and_where_it_comes_from(
    golden: Golden, converted: Callable[[Golden], Path]
) -> None:
    folder = converted(golden)
    if "normalize" in golden.meta:
        assert _settings(folder, "preprocessor_config.json")["do_normalize"] == golden.meta["normalize"]
    assert AutoFeatureExtractor.from_pretrained(folder).do_normalize in (True, False)
    if "dictionary" in golden.meta:
        processor = AutoProcessor.from_pretrained(folder)
        assert processor.tokenizer.pad_token_id == golden.meta["blank"]
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert hashlib.sha256(golden.checkpoint.read_bytes()).hexdigest() in card
