"""The demo's configuration, shortened, with two gloo processes: a complete run directory, a model that plain
transformers loads; and the dry run of every configuration."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from running import RECIPE, REPOSITORY, events, must_run
from warm import clean_environment, run_warm

from unispeech_ft.tasks.ctc_phoneme.config import CtcPhonemeConfig

CONFIGS = sorted((REPOSITORY / "configs" / "ctc_phoneme").glob("*.yaml"))
UPDATES = 20

TRANSCRIBE = """
import json, sys
import soundfile
from transformers import pipeline

samples, rate_hz = soundfile.read(sys.argv[2], dtype="float32")
said = pipeline("automatic-speech-recognition", model=sys.argv[1])({"raw": samples, "sampling_rate": rate_hz})
print(json.dumps({"text": said["text"], "ours": [name for name in sys.modules if name.startswith("unispeech_ft")]}))
"""


@pytest.fixture(scope="module")
def run(tiny_speech: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    overrides = {
        "output_dir": folder / "run",
        "data.root": tiny_speech,
        "data.cache_dir": folder / "cache",
        "schedule.updates": UPDATES,
        "schedule.warmup": 2,
        "evaluation.every_updates": 10,
        "checkpointing.every_updates": 10,
    }
    arguments = [word for key, value in overrides.items() for word in (f"--{key}", str(value))]
    said = must_run(
        "--config", REPOSITORY / "configs" / "ctc_phoneme" / "demo.yaml", *arguments, processes=2, torchrun=True
    )
    assert said.count("test PER") == 1, "only one process speaks"
    return folder / "run"


@pytest.mark.long
def test_two_processes_worked_together(run: Path) -> None:
    environment = json.loads((run / "environment.json").read_text(encoding="utf-8"))
    assert environment["processes"] == 2
    assert environment["backend"] == "gloo"
    assert environment["device"] == "cpu"
    assert environment["espeak_ng"]
    assert environment["packages"]["torch"]
    assert not run.with_name("run.1").exists(), "two processes that do not know of each other make two runs"


@pytest.mark.long
def test_the_run_directory_is_complete(run: Path, tiny_speech: Path) -> None:
    config = CtcPhonemeConfig.model_validate(yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8")))
    assert config.schedule.updates == UPDATES
    assert config.data.root == str(tiny_speech)
    updates = events(run)
    assert [event["update"] for event in updates] == list(range(1, UPDATES + 1))
    assert {"loss", "grad_norm", "lr", "epoch", "padded_s"} <= updates[0].keys()
    assert updates[-1]["loss"] < updates[0]["loss"]
    assert [event["update"] for event in events(run, "evaluation")] == [10, 20]
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["best", "update-000020"]
    rows = len((tiny_speech / "ky" / "test.tsv").read_text(encoding="utf-8").splitlines()) - 1
    for split in ("validation", "test"):
        folder = run / "eval" / split
        summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
        lines = [json.loads(line) for line in (folder / "hypotheses.jsonl").read_text(encoding="utf-8").splitlines()]
        assert summary["utterances"] == len(lines)
        errors = sum(summary[kind] for kind in ("substitutions", "deletions", "insertions"))
        assert summary["per"] == pytest.approx(errors / summary["reference_phones"])
        assert summary["reference_phones"] == sum(len(line["reference"]) for line in lines)
        assert len({line["id"] for line in lines}) == len(lines)
        assert len(summary["per_ci95"]) == 2
        assert summary["split"] == split
        assert (folder / "report.html").stat().st_size > 1_000
    assert summary["utterances"] == rows
    files = {path.name for path in (run / "model").iterdir()}
    needed = {"config.json", "model.safetensors", "vocab.json", "tokenizer_config.json", "README.md"}
    assert needed | {"preprocessor_config.json"} <= files or needed | {"processor_config.json"} <= files
    assert not list(run.rglob(".*")), "nothing half-written is left"


@pytest.mark.long
def test_plain_transformers_transcribe_with_the_model(run: Path, tiny_speech: Path) -> None:
    clip = next((tiny_speech / "ky" / "clips").glob("*.mp3"))
    words = [sys.executable, "-c", TRANSCRIBE, str(run / "model"), str(clip)]  # nothing of ours is loaded there
    finished = subprocess.run(words, cwd=run, env=clean_environment(), capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr[-3000:]
    said = json.loads(finished.stdout.splitlines()[-1])
    assert said["ours"] == []
    assert isinstance(said["text"], str)
    vocabulary = json.loads((run / "model" / "vocab.json").read_text(encoding="utf-8"))
    assert set(said["text"].split()) <= set(vocabulary) - {"<pad>", "<s>", "</s>", "<unk>"}


EACH_IN_TURN = """
import json, runpy, sys

recipe, commands = sys.argv[1], json.loads(sys.argv[2])
for name, arguments in commands.items():
    print(f"=== {name}", flush=True)
    sys.argv = [recipe, *arguments]
    try:
        runpy.run_path(recipe, run_name="__main__")
    except SystemExit as ended:
        print(f"status {ended.code}", flush=True)
"""


@pytest.fixture(scope="module")
def dry_runs(tiny_speech: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, str], Path]:
    """What each configuration's dry run prints, all in one interpreter to import the libraries once, and the folder
    for their output."""
    folder = tmp_path_factory.mktemp("dry")
    overrides = {
        "dry_run": "true",
        "data.source": "common_voice",
        "data.root": tiny_speech,
        "data.language": "ky",
        "data.splits": "release",
        "data.cache_dir": folder / "cache",
        "data.num_workers": 1,
        "phonemes.labels": "espeak",
        "phonemes.language": "ky",
    }
    shared = [word for key, value in overrides.items() for word in (f"--{key}", str(value))]
    commands = {
        path.stem: ["--config", str(path), *shared, "--output_dir", str(folder / "runs" / path.stem)]
        for path in CONFIGS
    }
    words = ["-c", EACH_IN_TURN, str(RECIPE), json.dumps(commands)]
    finished = run_warm(words, cwd=REPOSITORY, env=clean_environment())
    assert finished.returncode == 0, finished.stderr[-3000:]
    said = {part.split("\n", 1)[0].strip(): part for part in finished.stdout.split("=== ")[1:]}
    return {name: text + finished.stderr if "status 0" not in text else text for name, text in said.items()}, folder


@pytest.mark.parametrize("name", [path.stem for path in CONFIGS])
def test_dry_run(name: str, dry_runs: tuple[dict[str, str], Path]) -> None:
    said, folder = dry_runs
    assert "status 0" in said[name], said[name][-3000:]
    for expected in ("train: ", "updates: ", "epochs: ", "seconds an update: ", "nothing was trained"):
        assert expected in said[name]
    assert not (folder / "runs").exists(), "a dry run makes no run directory"
