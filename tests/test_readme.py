"""Every command and every example of the README, run in a copy of its layout with tiny speech."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hub.loopback import LoopbackHub
from running import TINY_MODEL
from warm import clean_environment, run_warm
from yaml import safe_dump

from unispeech_ft.testing.stand_in import make_stand_in

REPOSITORY = Path(__file__).resolve().parents[1]
LISTS = Path(os.environ.get("UNISPEECH_FT_SHARED", REPOSITORY.parent / "shared")) / "data" / "unispeech_splits"
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
TINY = ["--model.config", safe_dump(TINY_MODEL, default_flow_style=True, width=10_000).strip()]


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def commands() -> list[list[str]]:
    lines = "\n".join(blocks("bash")).replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True) for line in lines if line.strip()]


def command(start: str) -> list[str]:
    """The README's only command that begins so."""
    (found,) = [words for words in commands() if " ".join(words).startswith(start)]
    return found


@pytest.fixture
def here(tmp_path):
    """A folder that looks like the repository's root to the commands."""
    for name in ("recipes", "configs", "scripts"):
        (tmp_path / name).symlink_to(REPOSITORY / name)
    return tmp_path


def run(words: list[str], folder: Path, **variables: str) -> str:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = clean_environment() | {"PATH": path, "HOME": str(folder)} | variables
    modules = {"unispeech-ft": "unispeech_ft.cli", "accelerate": "accelerate.commands.accelerate_cli"}
    program = [] if words[0] == "python" else ["-m", modules[words[0]]] if words[0] in modules else None
    if program is None or words[1] == "score":
        result = subprocess.run(
            words, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
        )
    else:
        fresh = ["huggingface_hub"] if "HF_ENDPOINT" in variables else []
        result = run_warm([*program, *words[1:]], cwd=folder, env=environment, fresh=fresh)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-4000:]
    return result.stdout


def test_no_command_is_forgotten():
    recipe, launch = "python recipes/ctc_phoneme.py", "accelerate launch recipes/ctc_phoneme.py"
    pretrain = "python recipes/pretrain.py"
    classify = "python recipes/audio_classification.py"
    known = (
        "make demo",
        "make test",
        "source",
        "python scripts/fetch_splits.py",
        recipe,
        pretrain,
        classify,
        "python recipes/speaker_",
        "unispeech-ft verify-speakers",
        "unispeech-ft diarize",
        launch,
        "unispeech-ft transcribe",
        *("unispeech-ft push", "unispeech-ft verify", "unispeech-ft export"),
        *(
            "unispeech-ft evaluate",
            "unispeech-ft score",
            "unispeech-ft align",
            "unispeech-ft pronounce",
            "unispeech-ft ngram",
            "python scripts/boundary_error.py",
        ),
    )
    assert [words for words in commands() if not " ".join(words).startswith(known)] == []


@pytest.mark.parametrize("target", ["demo", "test"])
def test_make_targets_exist(target):
    assert command(f"make {target}") == ["make", target]
    assert run(["make", "--dry-run", target], REPOSITORY)


@pytest.mark.skipif(not LISTS.is_dir(), reason=f"no published lists in {LISTS}")
def test_common_voice_command(here):
    run([*command("python scripts/fetch_splits.py"), "--source", str(LISTS)], here)
    make_stand_in(here / "data" / "unispeech_splits", here / "cv-corpus-25.0", "ky", limit=3)
    launch = command("accelerate launch")
    small = ["--dry_run", "true", "--model.from_scratch", "true", *TINY, "--data.max_bad_fraction", "1.0"]
    said = run([*launch, *small], here)
    assert "updates: 20000" in said
    assert "train: 3 clips" in said


def test_classification_command(here):
    random = np.random.default_rng(0)
    for number in range(24):
        folder = here / "words" / ("yes", "no")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / f"{number}.wav", random.normal(0, 0.1, 12_000), 16_000)
    small = ["--model.from_scratch", "true", *TINY, "--schedule.updates", "2", "--schedule.warmup", "0"]
    said = run([*command("python recipes/audio_classification.py"), *small], here)
    assert "test accuracy" in said
    assert (here / "runs" / "audio_classification" / "model" / "config.json").is_file()


def test_speaker_commands(here):
    for speaker, pitch_hz in enumerate(100 * 1.15 ** np.arange(12)):
        folder = here / "speakers" / "abcdefghijkl"[speaker]
        folder.mkdir(parents=True)
        for number in range(3):
            tone = 0.2 * np.sin(2 * np.pi * pitch_hz * np.arange(10_000 + 100 * number) / 16_000)
            soundfile.write(folder / f"{number}.wav", tone, 16_000)
    small = ["--model.from_scratch", "true", *TINY, "--schedule.updates", "2", "--schedule.warmup", "0"]
    said = run([*command("python recipes/speaker_verification.py"), *small], here)
    assert "test EER" in said
    assert "speakers/a/1.wav\tspeakers/b/1.wav" in run(command("unispeech-ft verify-speakers"), here)
    few = ["--simulation.conversations", "8", "--simulation.scored", "2", "--simulation.duration_s", "2"]
    said = run([*command("python recipes/speaker_diarization.py"), *small, *few], here)
    assert "test DER" in said
    run(command("unispeech-ft diarize"), here)
    assert (here / "runs" / "who" / "1.rttm").is_file()


def test_own_speech_commands(here, spoken_corpus):
    clips = sorted((spoken_corpus / "ky" / "clips").glob("*.mp3"))
    (here / "recordings").mkdir()
    rows = []
    for number, clip in enumerate(clips[:30]):
        samples, rate_hz = soundfile.read(clip, dtype="float32")
        name = f"clip{number or ''}.wav"
        soundfile.write(here / "recordings" / name, samples, rate_hz)
        rows.append(f"{name}\tel perro número {number} come\n")
    (here / "recordings" / "clips.tsv").write_text("path\tsentence\n" + "".join(rows), encoding="utf-8")
    recipe = "python recipes/ctc_phoneme.py --config configs/ctc_phoneme/manifest.yaml"
    run([*command(recipe), *TINY, "--schedule.updates", "2"], here)
    assert "clip.wav\t" in run(command("unispeech-ft transcribe runs/manifest"), here)
    assert (here / "runs" / "textgrids" / "clip.TextGrid").is_file()


def test_pretraining_command(here, spoken_corpus):
    (here / "recordings").symlink_to(spoken_corpus / "ky" / "clips")
    tiny = dict(TINY_MODEL, num_codevectors_per_group=8, codevector_dim=8, proj_codevector_dim=8)
    small = {"seconds_per_update": "20", "seconds_per_micro_batch": "10"}
    words = [word for key, value in small.items() for word in (f"--batch.{key}", value)]
    words += ["--model.from_scratch", "true", "--model.config", safe_dump(tiny, default_flow_style=True, width=10_000)]
    words += ["--unlabelled.max_duration_s", "5", "--schedule.updates", "2", "--model.extractor_grad_scale", "1"]
    run([*command("python recipes/pretrain.py"), *words], here)
    assert (here / "runs" / "pretrain" / "stage_2_ky" / "model" / "model.safetensors").is_file()


def test_python_examples(here, spoken_corpus, small_run):
    api, pipeline = blocks("python")
    (here / "data").mkdir()
    (here / "data" / "demo").symlink_to(spoken_corpus)
    random = f"{{'model.from_scratch': True, 'model.config': {TINY_MODEL!r}"
    tiny = f"{random}, 'schedule.updates': 2, 'output_dir': 'runs/short'}}"
    shortened = re.sub(r"\{.schedule.updates.*?\}", lambda _: tiny, api)
    assert shortened != api
    said = run(["python", "-c", shortened], here)
    assert ["q", "ɯ", "r", "ʁ", "ɯ", "z", "s", "t[", "ɑ", "n"][-1] in said

    (here / "runs" / "demo").mkdir(parents=True)
    (here / "runs" / "demo" / "model").symlink_to(small_run.model_dir.resolve())
    clip = next((spoken_corpus / "ky" / "clips").glob("*.mp3"))
    soundfile.write(here / "clip.wav", *soundfile.read(clip, dtype="float32"))
    assert "'text'" in run(["python", "-c", pipeline], here)


@pytest.mark.long
def test_commands_on_numbers(here, spoken_corpus, small_run):
    (here / "data").mkdir()
    (here / "data" / "demo").symlink_to(spoken_corpus)
    recipe = command("python recipes/ctc_phoneme.py --config configs/ctc_phoneme/demo.yaml")
    said = run(
        [
            *recipe,
            "--model.from_scratch",
            "true",
            *TINY,
            "--schedule.updates",
            "2",
            "--schedule.warmup",
            "1",
            "--output_dir",
            "runs/three",
        ],
        here,
    )
    assert "(mean ± standard deviation)" in said
    (here / "runs" / "demo").mkdir()
    (here / "runs" / "demo" / "model").symlink_to(small_run.model_dir.resolve())
    assert "reference floor 0.00 %" in run(command("unispeech-ft evaluate"), here)
    for name, phones in (("references", "x y"), ("hypotheses", "x"), ("second_labels", "x z")):
        (here / f"{name}.tsv").write_text(f"a\t{phones}\n", encoding="utf-8")
    assert "reference floor    50.00 %" in run(command("unispeech-ft score"), here)
    clip = next((spoken_corpus / "ky" / "clips").glob("*.mp3"))
    soundfile.write(here / "clip.wav", *soundfile.read(clip, dtype="float32"))
    aligned = run(command("unispeech-ft align"), here).splitlines()
    assert [line.split("\t")[3] for line in aligned] == ["b", "ɑ", "l", "ɑ"]
    assert (here / "runs" / "textgrids" / "clip.TextGrid").is_file()
    spoken = run(command("unispeech-ft pronounce"), here).splitlines()
    assert [line.split("\t")[3] for line in spoken if line.split("\t")[0]] == ["b", "ɑ", "l", "ɑ"]
    assert "chosen: the first; runs/demo/ngram" in run(command("unispeech-ft ngram"), here)
    assert "clip.wav\t" in run(command("unispeech-ft transcribe runs/demo"), here)
    assert "phones spread evenly" in run([*command("python scripts/boundary_error.py"), "--clips", "24"], here)


@pytest.mark.long
def test_publish_commands(here, spoken_corpus, small_config, small_run):
    (here / "runs").mkdir()
    (here / "runs" / "ky_1h").symlink_to(small_run.output_dir.resolve())
    (here / "cv-corpus-25.0").symlink_to(spoken_corpus)
    with LoopbackHub("hf_a_token") as server:
        online = {"HF_ENDPOINT": server.address, "HF_TOKEN": "hf_a_token", "HF_HUB_DISABLE_XET": "1"}
        online |= {"HF_HUB_OFFLINE": "0", "HF_HOME": str(here / "hf")}
        assert "/you/ky-phones (private)" in run(command("unispeech-ft push"), here, **online)
        verify = [
            str(small_config) if word.startswith("configs/") else word for word in command("unispeech-ft verify you")
        ]
        assert run(verify, here, **online) == "true\n"
    run(command("unispeech-ft export"), here)
    assert (here / "ky.onnx").is_file()
