"""What the feature cache does to the loss: nothing in 32 bits, 1e-5 in 16 bits; and it is that of unpadded clips."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from benchmark.setting import PRESETS, Setting, stock_model, write_model

from unispeech_ft.config.sections import TrainingConfig
from unispeech_ft.data.audio import normalise_waveform
from unispeech_ft.data.row import row_of
from unispeech_ft.models.build import build_model
from unispeech_ft.models.feature_cache import ComputedFeatures, cache_features, open_features
from unispeech_ft.models.forward import ctc_loss_sum, encode, head

GROUP_NORM = {
    **PRESETS["wavlm-base"],
    "hidden_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 192,
    "conv_dim": [64] * 7,
}


@pytest.fixture(params=["layer norm", "group norm"])
def setting(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Setting:
    monkeypatch.setitem(PRESETS, "group norm", GROUP_NORM)
    preset = "tiny" if request.param == "layer norm" else "group norm"
    made = Setting(preset, "cpu", "no", tmp_path, num_utterances=6)
    write_model(made)
    return made


@torch.no_grad()
def test_cached_features_give_the_loss_of_each_clip_alone(setting: Setting) -> None:
    config = setting.config()
    built = build_model(config.model, config.mask, config.data, setting.tokenizer, config.seed)
    built.model.eval()
    stock = stock_model(setting).eval()
    labelled = setting.prepared()
    labels = [setting.tokenizer.encode(phones) for phones in labelled.phones]
    alone = 0.0
    for row, line in enumerate(labels):
        samples = normalise_waveform(labelled.audio.waveform(row), config.data.normalize_eps)
        alone += float(stock(torch.from_numpy(samples)[None], labels=torch.tensor([line])).loss)

    def loss(dtype: type[np.floating]) -> float:
        store = cache_features(built.front_end, labelled.audio, labelled.rows, setting.folder / "cache", dtype=dtype)
        row = row_of([store.clip(row) for row in labelled.rows]).to(torch.device("cpu"))
        logits = head(built.model, encode(built.model, row))
        flat = torch.tensor([label for line in labels for label in line])
        counts = [len(line) for line in labels]
        return float(ctc_loss_sum(logits, row.layout, flat, counts, setting.tokenizer.blank_id))

    assert loss(np.float32) == pytest.approx(alone, rel=2e-6)
    assert loss(np.float16) == pytest.approx(alone, rel=1e-5)
    assert loss(np.float16) != loss(np.float32)
    if setting.preset == "group norm":
        length = max(len(clip) for clip in setting.waveforms)
        padded = torch.zeros(len(labels), length)
        for row in labelled.rows:
            clip = normalise_waveform(labelled.audio.waveform(row), config.data.normalize_eps)
            padded[row, : len(clip)] = torch.from_numpy(clip)
        mask = torch.tensor([[place < len(clip) for place in range(length)] for clip in setting.waveforms])
        targets = torch.nn.utils.rnn.pad_sequence(map(torch.tensor, labels), batch_first=True, padding_value=-100)
        together = float(stock(padded, attention_mask=mask.long(), labels=targets).loss)
        assert abs(together - alone) > 1e-4 * alone, "a padded batch is what the cache protects from"


@torch.no_grad()
def test_bf16_features_are_those_of_autocast_and_a_cache_of_their_own(setting: Setting) -> None:
    config = setting.config()
    built = build_model(config.model, config.mask, config.data, setting.tokenizer, config.seed)
    in_16_bits = replace(built.front_end, dtype=torch.bfloat16)
    assert in_16_bits.key() != built.front_end.key()
    extractor = stock_model(setting).eval().base_model.feature_extractor
    labelled = setting.prepared()
    store = cache_features(in_16_bits, labelled.audio, labelled.rows, setting.folder / "cache", dtype=np.float16)
    for row in labelled.rows:
        exact = built.front_end(labelled.audio.waveform(row))
        samples = torch.from_numpy(normalise_waveform(labelled.audio.waveform(row), config.data.normalize_eps))
        with torch.autocast("cpu", torch.bfloat16):
            autocast = extractor(samples[None])[0].T.float()
        found = torch.from_numpy(np.array(store.clip(row), dtype=np.float32))
        error, stock_error = (float((values - exact).norm() / exact.norm()) for values in (found, autocast))
        assert 1e-4 < error <= 1.05 * stock_error, "not worse than the stock extractor in that precision"
        again = in_16_bits(labelled.audio.waveform(row))
        torch.testing.assert_close(found, again, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    ("precision", "switch", "expected"),
    [("bf16", True, torch.bfloat16), ("bf16", False, torch.float32), ("no", True, torch.float32)],
)
def test_the_extractor_follows_the_encoder_into_bf16_alone(
    precision: str, switch: bool, expected: torch.dtype, setting: Setting
) -> None:
    config = setting.config()
    front_end = build_model(config.model, config.mask, config.data, setting.tokenizer, config.seed).front_end
    accelerator: Any = SimpleNamespace(mixed_precision=precision)
    labelled, training = setting.prepared(), TrainingConfig(bf16_features=switch, cache_features=False)
    found = open_features(
        labelled.audio, labelled.rows, front_end, setting.folder / "cache", training, accelerator, "train"
    )
    assert isinstance(found, ComputedFeatures)
    assert found.front_end.dtype == expected
