"""The recipe from end to end: one and two processes agree, resuming is exact, and the result is Transformers' own."""

from __future__ import annotations

import json
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from running import PRETRAINING, events, must_run, tiny_pretraining, tiny_settings, write_settings
from safetensors.numpy import load_file

UPDATES, INTERRUPTED = 6, 3
NO_EVIDENCE = "k_proj.bias"
TEST_FOLDER = Path(__file__).parent


def make_shards(corpus: Path, folder: Path) -> Path:
    """The corpus's clips in two tar shards."""
    folder.mkdir()
    clips = sorted((corpus / "ky" / "clips").glob("*.mp3"))
    for number in range(2):
        with tarfile.open(folder / f"{number}.tar", "w") as shard:
            for clip in clips[number::2]:
                shard.add(clip, arcname=clip.name)
    return folder


@dataclass(frozen=True)
class Trial:
    """A finished run of stage 1 with a checkpoint in the middle."""

    file: Path
    output: Path

    def history(self, run: Path | None = None) -> list[dict]:
        timed = ("epoch",)
        return [{k: v for k, v in event.items() if k not in timed} for event in events(run or self.output)]


def run_here(*words: object) -> None:
    must_run(*words, script=(PRETRAINING,))


@pytest.fixture(scope="module")
def stage_1(spoken_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Trial:
    folder = tmp_path_factory.mktemp("stage_1")
    file = write_settings(folder / "stage_1.yaml", tiny_pretraining(spoken_corpus, folder))
    run_here("--config", file)
    return Trial(file, folder / "run")


@pytest.fixture(scope="module")
def mixed(spoken_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Trial:
    folder = tmp_path_factory.mktemp("mixed")
    unlabelled = {
        "source": "tar",
        "root": str(make_shards(spoken_corpus, folder / "shards")),
        "max_duration_s": 3.0,
        "window_s": 20.0,
    }
    settings = tiny_pretraining(spoken_corpus, folder, unlabelled=unlabelled)
    file = write_settings(folder / "mixed.yaml", settings)
    run_here("--config", file)
    return Trial(file, folder / "run")


def interrupted(trial: Trial, copy: Path) -> Path:
    """The run as it lay on disk when it was stopped after its checkpoint."""
    shutil.copytree(trial.output, copy)
    shutil.rmtree(copy / "checkpoints" / f"update-{UPDATES:06d}")
    shutil.rmtree(copy / "model")
    return copy


def test_stage_1_logs_its_health(stage_1: Trial) -> None:
    updates = events(stage_1.output)
    assert [event["update"] for event in updates] == list(range(1, UPDATES + 1))
    for event in updates:
        assert 0 <= event["contrastive_accuracy"] <= 1
        assert 0 < event["used_codes"] <= 1
        assert 2 <= event["code_perplexity"] <= 32
        parts = event["ctc_loss"] + event["contrastive_loss"] + 0.1 * event["diversity_loss"]
        assert event["loss"] == pytest.approx(0.5 * parts, rel=1e-5)
    assert [event["update"] for event in events(stage_1.output, "evaluation")] == [3, 6]
    assert all(event["per"] > 0 for event in events(stage_1.output, "evaluation"))


def test_resuming_stage_1_gives_identical_losses(stage_1: Trial, tmp_path: Path, pretrain: Callable[..., int]) -> None:
    run = interrupted(stage_1, tmp_path / "copy")
    assert pretrain("--config", stage_1.file, "--output_dir", run, "--resume", "true") == 0
    assert stage_1.history(run) == stage_1.history()
    one, other = (load_file(folder / "model" / "model.safetensors") for folder in (run, stage_1.output))
    assert all(np.array_equal(one[name], other[name]) for name in one.keys() | other.keys())


def test_one_process_and_two_agree_also_where_a_run_is_resumed(mixed: Trial, tmp_path: Path) -> None:
    """Resumed in the middle of a tar shard, on another number of processes."""
    streams = json.loads((mixed.output / "checkpoints" / f"update-{INTERRUPTED:06d}" / "task.json").read_text())
    assert any(state["taken"] or state["examples"] for state in streams.values()), "not in the middle of a shard"
    run = interrupted(mixed, tmp_path / "copy")
    must_run("--config", mixed.file, "--output_dir", run, "--resume", "true", processes=2, script=(PRETRAINING,))
    assert len(events(run)) == UPDATES
    for found, expected in zip(mixed.history(run), mixed.history(), strict=True):
        for name in expected:
            if name not in ("event", "update"):
                assert found[name] == pytest.approx(expected[name], rel=1e-5, abs=1e-7), name
    one, other = (load_file(folder / "model" / "model.safetensors") for folder in (run, mixed.output))
    apart = {name: float(np.abs(one[name] - other[name]).max()) for name in one if NO_EVIDENCE not in name}
    assert max(apart.values()) < 1e-4, apart


def test_the_result_is_the_stock_model_and_a_fine_tuning_starts_from_it(
    stage_1: Trial, spoken_corpus: Path, tmp_path: Path
) -> None:
    from transformers import UniSpeechForPreTraining

    model = stage_1.output / "model"
    network, info = UniSpeechForPreTraining.from_pretrained(model, output_loading_info=True)
    assert not any(info.values()), info
    assert network.config.num_ctc_classes == len(json.loads((model / "vocab.json").read_text(encoding="utf-8")))
    settings = tiny_settings(spoken_corpus, tmp_path)
    settings["model"] = {"base": str(model)}
    settings["schedule"]["updates"] = 1
    said = must_run("--config", write_settings(tmp_path / "tune.yaml", settings))
    assert "rows taken over from the base model, 0 fresh" in said
    assert "test PER" in said


def test_modes_train_what_they_should(stage_1: Trial, tmp_path: Path, pretrain: Callable[..., int]) -> None:
    """CTC alone leaves the quantiser as it was, the contrastive task alone the CTC head; each logs its own terms."""
    start = ("--config", stage_1.file, "--model.from_scratch", "false", "--model.config", "null")
    start += ("--model.base", stage_1.output / "model", "--schedule.updates", "1")
    base = load_file(stage_1.output / "model" / "model.safetensors")
    modes = {
        "ctc": (("--objective.alpha", "1", "--objective.replacement", "0"), "quantizer.codevectors", "ctc_proj.weight"),
        "contrastive": (("--objective.alpha", "0"), "ctc_proj.weight", "quantizer.codevectors"),
    }
    for name, (words, kept, changed) in modes.items():
        assert pretrain(*start, *words, "--output_dir", tmp_path / name) == 0
        found = load_file(tmp_path / name / "model" / "model.safetensors")
        assert np.array_equal(found[kept], base[kept])
        assert not np.array_equal(found[changed], base[changed])
        event = events(tmp_path / name)[0]
        assert ("ctc_loss" in event) == (name == "ctc")
        assert ("contrastive_accuracy" in event) == (name == "contrastive")


def test_another_task_is_not_resumed(stage_1: Trial, pretrain: Callable[..., int], capfd) -> None:
    words = ("--config", stage_1.file, "--resume", "true", "--objective.alpha", "0.4")
    assert pretrain(*words) == 2
    assert "made with other" in capfd.readouterr().err
