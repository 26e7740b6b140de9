"""Fine-tuning on a CUDA device: in 16 bits, to the last bit after a resume, in compiled kernels, and out of memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from benchmark.ours import Ours, quiet_accelerator
from benchmark.setting import PRESETS, Setting, write_model

from unispeech_ft.models import decoding
from unispeech_ft.models.saved import load_saved
from unispeech_ft.training.loop import train

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]
SMALL = {"num_hidden_layers": 2, "hidden_size": 128, "num_attention_heads": 2, "intermediate_size": 192}
UPDATES = 4


def run(
    tmp_path: Path, kind: str, precision: Any, name: str, shape: dict[str, Any] | None = None, **overrides: str
) -> tuple[Ours, Any]:
    """A short fine-tuning with all dropouts; returns our side and the task that trained."""
    PRESETS["small"] = {**PRESETS["tiny"], **SMALL, "model_type": kind, "conv_dim": [16] * 7, **(shape or {})}
    if kind == "wavlm":
        PRESETS["small"].pop("conv_bias")
    keys = {
        "schedule.updates": str(UPDATES), "checkpointing.every_updates": "2", "optimizer.lr": "1e-3",
        "output_dir": str(tmp_path / name), "data.num_workers": "1",
    }  # fmt: skip
    settings = {**keys, **{key.replace("__", "."): value for key, value in overrides.items()}}
    setting = Setting("small", "cuda", precision, tmp_path, 40, 40.0, 10.0, overrides=tuple(settings.items()))
    if not setting.model_folder.is_dir():
        write_model(setting)
    AcceleratorState._reset_state(reset_partial_state=True)
    ours = Ours(setting, quiet_accelerator(setting))
    config = setting.config()
    (tmp_path / name).mkdir()
    task = ours.task(config)
    train(task, config, ours.accelerator, None)
    return ours, task


def weights(ours: Ours) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in ours.model.parameters()]


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("kind", ["unispeech", "wavlm"])
def test_a_resumed_fine_tuning_equals_an_uninterrupted_one_to_the_last_bit(
    tmp_path: Path, kind: str, precision: str
) -> None:
    whole, _ = run(tmp_path, kind, precision, "whole")
    assert all(bool(weight.isfinite().all()) for weight in weights(whole))
    checkpoint = tmp_path / "whole" / "checkpoints" / "update-000002"
    resumed, _ = run(tmp_path, kind, precision, "resumed", resume=str(checkpoint))
    assert all(torch.equal(mine, other) for mine, other in zip(weights(whole), weights(resumed), strict=True))


def test_layers_run_in_tritons_kernels_unless_told_otherwise(tmp_path: Path) -> None:
    from unispeech_ft.models.fused_layers import can_fuse

    for switch, expected in (("true", True), ("false", False)):
        ours, _ = run(tmp_path, "unispeech", "bf16", switch, training__compile_layers=switch)
        with ours.accelerator.autocast():
            assert can_fuse(ours.model, torch.empty(1, 128, device="cuda")) == expected


NO_DROPOUT = {f"model__{name}_dropout": "0.0" for name in ("hidden", "attention", "activation", "final")}
NO_DROPOUT["model__feature_projection_dropout"] = "0.0"


@pytest.mark.parametrize(("kind", "norm_first"), [("unispeech", True), ("wavlm", True), ("wavlm", False)])
def test_graphs_give_the_gradients_that_layers_give_one_by_one(tmp_path: Path, kind: str, norm_first: bool) -> None:
    shape = {"num_hidden_layers": 5, "do_stable_layer_norm": norm_first}
    found = []
    for switch in ("true", "false"):
        keys = {"training__cuda_graphs": switch, "schedule__updates": "1", "model__layerdrop": "0.4", **NO_DROPOUT}
        _, task = run(tmp_path, kind, "bf16", switch, shape, **keys)
        assert 1 < len(task.layers(0)) < 5
        found.append([parameter.grad.double() for parameter in task.trainable.running(task.layers(0))])
    for mine, other in zip(*found, strict=True):
        assert float((mine - other).norm()) <= 0.03 * float(other.norm()) + 1e-4


@pytest.mark.parametrize("kind", ["unispeech", "wavlm"])
def test_graphs_say_the_same_in_an_evaluation(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "LONGEST_ON_GPU_S", 20.0)
    ours, _ = run(tmp_path, kind, "bf16", "run")
    store, lengths = ours.features.store, ours.labelled.num_samples.tolist()
    found = []
    for switch in (True, False):
        ours.model.cuda_graphs = switch
        if not switch:
            ours.model.layer_graphs = {}
        outputs = decoding.clip_outputs(ours.model, store.clip, lengths, autocast=ours.accelerator.autocast)
        found.append(dict(outputs))
        assert bool(ours.model.layer_graphs) == switch
    for index, mine in found[0].items():
        assert np.abs(mine.log_posteriors - found[1][index].log_posteriors).max() < 0.1


@pytest.mark.parametrize("kind", ["unispeech", "wavlm"])
def test_in_32_bits_a_gpu_hears_what_a_cpu_hears(tmp_path: Path, kind: str) -> None:
    ours, _ = run(tmp_path, kind, "no", "run")
    ours.model.save_pretrained(ours.setting.model_folder)
    heard = []
    for device in ("cuda", "cpu"):
        model = load_saved(ours.setting.model_folder, device).built
        clips = model.front_end.several(ours.setting.waveforms[:12])
        outputs = decoding.frame_outputs(model.model, clips)
        heard.append(np.concatenate([clip.log_posteriors for clip in outputs]))
    assert np.abs(heard[0] - heard[1]).max() < 1e-4


def test_an_update_is_one_pass_where_memory_allows_and_a_resume_keeps_its_size(tmp_path: Path) -> None:
    _, task = run(tmp_path, "unispeech", "bf16", "run")
    assert task.passes.seconds > 40
    task.passes.begin({"seconds_per_pass": 12.5})
    assert task.passes.seconds == 12.5


def test_out_of_memory_halves_the_passes_and_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from unispeech_ft.tasks.ctc_phoneme.task import CtcPhonemeTask

    stock, sizes = CtcPhonemeTask.loss, []

    def loss(self: CtcPhonemeTask, update: int, micro_batch: Any) -> Any:
        sizes.append(len(micro_batch.row.features))
        if sizes[-1] > 1200:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return stock(self, update, micro_batch)

    monkeypatch.setattr(CtcPhonemeTask, "loss", loss)
    _, task = run(tmp_path, "unispeech", "bf16", "run")
    assert task.passes.frames is not None
    assert task.passes.frames <= 1200 * 2
    assert capsys.readouterr().out.count("out of memory") == 1
