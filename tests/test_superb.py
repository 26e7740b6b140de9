"""`unispeech-ft superb` on tiny data: every kind of head learns on a frozen encoder, and one table says what of it was
measured."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from running import REPOSITORY, merged, tiny_settings, write_settings
from torch import nn
from transformers import AutoModelForCTC

from unispeech_ft.commands.superb import TASKS, published, table
from unispeech_ft.data.audio import normalise_waveform
from unispeech_ft.data.row import row_of
from unispeech_ft.models.build import as_probe, build_model
from unispeech_ft.models.families import backbone
from unispeech_ft.models.forward import ctc_logits, ctc_loss_sum
from unispeech_ft.phonemes.tokenizer import PhoneTokenizer
from unispeech_ft.tasks.ctc_phoneme.config import CtcPhonemeConfig

MODEL = "packaged:demo"
Command = Callable[..., tuple[int | str | None, str, str]]
PROBE: dict[str, Any] = {
    "model": {"from_scratch": False, "config": None, "layerdrop": 0.0},
    "mask": {"time_prob": 0.0, "feature_prob": 0.0},
    "probe": {"enabled": True},
    "schedule": {"freeze_encoder_updates": 10, "updates": 10},
}


@pytest.fixture(scope="module")
def voices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("voices")
    for speaker in range(20):
        (root / f"v{speaker:02d}").mkdir()
        for number in range(3):
            random = np.random.default_rng(100 * speaker + number)
            time_s = np.arange(int(16_000 * random.uniform(0.5, 0.8))) / 16_000
            tone = 0.2 * np.sin(2 * np.pi * 150 * 1.13**speaker * time_s) + random.normal(0, 0.01, len(time_s))
            soundfile.write(root / f"v{speaker:02d}" / f"{number}.wav", tone.astype(np.float32), 16_000)
    return root


def test_what_has_data_is_probed_and_told_in_one_table(
    voices: Path, tiny_speech: Path, tmp_path: Path, command: Command
) -> None:
    phones = write_settings(tmp_path / "pr.yaml", merged(tiny_settings(tiny_speech, tmp_path / "x"), PROBE))
    small = {
        "simulation": {"conversations": 8, "scored": 2, "duration_s": 2.0},
        "data": {"root": str(voices)},
        "speaker_diarization": {"hidden": 8, "chunk_s": 2.0},
        **{name: PROBE[name] for name in ("mask", "probe", "schedule")},
    }
    words = {
        "schedule.updates": 2,
        "schedule.warmup": 0,
        "evaluation.every_updates": 1,
        "evaluation.start_after": 0,
        "probe.lrs": "[1e-2, 1e-4]",
        "data.cache_dir": tmp_path / "cache",
        "data.min_duration_s": 0.3,
    }
    status, out, err = command(
        *("superb", MODEL, "--output", tmp_path / "out", "--data", f"ks={voices}", f"asv={voices}"),
        *(f"pr={phones}", f"sd={write_settings(tmp_path / 'sd.yaml', small)}"),
        *(word for key, value in words.items() for word in (f"--{key}", value)),
    )
    assert status == 0, out + err
    lines = out.splitlines()[-5:]
    wanted = ["ks accuracy", "asv eer", "pr per", "sd der"]
    assert [" ".join(line.split()[:2]) for line in lines[1:]] == wanted
    assert "published" not in out, "of a model that nobody has published a figure of, none is shown"
    heads = ("head.", "lm_head.", "projector.", "classifier.", "layer_weights")
    for task in ("ks", "asv", "pr", "sd"):
        run = tmp_path / "out" / task
        assert [rate["lr"] for rate in json.loads((run / "probe.json").read_text())["rates"]] == [1e-2, 1e-4]
        names = torch.load(run / "checkpoints" / "best" / "model.pt").keys()
        assert all(name.startswith(heads) for name in names), "the encoder stays as it is"
        assert any("layer" in name and "weights" in name for name in names)
        figure = json.loads((run / "eval" / "test" / "summary.json").read_text())[TASKS[task].figure]
        assert f"{100 * figure:.2f}" in next(line for line in lines if line.startswith(task))
    assert not (tmp_path / "out" / "pr" / "model").exists(), "nothing could load it"


def test_published_figures_stand_apart_from_measured_ones() -> None:
    lines = table("microsoft/wavlm-base-plus", [("ks", "0.01", "12.34 (10.00–15.00)"), ("sd", "0.1", "no test split")])
    assert "measured here, %  " in lines[0]
    assert lines[0].endswith("published, not measured here, %")
    assert lines[1].split()[-1] == "96.69"
    assert lines[2].split()[-1] == "4.07"
    assert "they say nothing" in lines[3]
    assert published("somebody/else") == {}
    assert published("microsoft/wavlm-large")["sid"] == "95.25"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["ks=nowhere"], "--data ks=nowhere: no such file or folder"),
        (["ks=none.yaml"], "no YAML none.yaml comes with the package"),
        (["dance=here"], "--data dance=here cannot be used"),
        (["ks"], "--data ks cannot be used"),
        ([f"ks={REPOSITORY}", f"ks={REPOSITORY}"], "once for each"),
        ([f"ks={REPOSITORY}/configs/audio_classification/folder.yaml", "--data.root", "x"], "is no probe"),
        ([f"ks={REPOSITORY}", "--probe.lr", "1"], "unknown key probe.lr"),
    ],
)
def test_bad_inputs_are_one_line_each(words: list[str], message: str, command: Command, tmp_path: Path) -> None:
    status, _, err = command("superb", MODEL, "--output", tmp_path / "out", "--data", *words)
    assert status == 2
    [line] = err.splitlines()
    assert message in line
    assert not (tmp_path / "out").exists()


def test_phones_are_probed_in_evaluation_mode_on_all_layers(tiny_speech: Path, tmp_path: Path) -> None:
    """Loss and gradients are those of Transformers' own hidden states, of each clip alone and without dropout."""
    config = CtcPhonemeConfig.model_validate(tiny_settings(tiny_speech, tmp_path))
    tokenizer = PhoneTokenizer.from_inventory(["a", "b", "c"], "transformers")
    built = as_probe(build_model(config.model, config.mask, config.data, tokenizer, 3), 3)
    network: Any = built.model.train()
    head = network.lm_head
    assert not head.layer_sum.weights.any()
    nn.init.normal_(head.layer_sum.weights)
    random = np.random.default_rng(0)
    clips = [random.normal(size=size).astype(np.float32) for size in (9_000, 14_000)]
    row = row_of([built.front_end(clip).numpy() for clip in clips])
    labels = torch.tensor([tokenizer.ids[name] for name in "abcab"])
    loss = ctc_loss_sum(ctc_logits(network, row, encoder_trains=True), row.layout, labels, (3, 2), tokenizer.blank_id)
    loss.backward()
    found = {name: parameter.grad.clone() for name, parameter in head.named_parameters()}
    assert all(parameter.grad is None for parameter in backbone(network).parameters())
    head.zero_grad()

    network.config.tie_last_hidden_states = True
    oracle = backbone(AutoModelForCTC.from_config(network.config)).eval()
    oracle.load_state_dict(backbone(network).state_dict())
    total = torch.zeros(())
    for clip, own in zip(clips, (labels[:3], labels[3:]), strict=True):
        samples = torch.from_numpy(normalise_waveform(clip, config.data.normalize_eps))[None]
        with torch.no_grad():
            states = torch.stack(oracle(samples, output_hidden_states=True).hidden_states)[:, 0]
        summed = (head.layer_sum.weights.softmax(0)[:, None, None] * states).sum(0)
        logs = head.out(head.project(summed)).double().log_softmax(-1)
        sizes = torch.tensor([len(logs)]), torch.tensor([len(own)])
        blank = tokenizer.blank_id
        total = total + nn.functional.ctc_loss(logs[:, None], own[None], *sizes, blank=blank, reduction="sum")
    total.backward()
    assert loss.item() == pytest.approx(total.item(), rel=1e-5)
    for name, parameter in head.named_parameters():
        torch.testing.assert_close(parameter.grad, found[name], rtol=1e-4, atol=1e-4)
