"""A probe learns from cached layer means what full training would; validation alone chooses; faults are named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from accelerate import Accelerator
from running import REPOSITORY, TINY_MODEL, must_run
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForAudioClassification

from unispeech_ft.config.labelled import ProbeConfig
from unispeech_ft.config.reading import read_config, to_yaml
from unispeech_ft.data.labelled import Clips, open_clips
from unispeech_ft.data.row import row_of
from unispeech_ft.data.speech import Turns
from unispeech_ft.errors import UserError
from unispeech_ft.models.build import BuiltModel
from unispeech_ft.models.families import backbone
from unispeech_ft.models.feature_cache import open_features
from unispeech_ft.models.layer_means import layer_means, open_layer_means
from unispeech_ft.recipes import audio_classification
from unispeech_ft.tasks.audio_classification import evaluate, task
from unispeech_ft.tasks.audio_classification.config import FILE, ClassifierConfig
from unispeech_ft.tasks.audio_classification.evaluate import classify, classify_means
from unispeech_ft.tasks.audio_classification.model import HEAD, build_classifier
from unispeech_ft.training import sweep
from unispeech_ft.training.checkpoint import Progress
from unispeech_ft.training.loop import train

YAML = REPOSITORY / "configs" / "audio_classification" / "superb_ks.yaml"
UPDATES = 12
Configured = Callable[..., ClassifierConfig]


def write_manifest(root: Path, name: str, *, scrambled: bool = False) -> Path:
    """Noises in three bands that overlap, so that no head is always right; `scrambled` moves the labels of the test."""
    lines = ["path\tlabel\tsplit"]
    for number in range(60):
        band, split = number % 3, ("train", "train", "dev", "test")[number // 3 % 4]
        random = np.random.default_rng(number)
        path = root / f"{number:02d}.wav"
        if not path.is_file():
            time_s = np.arange(int(16_000 * random.uniform(0.3, 0.7))) / 16_000
            tone = np.sin(2 * np.pi * 600 * 1.3 ** (band + random.normal(0, 0.6)) * time_s)
            soundfile.write(path, (0.1 * tone + random.normal(0, 0.1, len(time_s))).astype(np.float32), 16_000)
        label = (band + 1) % 3 if scrambled and split == "test" else band
        lines.append(f"{path.name}\tband{label}\t{split}")
    manifest = root / f"{name}.tsv"
    manifest.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return manifest


@pytest.fixture(scope="module")
def configured(tmp_path_factory: pytest.TempPathFactory) -> Configured:
    place = tmp_path_factory.mktemp("probes")
    (place / "audio").mkdir()
    for name in ("plain", "scrambled"):
        write_manifest(place / "audio", name, scrambled=name == "scrambled")

    def config(name: str, **overrides: object) -> ClassifierConfig:
        tiny = {
            "model.from_scratch": True,
            "model.base": None,
            "model.config": {**TINY_MODEL, "classifier_proj_size": 16},
            "data.root": str(place / "audio"),
            "data.train": "plain.tsv",
            "data.max_duration_s": 2,
            "data.cache_dir": str(place / "cache"),
            "output_dir": str(place / name),
            "batch.seconds_per_update": 6,
            "batch.seconds_per_micro_batch": 3,
            "probe.lrs": [1e-1, 1e-3, 1e-6],
            "schedule.updates": UPDATES,
            "schedule.freeze_encoder_updates": UPDATES,
            "evaluation.every_updates": 4,
            "checkpointing.every_updates": 4,
        }
        return read_config(FILE, YAML, {**tiny, **{key.replace("__", "."): value for key, value in overrides.items()}})

    return config


@pytest.fixture(scope="module")
def probed(configured: Configured) -> Path:
    config = configured("probed")
    audio_classification.run(config)
    return Path(config.output_dir)


def opened(config: ClassifierConfig) -> tuple[Clips, BuiltModel]:
    clips = open_clips(config.data, task.label_source(config), Turns())
    return clips, build_classifier(config, clips.classes)


def head_of(network: Any) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items() if name.startswith(HEAD)}


def test_cached_means_train_the_head_that_full_training_does(configured: Configured, accelerator: Accelerator) -> None:
    quiet = dict.fromkeys(
        ("hidden_dropout", "attention_dropout", "activation_dropout", "feature_projection_dropout"), 0.0
    )
    config = configured("cached", optimizer__lr=1e-2, **{f"model__{name}": value for name, value in quiet.items()})
    trained = []
    for cached in (True, False):
        clips, built = opened(config)
        here = config.model_copy(
            update={"output_dir": config.output_dir + str(cached), "probe": ProbeConfig(enabled=cached)}
        )
        Path(here.output_dir).mkdir()
        before = {name: tensor.clone() for name, tensor in backbone(built.model).state_dict().items()}
        stores = task.open_stores(here, built, clips, accelerator)
        fitted = task.AudioClassificationTask(here, built, clips, stores, accelerator)
        train(fitted, here, accelerator, None)
        assert all(torch.equal(before[name], tensor) for name, tensor in backbone(built.model).state_dict().items())
        trained.append(head_of(built.model))
    start = head_of(opened(config)[1].model)
    assert not torch.equal(trained[0]["layer_weights"], start["layer_weights"])
    assert torch.equal(start["layer_weights"], torch.zeros(TINY_MODEL["num_hidden_layers"] + 1))
    for name, tensor in trained[0].items():
        assert (tensor - trained[1][name]).abs().max() < 1e-6, name


@torch.no_grad()
def stock_logits(folder: Path, clips: list[np.ndarray]) -> Tensor:
    network = AutoModelForAudioClassification.from_pretrained(folder).eval()
    return torch.cat([network(torch.from_numpy(clip)[None]).logits for clip in clips])


def our_logits(folder: Path, clips: list[np.ndarray], front_end: Any) -> Tensor:
    network = AutoModelForAudioClassification.from_pretrained(folder).eval()
    extract = network.unispeech.feature_extractor
    features = [extract(torch.from_numpy(clip)[None])[0].T.detach().numpy() for clip in clips]
    front_end = type(front_end)(network, front_end.normalize, front_end.eps)
    means = layer_means(front_end, row_of(features))
    said = classify_means(network, row_of([clip.numpy() for clip in means]))
    torch.testing.assert_close(said, classify(network, row_of(features)), rtol=1e-5, atol=1e-5)
    return said


def last_only(states: Any, weights: Tensor) -> Tensor:
    return states[-1]


@torch.no_grad()
@pytest.mark.parametrize("mutant", [None, last_only, lambda states, weights: sum(states) / len(states)])
def test_what_a_probe_leaves_is_transformers_own_head(
    mutant: Any, probed: Path, configured: Configured, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(0)
    clips = [random.normal(size=size).astype(np.float32) for size in (9_000, 14_000, 6_000)]
    front_end = opened(configured("shape"))[1].front_end
    if mutant is not None:
        monkeypatch.setattr(evaluate, "weighted_sum", mutant)
    same = torch.allclose(
        our_logits(probed / "model", clips, front_end), stock_logits(probed / "model", clips), atol=1e-5
    )
    assert same == (mutant is None)


def test_validation_chooses_and_each_rate_is_told(probed: Path, capfd: pytest.CaptureFixture[str]) -> None:
    found = json.loads((probed / "probe.json").read_text(encoding="utf-8"))
    errors = {rate["lr"]: rate["validation_error"] for rate in found["rates"]}
    assert list(errors) == [1e-1, 1e-3, 1e-6]
    assert len(set(errors.values())) > 1, "rates must differ for a choice to mean something"
    assert found["chosen_lr"] == min(errors, key=errors.__getitem__)
    folder = probed / f"lr-{found['chosen_lr']:g}"
    best = [torch.load(place / "checkpoints" / "best" / "model.pt") for place in (folder, probed)]
    assert set(best[0]) == set(best[1])
    assert all(name.startswith(HEAD) for name in best[0]), "a checkpoint holds the head alone"
    assert all(torch.equal(tensor, best[1][name]) for name, tensor in best[0].items())
    assert (probed / "metrics.jsonl").read_bytes() == (folder / "metrics.jsonl").read_bytes()
    validation = json.loads((probed / "eval" / "validation" / "summary.json").read_text())
    assert 1 - validation["accuracy"] == pytest.approx(errors[found["chosen_lr"]])


def test_a_rate_knows_nothing_of_those_before_it(probed: Path, configured: Configured) -> None:
    config = configured("alone", probe__lrs=[1e-3])
    audio_classification.run(config)
    folders = [place / "lr-0.001" / "checkpoints" / "best" / "model.pt" for place in (probed, Path(config.output_dir))]
    first, second = (torch.load(folder) for folder in folders)
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())


def choice_and_weights(config: ClassifierConfig) -> tuple[str, bytes]:
    audio_classification.run(config)
    output = Path(config.output_dir)
    return (output / "probe.json").read_text(), (output / "model" / "model.safetensors").read_bytes()


@pytest.mark.parametrize("peeks", [False, True])
def test_scrambled_labels_of_the_test_change_nothing_of_the_choice(
    peeks: bool, configured: Configured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task that scored the test split for its choice is seen by it."""
    if peeks:
        init = task.AudioClassificationTask.__init__

        def peeking(self: Any, config: Any, built: Any, clips: Clips, features: Any, accelerator: Any) -> None:
            init(self, config, built, clips, features, accelerator)
            self.validation, self.features = clips.splits["test"], {**features, "validation": features["test"]}

        monkeypatch.setattr(task.AudioClassificationTask, "__init__", peeking)
    first, second = (
        choice_and_weights(configured(f"{name}{peeks}", data__train=f"{name}.tsv")) for name in ("plain", "scrambled")
    )
    assert (first == second) != peeks


def test_equals_go_to_the_first_and_none_is_an_error() -> None:
    def at(error: float | None) -> Progress:
        return Progress("", best_error=error)

    assert sweep.choose({1e-1: at(0.3), 1e-2: at(0.2), 1e-3: at(0.2), 1e-4: at(None)}) == 1e-2
    with pytest.raises(UserError, match=r"no rate of probe\.lrs"):
        sweep.choose({1e-1: at(None)})


def test_a_sweep_goes_on_where_it_stood(configured: Configured, probed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = configured("halted")
    calls = iter(range(100))

    def halting(*arguments: Any) -> Progress:
        if next(calls) == 1:
            raise KeyboardInterrupt
        return train(*arguments)

    monkeypatch.setattr(sweep, "train", halting)
    with pytest.raises(KeyboardInterrupt):
        audio_classification.run(config)
    monkeypatch.undo()
    first = Path(config.output_dir) / "lr-0.1" / "checkpoints" / f"update-{UPDATES:06d}" / "model.pt"
    written = first.stat().st_mtime_ns
    assert choice_and_weights(configured("halted", resume=True)) == (
        (probed / "probe.json").read_text(),
        (probed / "model" / "model.safetensors").read_bytes(),
    )
    assert first.stat().st_mtime_ns == written, "a rate that was done is not trained again"


def test_two_processes_make_the_same_choice(probed: Path, configured: Configured, tmp_path: Path) -> None:
    config = configured("two")
    file = tmp_path / "two.yaml"
    file.write_text(to_yaml(config), encoding="utf-8")
    must_run("--config", file, processes=2, script=(REPOSITORY / "recipes" / "audio_classification.py",))
    one, two = (json.loads((place / "probe.json").read_text()) for place in (probed, Path(config.output_dir)))
    assert one == two
    weights = [load_file(place / "model" / "model.safetensors") for place in (probed, Path(config.output_dir))]
    assert all((tensor - weights[1][name]).abs().max() < 1e-5 for name, tensor in weights[0].items())


def test_padding_and_company_change_no_mean(configured: Configured, accelerator: Accelerator) -> None:
    config = configured("means")
    clips, built = opened(config)
    part, cache = clips.splits["train"], config.data.cache_folder
    together = open_layer_means(built.front_end, part.audio, part.rows, cache, accelerator, "train")
    features = open_features(part.audio, part.rows, built.front_end, cache, config.training, accelerator, "train")
    for index in range(0, len(part), 7):
        alone = layer_means(built.front_end, row_of([features.clip(index)]))[0]
        np.testing.assert_allclose(together.clip(index), alone.numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schedule__freeze_encoder_updates": 3}, "stays frozen"),
        ({"mask__time_prob": 0.1}, "as it is"),
        ({"model__layerdrop": 0.1}, "as it is"),
        ({"probe__lrs": [1e-2, 1e-2]}, "names a rate twice"),
        ({"probe__lrs": []}, r"probe\.lrs"),
        ({"probe__lrs": "fast"}, r"probe\.lrs"),
        ({"resume": "runs/x"}, "resume names a folder"),
        ({"audio_classification__crop_s": 1.0}, "hears each clip once"),
    ],
)
def test_faults_are_named(change: dict[str, object], message: str, configured: Configured) -> None:
    with pytest.raises(UserError, match=message) as fault:
        configured("faulty", **change)
    assert len(fault.value.lines) == 1


def test_a_probe_without_validation_is_refused(configured: Configured) -> None:
    config = configured("blind")
    manifest = Path(str(config.data.root)) / "blind.tsv"
    lines = (manifest.with_name("plain.tsv")).read_text().splitlines()
    manifest.write_text("\n".join(line for line in lines if not line.endswith("dev")) + "\n")
    with pytest.raises(UserError, match="needs a validation split"):
        audio_classification.run(configured("blind", data__train="blind.tsv"))
