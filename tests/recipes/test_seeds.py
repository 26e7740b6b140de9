"""`seed: [1, 2]`: a run of each, reported together, also with two processes, resumed, and as a dry run."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

import pytest
from running import must_run, run_recipe, tiny_settings, write_settings

import unispeech_ft
from unispeech_ft.config.reading import read_configs
from unispeech_ft.errors import UserError, UserErrors
from unispeech_ft.tasks.ctc_phoneme.config import FILE, CtcPhonemeConfig, load_config


@pytest.fixture
def config(spoken_corpus: Path, tmp_path: Path) -> Path:
    settings = tiny_settings(spoken_corpus, tmp_path / "runs") | {"seed": [3, 5]}
    settings["schedule"] = settings["schedule"] | {"updates": 3}
    return write_settings(tmp_path / "seeds.yaml", settings)


@pytest.mark.long
def test_two_processes_make_a_run_of_each_seed(config: Path, tmp_path: Path) -> None:
    said = must_run("--config", config, processes=2)
    output = tmp_path / "runs" / "run"
    written = json.loads((output / "summary.json").read_text(encoding="utf-8"))
    assert written["seeds"] == [3, 5]
    assert written["runs"] == [str(output / "seed-3"), str(output / "seed-5")]
    pers = []
    for seed in (3, 5):
        run = output / f"seed-{seed}"
        assert f"seed: {seed}\n" in (run / "config.yaml").read_text(encoding="utf-8")
        assert (run / "model" / "model.safetensors").is_file()
        pers.append(json.loads((run / "eval" / "test" / "summary.json").read_text(encoding="utf-8"))["per"])
    test = written["splits"]["test"]
    assert test["per"] == pers
    assert pers[0] != pers[1]
    assert test["mean"] == pytest.approx(statistics.fmean(pers))
    assert test["sd"] == pytest.approx(statistics.stdev(pers))
    assert said.count("test PER") == 3
    assert f"test PER {100 * test['mean']:.2f} ± {100 * test['sd']:.2f}" in said.splitlines()[-2]

    (output / "summary.json").unlink()
    (output / "seed-5").rename(tmp_path / "elsewhere")
    said = must_run("--config", config, "--resume", "true", "--schedule.updates", "4")
    assert json.loads((output / "summary.json").read_text(encoding="utf-8"))["seeds"] == [3, 5]
    assert len((output / "seed-3" / "metrics.jsonl").read_text().splitlines()) == 6, "updates 1 to 4, evaluations 3, 4"
    assert not (output / "seed-3.1").exists()
    assert (output / "seed-5" / "model" / "model.safetensors").is_file()


def test_a_dry_run_writes_nothing(config: Path, tmp_path: Path) -> None:
    said = must_run("--config", config, "--dry_run", "true")
    assert said.count("dry run: nothing was trained") == 2
    assert not (tmp_path / "runs").exists()


def test_each_seed_is_a_plain_number(config: Path) -> None:
    first, second = read_configs(FILE, ["--config", str(config)])
    assert (first.seed, second.seed) == (3, 5)
    assert (Path(first.output_dir).name, Path(second.output_dir).name) == ("seed-3", "seed-5")
    (single,) = read_configs(FILE, ["--config", str(config), "--seed", "9"])
    assert (single.seed, Path(single.output_dir).name) == (9, "run")
    assert [item.seed for item in read_configs(FILE, ["--config", str(config), "--seed", "[1, 2, 3]"])] == [1, 2, 3]
    assert load_config(config, first_seed=True).seed == 3
    seed = CtcPhonemeConfig.model_json_schema()["properties"]["seed"]
    assert [kind["type"] for kind in seed["anyOf"]] == ["integer", "array"]


@pytest.mark.parametrize("value", ["[]", "[1, 1]", "[1, -2]", "[1, x]", "[true]", "[[1]]"])
def test_wrong_seeds_are_told(config: Path, value: str) -> None:
    with pytest.raises(UserError, match="seed is"):
        read_configs(FILE, ["--config", str(config), "--seed", value])


def test_keys_of_one_run_do_not_go_with_several_seeds(config: Path) -> None:
    with pytest.raises((UserError, UserErrors)) as raised:
        read_configs(FILE, ["--config", str(config), "--resume", "there", "--hub.push", "true", "--hub.repo", "a/b"])
    assert "resume names one run" in str(raised.value)
    assert "hub.push names one run" in str(raised.value)
    with pytest.raises(UserError, match=r"seed is \[3, 5\]"):
        unispeech_ft.train(config)
    done = run_recipe("--config", config, "--resume", "true")
    assert done.returncode == 2
    assert "seed-3 has no checkpoint" in done.stderr
