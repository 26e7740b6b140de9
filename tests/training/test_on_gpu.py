"""Fine-tuning on a CUDA device: in 16 bits, to the last bit after a resume, in compiled kernels, and out of memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState
from benchmark.ours import Ours, quiet_accelerator
from benchmark.setting import PRESETS, Setting, write_model

from unispeech_ft.training.loop import train

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]
SMALL = {"num_hidden_layers": 2, "hidden_size": 128, "num_attention_heads": 2, "intermediate_size": 192}
UPDATES = 4


def run(tmp_path: Path, kind: str, precision: Any, name: str, **overrides: str) -> tuple[Ours, Any]:
    """A short fine-tuning with all dropouts; returns our side and the task that trained."""
    PRESETS["small"] = {**PRESETS["tiny"], **SMALL, "model_type": kind, "conv_dim": [16] * 7}
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
