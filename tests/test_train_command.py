"""YAMLs of the package: listed, copied, and run without a copy of the repository; the wheel holds what they need."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from running import REPOSITORY, tiny_settings, write_settings
from terminal import on_terminal
from warm import clean_environment, run_warm

from unispeech_ft.cli import main
from unispeech_ft.errors import UserError
from unispeech_ft.runs.shipped import RECIPES, config_file, find_shipped, recipe_of, shipped


def said(words: list[str], capsys: pytest.CaptureFixture[str], status: int = 0) -> str:
    with pytest.raises(SystemExit) as ended:
        main(words)
    printed = capsys.readouterr()
    assert ended.value.code == status, printed.err
    return printed.out if status == 0 else printed.err


def test_every_yaml_of_a_recipe_is_listed_with_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    files = [path for recipe in RECIPES for path in (REPOSITORY / "configs" / recipe).glob("*.yaml")]
    listed = said(["recipes"], capsys).splitlines()
    assert sorted(line.split()[0] for line in listed) == sorted(f"{path.parent.name}/{path.stem}" for path in files)
    told = [line.split(maxsplit=1)[1] for line in listed]
    assert [line for line in told if len(line) < 20 or line.startswith(("Hardware", "Read by", "("))] == []
    assert len(set(told)) == len(told), "each says what it is"


def test_list_and_faults_fit_a_terminal(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "unispeech_ft.cli", "recipes"]
    status, shown = on_terminal(words, 80, cwd=tmp_path, env=clean_environment())
    assert status == 0
    assert max(map(len, shown.splitlines())) == 80
    status, shown = on_terminal([*words[:-1], "copy", "ky_2h"], 50, cwd=tmp_path, env=clean_environment())
    assert status == 2
    assert max(map(len, shown.splitlines())) <= 50, shown


def test_a_name_that_no_disk_has_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["audit", "demo", "--data.root", "a" * 300], ["train", "a" * 300]):
        (line,) = said(words, capsys, 2).splitlines()
        assert "File name too long" in line


def test_a_copy_is_the_yaml_and_never_overwrites(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "unispeech-ft train ky_1h.yaml" in said(["copy", "ky_1h"], capsys)
    text = (REPOSITORY / "configs" / "ctc_phoneme" / "ky_1h.yaml").read_text(encoding="utf-8")
    assert (tmp_path / "ky_1h.yaml").read_text(encoding="utf-8") == text
    assert "is there already" in said(["copy", "ky_1h"], capsys, 2)
    assert "for example ctc_phoneme/" in said(["copy", "ky_2h"], capsys, 2)
    assert "no YAML" in said(["copy", "../../etc/passwd"], capsys, 2)


def test_a_yaml_finds_its_recipe_wherever_it_lies(tmp_path: Path) -> None:
    for item in shipped():
        assert item.recipe == item.path.parent.name or item.path.stem == "miniature_tuning"
        copied = tmp_path / f"{item.recipe}_{item.path.name}"
        copied.write_text(item.path.read_text(encoding="utf-8"), encoding="utf-8")
        assert recipe_of(copied) == item.recipe, item.name
    own = tmp_path / "own.yaml"
    own.write_text("speaker_verification: {size: 8}\n", encoding="utf-8")
    assert recipe_of(own) == "speaker_verification"
    own.write_text("unlabelled: {root: x}\n", encoding="utf-8")
    assert recipe_of(own) == "pretrain"
    assert config_file(str(own)) == own
    assert config_file("words").parent.name == "audio_classification"
    assert find_shipped("speaker_diarization/words").recipe == "speaker_diarization"
    with pytest.raises(UserError, match="no file"):
        config_file(str(tmp_path / "none.yaml"))
    (tmp_path / "run").mkdir()
    assert config_file(own.rename(tmp_path / "run" / "config.yaml").parent) == tmp_path / "run" / "config.yaml"


NAMED = {
    "train": ("train", "{}", "--data.root", "/nowhere"),
    "curve": ("curve", "{}", "--data.root", "/nowhere", "--dry_run", "true"),
    "self-train": ("self-train", "{}", "--data.root", "/nowhere", "--unlabelled", "CLIP"),
    "audit": ("audit", "{}", "--data.root", "/nowhere"),
    "evaluate": ("evaluate", "MODEL", "--config", "{}", "--split", "test", "--data.root", "/nowhere"),
    "ngram": ("ngram", "MODEL", "OUT", "--config", "{}", "--data.root", "/nowhere"),
    "align": ("align", "MODEL", "--corpus", "{}", "--split", "test", "--data.root", "/nowhere"),
    "verify": ("verify", "MODEL", "--config", "{}", "--data.root", "/nowhere"),
}


@pytest.mark.long
@pytest.mark.parametrize("name", NAMED)
def test_every_command_knows_the_names_of_the_package(name, command, small_run, spoken_corpus, tmp_path, monkeypatch):
    """Each reads the YAML and misses its speech; each refuses a name and a folder in the same words."""
    monkeypatch.chdir(tmp_path)
    clip = sorted((spoken_corpus / "ky" / "clips").iterdir())[0]

    def run(config: object) -> tuple[object, list[str]]:
        places = {"{}": config, "MODEL": small_run.model_dir, "CLIP": clip, "OUT": tmp_path / "out"}
        words = [str(places.get(word, word)) for word in NAMED[name]]
        if name in ("train", "curve", "self-train"):  # which make processes of their own
            done = run_warm(["-m", "unispeech_ft.cli", *words], cwd=tmp_path, env=clean_environment())
            return done.returncode, done.stderr.splitlines()
        status, _, err = command(*words)
        return status, err.splitlines()

    status, lines = run("demo")
    assert (status, len(lines)) == (2, 1), lines
    assert "/nowhere" in lines[0]
    near = "error: no YAML ky_2h comes with the package: for example ctc_phoneme/"
    assert [line[: len(near)] for line in run("ky_2h")[1]] == [near]
    [refused] = run(tmp_path)[1]
    assert refused.startswith(f"error: {tmp_path} is a folder, but no run: name a YAML file, a run, or one of")


def test_the_command_trains(spoken_corpus: Path, tmp_path: Path) -> None:
    settings = tiny_settings(spoken_corpus, tmp_path)
    settings["schedule"]["updates"] = 2
    file = write_settings(tmp_path / "own.yaml", settings)
    words = ["train", file, "--output_dir", "runs/here", "--evaluation.every_updates", "2", "--seed", "3"]
    done = run_warm(["-m", "unispeech_ft.cli", *words], cwd=tmp_path, env=clean_environment())
    assert done.returncode == 0, done.stderr[-2000:]
    assert "seed: 3" in (tmp_path / "runs" / "here" / "config.yaml").read_text(encoding="utf-8")
    assert (tmp_path / "runs" / "here" / "model" / "config.json").is_file()


@pytest.mark.slow
def test_the_wheel_trains_the_demo_without_the_repository(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path)]
    subprocess.run([*build, str(REPOSITORY)], check=True, timeout=300)
    [wheel] = tmp_path.glob("*.whl")
    place = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(place)

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        environment = clean_environment() | {"PYTHONPATH": str(place)}
        program = [sys.executable, *words]
        return subprocess.run(
            program, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=900, check=False
        )

    assert str(place) in run("-c", "import unispeech_ft; print(unispeech_ft.__file__)").stdout
    few = ["--schedule.updates", "30", "--evaluation.every_updates", "30"]
    done = run("-m", "unispeech_ft.cli", "demo", *few)
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "runs" / "demo" / "eval" / "test" / "report.html").is_file()
