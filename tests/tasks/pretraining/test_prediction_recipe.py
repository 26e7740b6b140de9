"""Masked prediction and UniSpeech-SAT from end to end: one and two processes agree, resuming is exact, and others can
start from the result."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from running import (
    PRETRAINING,
    REPOSITORY,
    TINY_MODEL,
    events,
    merged,
    must_run,
    tiny_pretraining,
    tiny_settings,
    write_settings,
)
from safetensors.numpy import load_file
from test_pretrain_recipe import make_shards

from unispeech_ft import cli
from unispeech_ft.config.reading import read_config
from unispeech_ft.models.families import ILS_HUBERT
from unispeech_ft.tasks.audio_classification.config import FILE as CLASSIFIER
from unispeech_ft.tasks.audio_classification.model import build_classifier

UPDATES, INTERRUPTED, CLASSES = 4, 2, 12
NO_EVIDENCE = "k_proj.bias"
BASE = {"feat_extract_norm": "group", "do_stable_layer_norm": False, "conv_bias": False}
SAT = {"num_codevectors_per_group": 16}
KINDS: dict[str, dict[str, Any]] = {
    "wavlm": {
        "model": {"config": TINY_MODEL | BASE | {"model_type": "wavlm"}},
        "mixing": {"prob": 0.8},
    },
    "ils": {
        "model": {"config": TINY_MODEL | {"model_type": ILS_HUBERT}},
        "objective": {"layers": [2, 3], "extractor_sees_padding": True, "special_classes": True},
    },
    "sat": {
        "model": {"config": TINY_MODEL | SAT | {"model_type": "unispeech-sat"}},
        "objective": {"kind": "sat"},
        "mixing": {"prob": 0.5, "in_place": True, "with_itself": True, "over_padding": True},
    },
}


@dataclass(frozen=True)
class Trial:
    """A finished run with a checkpoint in the middle."""

    kind: str
    file: Path
    output: Path

    def history(self, run: Path | None = None) -> list[dict]:
        return [{k: v for k, v in event.items() if k != "epoch"} for event in events(run or self.output)]


@pytest.fixture(scope="module")
def speech(spoken_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two tar shards, and the classes of their recordings."""
    folder = tmp_path_factory.mktemp("unlabelled")
    shards = make_shards(spoken_corpus, folder / "shards")
    make_targets(shards, folder / "targets")
    return shards, folder / "targets"


def make_targets(shards: Path, out: Path, *more: object) -> None:
    words = ["targets", shards, "--source", "tar", "--out", out, "--classes", CLASSES, "--fit_share", 1, "--shards", 2]
    with pytest.raises(SystemExit) as ended:
        cli.main([str(word) for word in [*words, *more]])
    assert not ended.value.code


def settings_of(kind: str, speech: tuple[Path, Path], folder: Path) -> dict[str, Any]:
    settings = tiny_pretraining(Path("nowhere"), folder)
    settings["model"] = {"from_scratch": True, "layerdrop": 0.2}
    settings["data"] = {"cache_dir": str(folder / "cache"), "num_workers": 1, "normalize": True}
    settings["unlabelled"] = {"source": "tar", "root": str(speech[0]), "targets": str(speech[1])}
    settings["unlabelled"] |= {"max_duration_s": 3.0, "window_s": 20.0}
    settings["objective"] = {"kind": "masked_prediction", "projection_dim": 16, "negatives": 10}
    settings["schedule"]["updates"] = UPDATES
    settings["checkpointing"]["every_updates"] = INTERRUPTED
    return merged(settings, KINDS[kind])


@pytest.fixture(scope="module", params=KINDS)
def trial(request: pytest.FixtureRequest, speech: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Trial:
    folder = tmp_path_factory.mktemp(request.param)
    file = write_settings(folder / "run.yaml", settings_of(request.param, speech, folder))
    must_run("--config", file, script=(PRETRAINING,))
    return Trial(request.param, file, folder / "run")


def interrupted(trial: Trial, copy: Path) -> Path:
    """The run as it lay on disk when it was stopped after its checkpoint."""
    shutil.copytree(trial.output, copy)
    shutil.rmtree(copy / "checkpoints" / f"update-{UPDATES:06d}")
    shutil.rmtree(copy / "model")
    return copy


def test_a_run_logs_its_health(trial: Trial) -> None:
    ending = "_layer_3" if trial.kind == "ils" else ""
    for event in events(trial.output):
        loss = event[f"masked_loss{ending}"] + 10 * event["penalty"]
        assert 0 <= event[f"masked_accuracy{ending}"] <= 1
        assert 0 <= event[f"unmasked_accuracy{ending}"] <= 1
        assert 0 < event["prediction_entropy"] <= np.log(CLASSES + 4)
        assert 1 <= event["predicted_classes"] <= CLASSES + 4
        assert 1 < event["target_classes"] <= CLASSES + 1e-3
        if trial.kind == "ils":
            loss += event["masked_loss_layer_2"]
        if trial.kind == "sat":
            loss += event["utterance_loss"] + 0.1 * event["diversity_loss"]
            assert 0 < event["used_codes"] <= 1
        assert event["loss"] == pytest.approx(loss, rel=1e-4)


@pytest.mark.long
def test_one_process_and_two_agree_and_a_run_goes_on_in_the_middle_of_a_shard(
    trial: Trial, tmp_path: Path, pretrain: Callable[..., int]
) -> None:
    streams = json.loads((trial.output / "checkpoints" / f"update-{INTERRUPTED:06d}" / "task.json").read_text())
    assert any(state["taken"] or state["examples"] for state in streams.values()), "not in the middle of a shard"
    alone = interrupted(trial, tmp_path / "alone")
    assert pretrain("--config", trial.file, "--output_dir", alone, "--resume", "true") == 0
    assert trial.history(alone) == trial.history(), "a resumed run has other losses"
    two = interrupted(trial, tmp_path / "two")
    must_run("--config", trial.file, "--output_dir", two, "--resume", "true", processes=2, script=(PRETRAINING,))
    for found, expected in zip(trial.history(two), trial.history(), strict=True):
        for name in expected:
            if name not in ("event", "update"):
                assert found[name] == pytest.approx(expected[name], rel=1e-5, abs=1e-6), name
    one, other = (load_file(folder / "model" / "model.safetensors") for folder in (two, trial.output))
    apart = {name: float(np.abs(one[name] - other[name]).max()) for name in one if NO_EVIDENCE not in name}
    assert max(apart.values()) < 1e-4, apart


@pytest.mark.long
def test_auto_classes_load_it_and_other_recipes_start_from_it(
    trial: Trial, spoken_corpus: Path, tmp_path: Path
) -> None:
    from transformers import AutoModel

    from unispeech_ft.config.sections import DataConfig, MaskConfig, ModelConfig
    from unispeech_ft.models.prediction import AutoModelForPreTraining
    from unispeech_ft.models.upstream import build_upstream
    from unispeech_ft.tasks.speaker_verification.heads import SpeakerHeadSettings
    from unispeech_ft.tasks.speaker_verification.model import make_head

    model = trial.output / "model"
    whole, info = AutoModelForPreTraining.from_pretrained(model, output_loading_info=True)
    assert not any(info.values()), info
    saved = load_file(model / "model.safetensors")
    encoder, info = AutoModel.from_pretrained(model, output_loading_info=True)
    assert not info["missing_keys"], info
    inside = getattr(whole, whole.base_model_prefix).state_dict()
    assert all(torch.equal(tensor, inside[name]) for name, tensor in encoder.state_dict().items())
    assert any("prediction.0.embeddings" in name or "label_embeddings_concat" in name for name in saved)
    # As the recipes of classification, speakers, diarization and separation begin.
    settings = SpeakerHeadSettings(body="ecapa", channels=8, pooled=8, size=4)
    built = build_upstream(ModelConfig(base=str(model)), MaskConfig(), DataConfig(), make_head, settings, 1)
    assert torch.equal(next(built.model.upstream.parameters()), next(encoder.parameters()))
    yaml = REPOSITORY / "configs" / "audio_classification" / "folder.yaml"
    run = read_config(CLASSIFIER, yaml, {"model.base": str(model), "data.root": "anywhere"})
    assert build_classifier(run, ["one", "two"]).fresh_rows == 2
    tiny = tiny_settings(spoken_corpus, tmp_path)
    tiny["model"] = {"base": str(model)}
    tiny["schedule"]["updates"] = 1
    said = must_run("--config", write_settings(tmp_path / "tune.yaml", tiny))
    assert "test PER" in said


def test_a_run_with_other_classes_is_not_resumed(
    trial: Trial,
    speech: tuple[Path, Path],
    tmp_path: Path,
    pretrain: Callable[..., int],
    capfd: pytest.CaptureFixture[str],
) -> None:
    make_targets(speech[0], tmp_path / "targets", "--seed", 2)
    run = interrupted(trial, tmp_path / "copy")
    words = ("--config", trial.file, "--output_dir", run, "--resume", "true")
    assert pretrain(*words, "--unlabelled.targets", tmp_path / "targets") == 2
    assert "made with other" in capfd.readouterr().err


def test_a_run_whose_predictions_collapse_says_so(
    speech: tuple[Path, Path], tmp_path: Path, pretrain: Callable[..., int]
) -> None:
    settings = merged(settings_of("wavlm", speech, tmp_path), {"optimizer": {"lr": 0.3}, "schedule": {"updates": 60}})
    settings["batch"]["seconds_per_update"], settings["checkpointing"]["every_updates"] = 6.0, 100
    assert pretrain("--config", write_settings(tmp_path / "run.yaml", settings)) == 0
    assert events(tmp_path / "run")[-1]["predicted_classes"] < 2, "these did not collapse; the trial is no trial"
    (said,) = events(tmp_path / "run", "warning")
    assert "the predictions have collapsed" in said["text"]


def test_a_gate_that_is_held_at_1_stays_there(
    speech: tuple[Path, Path], tmp_path: Path, pretrain: Callable[..., int]
) -> None:
    file = write_settings(tmp_path / "run.yaml", settings_of("wavlm", speech, tmp_path))
    assert pretrain("--config", file, "--model.position_gate", "false", "--schedule.updates", "2") == 0
    saved = load_file(tmp_path / "run" / "model" / "model.safetensors")
    gates = {name: tensor for name, tensor in saved.items() if "gru_rel_pos" in name}
    assert gates
    assert all((tensor == (-2 if name.endswith("const") else 0)).all() for name, tensor in gates.items())


def test_a_pre_training_goes_on_from_its_heads_or_begins_them_anew(
    trial: Trial, tmp_path: Path, pretrain: Callable[..., int], capfd: pytest.CaptureFixture[str]
) -> None:
    base = (
        "--config",
        trial.file,
        "--model.from_scratch",
        "false",
        "--model.config",
        "null",
        "--schedule.updates",
        "1",
    )
    base += ("--model.base", trial.output / "model", "--optimizer.lr", "1e-9")
    before = load_file(trial.output / "model" / "model.safetensors")
    (head,) = (name for name in before if "0.embeddings" in name or "label_embeddings_concat" in name)
    assert pretrain(*base, "--output_dir", tmp_path / "same") == 0
    assert "start at random" not in capfd.readouterr().out
    after = load_file(tmp_path / "same" / "model" / "model.safetensors")
    assert np.allclose(after[head], before[head], atol=1e-6)
    assert pretrain(*base, "--output_dir", tmp_path / "other", "--objective.projection_dim", "8") == 0
    assert "heads start at random" in capfd.readouterr().out
    after = load_file(tmp_path / "other" / "model" / "model.safetensors")
    assert after[head].shape[-1] == 8
    assert 0 < after[head].min() < after[head].max() < 1.01


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("wavlm_base", 94.7), ("wavlm_large", 316.6), ("ils_base", 94.7), ("sat_base", 95.4)],
)
def test_the_published_sizes_are_what_they_are_called(
    name: str,
    parameters: float,
    speech: tuple[Path, Path],
    tmp_path: Path,
    pretrain: Callable[..., int],
    capfd: pytest.CaptureFixture[str],
) -> None:
    words = ("--dry_run", "true", "--unlabelled.root", speech[0], "--unlabelled.targets", speech[1])
    words += ("--unlabelled.source", "tar", "--mixing.noise_prob", "0", "--output_dir", tmp_path / "run")
    assert pretrain("--config", REPOSITORY / "configs" / "pretrain" / f"{name}.yaml", *words) == 0
    said = capfd.readouterr().out
    (counted,) = re.findall(r"([\d.]+) M parameters", said)
    assert float(counted) == pytest.approx(parameters, abs=0.5), "with 500 classes"
    assert f"targets: {CLASSES} classes" in said
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("--unlabelled.targets", "null"), "unlabelled.targets is missing"),
        (("--unlabelled.targets", "nowhere"), "holds no targets"),
        (("--data.root", "speech", "--data.language", "ky"), "data.root is given"),
        (("--objective.kind", "unispeech"), "predicts no classes"),
        (("--objective.layers", "[2, 9]"), "has 3 layers"),
        (("--objective.layers", "[3, 2]"), "from the lowest to the highest"),
        (("--objective.kind", "sat"), "takes unispeech-sat"),
        (("--mixing.noise_prob", "0.5"), "mixing.noise_root is missing"),
        (("--mixing.noise_prob", "0.5", "--mixing.noise_root", "nowhere"), "no recordings below"),
        (("--mixing.snr_db", "[5, -5]"), "lower bound first"),
        (("--objective.masked_weight", "0"), "masked_weight is 0"),
    ],
)
def test_faults_are_named(
    words: tuple[str, ...],
    named: str,
    speech: tuple[Path, Path],
    tmp_path: Path,
    pretrain: Callable[..., int],
    capfd: pytest.CaptureFixture[str],
) -> None:
    file = write_settings(tmp_path / "run.yaml", settings_of("wavlm", speech, tmp_path))
    assert pretrain("--config", file, *words) == 2
    assert named in capfd.readouterr().err
