"""What the feature cache does to the loss: nothing in 32 bits, 1e-5 in 16 bits; and it is that of unpadded clips."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from unispeech_ft.benchmark.setting import PRESETS, Setting, stock_model, write_model
from unispeech_ft.data.audio import normalise_waveform
from unispeech_ft.data.collate import pad_features
from unispeech_ft.models.build import build_model
from unispeech_ft.models.features import cache_features
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
        features, num_frames = pad_features([store.clip(row) for row in labelled.rows])
        logits = head(built.model, encode(built.model, features, num_frames))
        flat = torch.tensor([label for line in labels for label in line])
        counts = torch.tensor([len(line) for line in labels])
        return float(ctc_loss_sum(logits, num_frames, flat, counts, setting.tokenizer.blank_id))

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
