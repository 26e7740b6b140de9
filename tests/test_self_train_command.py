"""`unispeech-ft self-train`: what a model heard becomes what the next one trains on, and nothing of the corpus does."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from data.test_further import clips_of
from running import REPOSITORY, merged, must_run, tiny_settings, write_settings

import unispeech_ft
from unispeech_ft.config.reading import to_yaml
from unispeech_ft.data.audio import read_audio
from unispeech_ft.errors import UserError
from unispeech_ft.models.saved import SavedModel
from unispeech_ft.tasks.ctc_phoneme.config import load_config
from unispeech_ft.transcription.own_labels import LEAST_PHONES, OwnLabel, own_labels, surest, write_labels
from unispeech_ft.transcription.unlabelled import Recording


def test_what_a_model_hears(small_model: SavedModel, tiny_speech: Path, tmp_path: Path) -> None:
    clips = clips_of(tiny_speech, "train")[:3]
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"no sound")
    found = list(own_labels(small_model, list(map(Recording, [clips[0], broken, *clips[1:]])), longest_s=1.5))
    faults = [item for item in found if isinstance(item, UserError)]
    assert len(faults) == 1
    assert "broken.wav" in faults[0].what
    labels = [item for item in found if isinstance(item, OwnLabel)]
    assert labels
    for label in labels:
        assert 0 <= label.start_s < label.end_s <= len(read_audio(label.path)) / 16_000 + 1e-6
        assert label.end_s - label.start_s <= 1.5
        assert len(label.phones) >= LEAST_PHONES
        assert 0 <= label.confidence <= 1
    assert len(labels) > len({label.path for label in labels}), "long recordings are cut"


def test_the_surest_are_kept() -> None:
    labels = [OwnLabel("a", n, n + 1, ("a",) * 4, sure) for n, sure in enumerate((0.5, 0.9, 0.7, 0.8))]
    assert [label.confidence for label in surest(labels, 0.5)] == [0.9, 0.8]
    assert surest(labels, 1) == labels
    assert surest(labels, 0.2) == []
    assert surest([], 0.5) == []


@pytest.fixture
def config(spoken_corpus: Path, tmp_path: Path) -> Path:
    return write_settings(tmp_path / "tiny.yaml", tiny_settings(spoken_corpus, tmp_path))


@pytest.fixture
def asked(config: Path, small_run: unispeech_ft.RunResult, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """The overrides of runs that would have been made; each leaves a run of two updates instead."""
    runs: list[dict[str, str]] = []

    def run(command: list[str], check: bool) -> subprocess.CompletedProcess[bytes]:
        given = {word[2:]: command[place + 1] for place, word in enumerate(command) if word.startswith("--")}
        runs.append(given)
        folder = Path(given["output_dir"])
        shutil.copytree(small_run.output_dir, folder)
        own = {key: value for key, value in given.items() if key != "config"}
        (folder / "config.yaml").write_text(to_yaml(load_config(config, own)), encoding="utf-8")
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", run)
    return runs


def test_each_round_trains_on_what_the_one_before_heard(
    command: Callable[..., Any],
    config: Path,
    asked: list[dict[str, str]],
    tiny_speech: Path,
    spoken_corpus: Path,
    tmp_path: Path,
) -> None:
    own = clips_of(spoken_corpus, "train")[0].parent
    words = ("self-train", config, "--unlabelled", tiny_speech / "ky" / "clips", own, "--rounds", "2")
    status, out, err = command(*words)
    assert status == 0, err
    folder = tmp_path / "run-self"
    assert [run["output_dir"] for run in asked] == [str(folder / f"round-{number}") for number in range(3)]
    assert [run.get("data.further") for run in asked] == [
        None,
        str(folder / "round-1.tsv"),
        str(folder / "round-2.tsv"),
    ]
    assert "recordings are left out: they are in the corpus" in out
    assert "do not say who speaks" not in out, "the tables of the release do"
    heard = (folder / "round-1.tsv").read_text(encoding="utf-8").splitlines()
    assert heard[0] == "path\tstart\tend\tphones\tconfidence\tspeaker"
    assert len(heard) > 2
    assert all(line.startswith(str(tiny_speech.resolve())) for line in heard[1:]), "nothing of the corpus"
    lines = out.splitlines()
    assert any(line.startswith("round 2: validation PER") and "points, 95 % interval" in line for line in lines)
    assert lines[-1].startswith("best on validation: ")
    asked.clear()
    assert command(*words)[0] == 0
    assert asked == [], "what is there is kept"
    status, _, err = command(*words, "--keep", "0.5")
    assert status == 2
    assert "rounds of other recordings or speakers, or of another --keep" in err
    named = tmp_path / "named.tsv"
    rows = [f"{clip}\tsomebody\n" for clip in sorted((tiny_speech / "ky" / "clips").glob("*.mp3"))]
    named.write_text("path\tspeaker\n" + "".join(rows), encoding="utf-8")
    status, _, err = command("self-train", config, "--unlabelled", named, own, "--rounds", "2")
    assert status == 2, "who speaks has changed"
    assert "rounds of other recordings or speakers" in err


def test_nothing_is_trained_where_nothing_is_new(
    command: Callable[..., Any], config: Path, asked: list[dict[str, str]], spoken_corpus: Path
) -> None:
    own = clips_of(spoken_corpus, "train")[0].parent
    status, out, err = command("self-train", config, "--unlabelled", own)
    assert status == 2
    assert "recordings are left out: they are in the corpus" in out
    assert "names no recording that may be trained on" in err
    assert asked == []


def test_a_filter_that_keeps_nothing(
    command: Callable[..., Any], config: Path, asked: list[dict[str, str]], tiny_speech: Path
) -> None:
    words = ("self-train", config, "--unlabelled", tiny_speech / "ky" / "clips", "--keep", "0.0001")
    status, _, err = command(*words)
    assert status == 2
    assert "--keep 0.0001 keeps none of" in err
    assert len(asked) == 1


def test_labels_are_of_the_channel_that_is_trained_on(
    small_model: SavedModel, tiny_speech: Path, tmp_path: Path
) -> None:
    left, right = (read_audio(str(clip)) for clip in clips_of(tiny_speech, "train")[:2])
    length = min(len(left), len(right))
    stereo, mono = tmp_path / "stereo.wav", tmp_path / "mono.wav"
    soundfile.write(stereo, np.stack([left[:length], right[:length]], axis=1), 16_000, subtype="FLOAT")
    soundfile.write(mono, right[:length], 16_000, subtype="FLOAT")
    heard = [
        [getattr(item, "phones", item) for item in own_labels(small_model, [Recording(path)], 30.0, channel)]
        for path, channel in ((stereo, 1), (mono, None), (stereo, None))
    ]
    assert heard[0]
    assert heard[0] == heard[1] != heard[2]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--unlabelled", "nope"), "no such file"),
        (("--unlabelled", ".", "--rounds", "0"), "is not above 0"),
        (("--unlabelled", ".", "--keep", "1.5"), "is no share"),
        (("--unlabelled", ".", "--resume", "true"), "what is there is kept"),
        (("--unlabelled", ".", "--data.further", "x.tsv"), "the rounds make their own"),
    ],
)
def test_faults(command: Callable[..., Any], config: Path, words: tuple[str, ...], said: str) -> None:
    status, _, err = command("self-train", config, *words)
    assert status == 2
    assert said in err
    assert "Traceback" not in err


def test_a_run_with_further_speech(tiny_speech: Path, spoken_corpus: Path, tmp_path: Path) -> None:
    clips = clips_of(spoken_corpus, "train")[:3]
    labels = [OwnLabel(str(clip), 0.0, 1.5, ("a", "b", "e", "k"), 0.9) for clip in clips]
    write_labels(tmp_path / "further.tsv", labels)
    changes = {"schedule": {"updates": 2}, "data": {"further": str(tmp_path / "further.tsv")}}
    file = write_settings(tmp_path / "more.yaml", merged(tiny_settings(tiny_speech, tmp_path), changes))
    said = must_run("--config", file)
    assert "train: 3 further clips, 0.00 h" in said


@pytest.mark.long
def test_the_recipe_is_the_command(config: Path, tmp_path: Path) -> None:
    script = str(REPOSITORY / "recipes" / "self_training.py")
    for given in (["--config", str(config)], [f"--config={config}"]):
        words = [sys.executable, script, "--unlabelled", str(tmp_path / "none"), *given]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert "no such file" in done.stderr
        assert "Traceback" not in done.stderr
