"""A run and its folder `model` mean the same to every command, wherever one of them is named."""

from __future__ import annotations

import re

import pytest

from unispeech_ft.config.sections import ModelConfig
from unispeech_ft.models.build import read_model_config

CALLS = {
    "transcribe": ("transcribe", "{}", "CLIP"),
    "align": ("align", "{}", "CLIP", "--phones", "e"),
    "align --corpus": ("align", "{}", "--corpus", "{}", "--split", "test"),
    "evaluate": ("evaluate", "{}", "--config", "{}", "--split", "test", "--output", "OUT"),
    "ngram": ("ngram", "{}", "OUT", "--config", "{}"),
    "compare": ("compare", "{}", "{}"),
    "verify": ("verify", "{}", "--config", "{}"),
    "audit": ("audit", "{}"),
    "export": ("export", "{}", "--onnx", "OUT.onnx"),
}


@pytest.mark.long
@pytest.mark.parametrize("name", CALLS)
def test_a_run_and_its_model(name, command, small_run, spoken_corpus, tmp_path):
    clip = sorted((spoken_corpus / "ky" / "clips").iterdir())[0]
    found = []
    for folder in (small_run.output_dir, small_run.model_dir):
        places = {"{}": folder, "CLIP": clip, "OUT": tmp_path / "out", "OUT.onnx": tmp_path / "onnx"}
        status, out, err = command(*(places.get(word, word) for word in CALLS[name]))
        assert out, err
        found.append((status, re.sub(r"in \d+ s|[\d.]+ s$", "", out.replace(str(folder), "RUN"))))
    assert found[0] == found[1]


def test_a_run_as_the_base_of_another(small_run):
    run, model = (
        read_model_config(ModelConfig(base=str(folder))) for folder in (small_run.output_dir, small_run.model_dir)
    )
    assert run.to_dict() == model.to_dict()
