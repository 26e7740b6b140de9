"""The configuration of a pre-training: strict, with every fault at once, and every YAML of the house valid."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from running import REPOSITORY, write_settings

from unispeech_ft.config.reading import read_configs, to_yaml
from unispeech_ft.errors import UserError
from unispeech_ft.tasks.ctc_phoneme.config import load_config
from unispeech_ft.tasks.pretraining.config import FILE, PretrainingConfig, labelled_languages
from unispeech_ft.tasks.pretraining.unispeech_objective import update_temperature
from unispeech_ft.training.schedule import lr_scale

CONFIGS = sorted((REPOSITORY / "configs" / "pretrain").glob("*.yaml"))
PREDICTS = ("--unlabelled.root", "speech", "--unlabelled.targets", "targets")
SPEECH = {
    "stage_2_ky": ("--unlabelled.root", "speech"),
    "one_gpu": ("--data.root", "cv-corpus/{language}", "--unlabelled.root", "speech"),
    "miniature_stage_2": (),
    "small_masked_prediction": (),
    "wavlm_base": (*PREDICTS, "--mixing.noise_root", "noise"),
    "wavlm_large": (*PREDICTS, "--mixing.noise_root", "noise"),
    "ils_base": PREDICTS,
    "sat_base": PREDICTS,
}
MINIMAL = {"model": {"base": "somewhere"}, "data": {"root": "speech", "language": "en"}}


def read(file: Path, *words: str) -> PretrainingConfig:
    (config,) = read_configs(FILE, ["--config", str(file), *words])
    return config


def load(name: str, *words: str) -> PretrainingConfig:
    return read(REPOSITORY / "configs" / "pretrain" / f"{name}.yaml", *words)


@pytest.mark.parametrize("path", CONFIGS, ids=[path.stem for path in CONFIGS])
def test_every_yaml_is_valid(path: Path) -> None:
    if path.stem == "miniature_tuning":
        load_config(path)
        return
    config = load(path.stem, *SPEECH.get(path.stem, ("--data.root", "speech")))
    lines = path.read_text(encoding="utf-8").splitlines()
    head = "\n".join(lines[: lines.index("")])
    assert all(line.startswith("# ") for line in head.splitlines())
    assert "recipes/pretrain.py --config configs/pretrain/" + path.name in head or "miniature.py" in head
    assert config.optimizer.max_grad_norm in (0.0, 1.0, 5.0, 10.0)
    assert config.mask.feature_prob == 0


def test_the_published_stages_are_as_published() -> None:
    one = load("stage_1_en", "--data.root", "speech")
    assert (one.objective.alpha, one.objective.replacement, one.objective.negatives) == (0.5, 0.5, 100)
    assert (one.mask.time_prob, one.mask.time_length, one.model.layerdrop) == (0.5, 10, 0.0)
    assert (one.optimizer.lr, one.optimizer.weight_decay, one.data.normalize) == (1e-3, 0.01, False)
    assert one.micro_batches_per_update == 64
    assert lr_scale(25_000, one.schedule) == 1
    assert lr_scale(12_500, one.schedule) == 0.5
    assert lr_scale(199_999, one.schedule) == pytest.approx(50_001 / 225_000)
    assert update_temperature(0, one) == 2.0
    two = load("stage_2_ky", "--unlabelled.root", "speech")
    assert (two.objective.alpha, two.mask.time_prob, two.model.layerdrop) == (0, 0.65, 0.05)
    assert (two.optimizer.lr, two.model.extractor_grad_scale, two.data.normalize) == (2e-4, 0.1, True)
    assert (two.schedule.warmup, two.schedule.updates, two.unlabelled_share) == (10_000, 100_000, 1.0)
    assert two.micro_batches_per_update == 16


def test_the_ablations_differ_in_the_objective_alone() -> None:
    whole = load("stage_1_en", "--data.root", "speech")
    expected = {"ablation_r0": (0.5, 0.0), "ablation_ctc_transfer": (1.0, 0.0), "ablation_contrastive": (0.0, 0.0)}
    for name, (alpha, replacement) in expected.items():
        config = load(name, "--data.root", "speech")
        assert (config.objective.alpha, config.objective.replacement) == (alpha, replacement)
        same = {"objective": whole.objective, "output_dir": whole.output_dir}
        assert config.model_copy(update=same) == whole


def test_masked_prediction_is_as_published() -> None:
    for name in ("wavlm_base", "wavlm_large", "ils_base", "sat_base"):
        config = load(name, *SPEECH[name])
        assert (config.mask.time_prob, config.mask.time_length, config.mask.sampling) == (0.8, 10, "original")
        assert config.optimizer.betas == (0.9, 0.98)
        assert (config.optimizer.eps, config.optimizer.weight_decay) == (1e-6, 0.01)
        assert config.schedule.warmup + config.schedule.decay == config.schedule.updates
        assert (config.objective.penalty_weight, config.objective.special_classes) == (10, True)
        assert config.data.normalize == (name == "wavlm_large")
    ils, sat = load("ils_base", *PREDICTS), load("sat_base", *PREDICTS)
    assert (ils.objective.layers, ils.mixing.prob, ils.model.position_gate) == ([4, 12], 0, False)
    assert (sat.objective.utterance_layer, sat.objective.negatives, sat.mixing.prob) == (6, 100, 0.5)
    assert ils.micro_batches_per_update == sat.micro_batches_per_update == 32


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("--objective.alfa", "0.5"), "did you mean objective.alpha"),
        (("--objective.alpha", "1.5"), "objective.alpha"),
        (("--data.root", "null"), "data.root and unlabelled.root are missing"),
        (("--objective.alpha", "1", "--unlabelled.root", "x"), "unlabelled speech has no loss"),
        (("--data.root", "null", "--unlabelled.root", "x"), "no labelled speech"),
        (("--data.languages", "[fr, es]"), "both given"),
        (("--mask.time_prob", "0"), "mask.time_prob"),
        (("--unlabelled.root", "x", "--unlabelled.max_duration_s", "80"), "seconds_per_micro_batch"),
        (("--unlabelled.min_duration_s", "20"), "unlabelled.min_duration_s"),
        (("--objective.gumbel_end", "3"), "gumbel_end"),
    ],
)
def test_faults_are_named(words: tuple[str, ...], named: str, tmp_path: Path) -> None:
    file = write_settings(tmp_path / "c.yaml", MINIMAL)
    with pytest.raises(UserError, match=named):
        read(file, *words)


def test_all_faults_come_at_once(tmp_path: Path) -> None:
    file = write_settings(tmp_path / "c.yaml", {"model": {"base": 3}, "objektive": {}, "seed": -1})
    with pytest.raises(UserError) as fault:
        read(file)
    assert len(fault.value.lines) == 3


def test_the_resolved_configuration_reads_back(tmp_path: Path) -> None:
    config = load("one_gpu", "--data.root", "cv/{language}", "--unlabelled.root", "speech")
    (tmp_path / "c.yaml").write_text(to_yaml(config), encoding="utf-8")
    assert read(tmp_path / "c.yaml") == config


def test_several_languages_have_places_of_their_own() -> None:
    config = load("one_gpu", "--data.root", "cv/{language}", "--unlabelled.root", "speech")
    found = [(language, data.root, data.language) for language, data in labelled_languages(config.data)]
    assert found == [("fr", "cv/fr", "fr"), ("es", "cv/es", "es"), ("it", "cv/it", "it")]


def test_a_dry_run_trains_nothing(
    spoken_corpus: Path, tmp_path: Path, pretrain: Callable[..., int], capfd: pytest.CaptureFixture[str]
) -> None:
    words = ("--dry_run", "true", "--data.root", spoken_corpus, "--data.language", "ky", "--output_dir", tmp_path / "r")
    words += (
        "--data.cache_dir",
        tmp_path / "cache",
        "--objective.inventory",
        "separate",
        "--unlabelled.root",
        tmp_path,
    )
    config = REPOSITORY / "configs" / "pretrain" / "miniature.yaml"
    assert pretrain("--config", config, *words, "--unlabelled.source", "folder") == 0
    said = capfd.readouterr().out
    for expected in ("labelled: ", "unlabelled: folder", "ky:o", "objective: 0.5 · CTC", "1.4 M parameters", "nothing"):
        assert expected in said
    assert not (tmp_path / "r").exists()
