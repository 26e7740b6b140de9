"""What a user can get wrong ends the recipe with status 2, one line for each fault with its remedy, nothing left."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from running import REPOSITORY, merged, run_recipe, tiny_settings, write_settings


@pytest.fixture
def settings(tiny_speech: Path, tmp_path: Path) -> dict[str, Any]:
    return tiny_settings(tiny_speech, tmp_path / "work")


# What the MP3 decoder prints by itself of a file that is none.
MPG123 = ("Note: ", "[src/libmpg123")


def faults(settings: dict[str, Any] | str, tmp_path: Path, *arguments: str) -> list[str]:
    """The lines on stderr of a run that has to be refused before it makes its folder."""
    file = tmp_path / "wrong.yaml"
    if isinstance(settings, str):
        file.write_text(settings, encoding="utf-8")
    else:
        write_settings(file, settings)
    finished = run_recipe("--config", file, "--output_dir", str(tmp_path / "never"), *arguments)
    assert finished.returncode == 2, f"{finished.returncode}\n{finished.stdout[-2000:]}\n{finished.stderr[-4000:]}"
    assert "Traceback" not in finished.stderr
    assert not (tmp_path / "never").exists(), "a refused run must leave nothing behind"
    lines = [line for line in finished.stderr.splitlines() if line.strip() and "examples/s]" not in line]
    lines = [line for line in lines if not line.startswith(MPG123)]
    assert all(line.startswith("error: ") for line in lines), finished.stderr
    return lines


def test_a_typo_in_a_key(settings: dict[str, Any], tmp_path: Path) -> None:
    settings["optimizer"]["learning_rat"] = 1e-3
    settings["shedule"] = {"updates": 3}
    lines = faults(settings, tmp_path, "--mask.time_probb", "0.5")
    assert len(lines) == 3
    assert any("optimizer.learning_rat" in line for line in lines)
    assert any("unknown key shedule" in line and "schedule" in line.split("shedule", 1)[1] for line in lines)
    assert any("mask.time_probb: did you mean mask.time_prob?" in line for line in lines)


def test_a_key_that_stands_twice(tmp_path: Path) -> None:
    text = "seed: 1\ndata:\n  root: .\n  language: ky\n  root: x\nmodel: {base: b}\nseed: 2\n"
    lines = faults(text, tmp_path)
    assert len(lines) == 2
    assert any("line 5: key root stands twice" in line for line in lines)
    assert any("line 7: key seed stands twice" in line for line in lines)


def test_a_yaml_that_is_no_mapping(tmp_path: Path) -> None:
    [line] = faults("- seed\n- 3\n", tmp_path)
    assert "not a mapping" in line


def test_a_number_below_its_limit(settings: dict[str, Any], tmp_path: Path) -> None:
    [line] = faults(settings, tmp_path, "--schedule.updates", "-5")
    assert "schedule.updates is -5" in line
    assert "greater than or equal to 1" in line


def test_a_root_that_is_not_there(settings: dict[str, Any], tmp_path: Path) -> None:
    [line] = faults(settings, tmp_path, "--data.root", str(tmp_path / "nowhere"))
    assert "data.root" in line
    assert str(tmp_path / "nowhere") in line


def test_a_language_that_the_release_lacks(settings: dict[str, Any], tmp_path: Path) -> None:
    [line] = faults(settings, tmp_path, "--data.language", "fr")
    assert "'fr'" in line
    assert "ky" in line


def test_a_language_that_espeak_lacks(settings: dict[str, Any], tmp_path: Path) -> None:
    [line] = faults(settings, tmp_path, "--phonemes.language", "xx-nowhere")
    assert "xx-nowhere" in line
    assert "espeak" in line


def copy_of(speech: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(speech, tmp_path / "copy"))


def test_no_clips(settings: dict[str, Any], tiny_speech: Path, tmp_path: Path) -> None:
    root = copy_of(tiny_speech, tmp_path)
    table = root / "ky" / "train.tsv"
    header = table.read_text(encoding="utf-8").split("\n", 1)[0] + "\n"
    table.write_text(header, encoding="utf-8")
    [line] = faults(settings, tmp_path, "--data.root", str(root))
    assert "no clips found" in line


def test_no_clip_that_can_be_decoded(settings: dict[str, Any], tiny_speech: Path, tmp_path: Path) -> None:
    root = copy_of(tiny_speech, tmp_path)
    for clip in (root / "ky" / "clips").iterdir():
        clip.write_bytes(b"a web page instead of audio " * 50)
    [line] = faults(settings, tmp_path, "--data.root", str(root), "--data.max_bad_fraction", "1.0")
    assert "no utterance" in line
    assert "not audio" in line


def test_too_many_bad_clips(settings: dict[str, Any], tiny_speech: Path, tmp_path: Path) -> None:
    root = copy_of(tiny_speech, tmp_path)
    table = (root / "ky" / "train.tsv").read_text(encoding="utf-8").splitlines()
    names = [row.split("\t")[1] for row in table[1:4]]
    for name in names:
        (root / "ky" / "clips" / name).unlink()
    [line] = faults(settings, tmp_path, "--data.root", str(root))
    assert "3 of " in line
    assert "no such file" in line
    assert names[0].removesuffix(".mp3") in line
    assert "data.max_bad_fraction" in line


def test_a_model_that_is_not_there(settings: dict[str, Any], tmp_path: Path) -> None:
    settings["model"] = {"base": "someone/a-model-that-is-not-here"}
    [line] = faults(settings, tmp_path)
    assert "someone/a-model-that-is-not-here" in line
    assert "model.from_scratch" in line


def test_a_model_configuration_with_a_typo(settings: dict[str, Any], tmp_path: Path) -> None:
    wrong = merged(settings, {"model": {"config": {"hidden_siz": 12}}})
    [line] = faults(wrong, tmp_path)
    assert "hidden_siz" in line


def test_a_clip_that_fits_no_micro_batch(settings: dict[str, Any], tmp_path: Path) -> None:
    [line] = faults(settings, tmp_path, "--batch.seconds_per_micro_batch", "2.0")
    assert "batch.seconds_per_micro_batch" in line
    assert "data.max_duration_s" in line


def test_several_faults_at_once(settings: dict[str, Any], tmp_path: Path) -> None:
    settings["data"]["root"] = None
    settings["optimizer"]["lr"] = "fast"
    settings["model"]["final_dropuot"] = 0.1
    lines = faults(settings, tmp_path, "--schedule.updates", "0", "--nonsense.key", "1", "--seed")
    for expected in ("optimizer.lr", "model.final_dropuot", "schedule.updates", "nonsense.key", "--seed has no value"):
        assert sum(expected in line for line in lines) == 1, expected
    assert len(lines) == 5


def test_several_faults_of_keys_together(settings: dict[str, Any], tmp_path: Path) -> None:
    settings["data"] |= {"root": None, "language": None}
    settings["hub"] = {"push": True}
    lines = faults(settings, tmp_path)
    for expected in ("data.root is missing", "data.language is missing", "hub.repo is missing"):
        assert sum(expected in line for line in lines) == 1, expected


def test_no_configuration(tmp_path: Path) -> None:
    finished = run_recipe(cwd=tmp_path)
    assert finished.returncode == 2
    assert "--config is missing" in finished.stderr
    finished = run_recipe("--config", tmp_path / "none.yaml", cwd=tmp_path)
    assert finished.returncode == 2
    assert "none.yaml" in finished.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_tracker_that_is_not_installed(settings: dict[str, Any], tmp_path: Path) -> None:
    [line] = faults(settings, tmp_path, "--tracking.trackers", "[carrier_pigeon]")
    assert "tracking.trackers" in line


def test_the_earlier_name_of_the_pre_training_recipe_still_works(tmp_path: Path) -> None:
    finished = run_recipe(
        "--config", tmp_path / "none.yaml", script=(REPOSITORY / "recipes" / "pretrain_unispeech.py",)
    )
    assert finished.returncode == 2
    assert "none.yaml" in finished.stderr
