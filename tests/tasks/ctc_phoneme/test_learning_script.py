"""The measurement of what each way of learning more brings: its lists, its table, and a dry run of it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import learning
import learning_corpora
import pytest
from golden import SHARED
from running import REPOSITORY
from warm import run_script

from unispeech_ft.errors import UserError
from unispeech_ft.tasks.ctc_phoneme.config import load_config


@pytest.mark.parametrize("arm", learning.ARMS)
def test_every_arm_is_a_configuration(arm: str) -> None:
    changes = {"data.root": "x", "data.language": "ky", "data.train": "y", "dry_run": "true"}
    for config in (learning_corpora.TUNING, learning_corpora.MANIFEST):
        pretrained = (
            {"model.from_scratch": "false", "model.config": "null", "model.base": "x"}
            if learning.ARMS[arm].base
            else {}
        )
        load_config(config, {**changes, **pretrained, **learning.ARMS[arm].changes})


def left(folder: Path, per: float, updates: int, cpu_s: float) -> learning.Result:
    (folder / "eval" / "test").mkdir(parents=True)
    (folder / "training.json").write_text(json.dumps({"updates": updates}), encoding="utf-8")
    (folder / learning.CPU_S).write_text(str(cpu_s), encoding="utf-8")
    (folder / "eval" / "test" / "summary.json").write_text(json.dumps({"per": per}), encoding="utf-8")
    wrong = round(20 * per)
    line = {"id": "u", "reference": ["a"] * 20, "hypothesis": ["a"] * (20 - wrong) + ["p"] * wrong}
    line |= {"substitutions": wrong, "deletions": 0, "insertions": 0, "duration_s": 2.0, "speaker": None}
    text = "".join(json.dumps(line | {"id": f"u{number}"}) + "\n" for number in range(12))
    (folder / "eval" / "test" / "hypotheses.jsonl").write_text(text, encoding="utf-8")
    found = learning.result(folder)
    assert found is not None
    return found


def test_the_row_of_an_arm(tmp_path: Path) -> None:
    today = [left(tmp_path / f"today-{seed}", 0.5, 100, 200.0) for seed in (1, 2)]
    better = [left(tmp_path / f"better-{seed}", per, 100, 380.0) for seed, per in ((1, 0.4), (2, 0.3))]
    cells = learning.row("title", better, today).strip("| ").split(" | ")
    assert cells[:5] == ["title", "100", "40.0 %, 30.0 %", "35.0 %", "+30 %"]
    assert cells[5] == "-10.0 (-10.0 to -10.0), -20.0 (-20.0 to -20.0)"
    assert cells[7] == "–"
    assert learning.cost(better, today) == pytest.approx(1.9)
    assert learning.row("t", today, today).count("–") >= 2
    assert learning.result(tmp_path / "nothing") is None


def test_a_folder_without_the_list(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        learning_corpora.real(tmp_path, tmp_path / "lists")


@pytest.mark.skipif(not (SHARED / "data" / "speech" / "cv_tsv" / "es.tsv").is_file(), reason="no recordings")
def test_the_lists_of_real_recordings(tmp_path: Path) -> None:
    corpus = learning_corpora.real(SHARED / "data" / "speech", tmp_path)
    man, others = (
        (tmp_path / f"{part}.tsv").read_text(encoding="utf-8").splitlines()[1:] for part in ("man", "others")
    )
    assert {line.split("\t")[2] for line in man} == {learning_corpora.SPEAKER}
    assert learning_corpora.SPEAKER not in {line.split("\t")[2] for line in others}
    assert all(Path(line.split("\t")[0]).is_file() for line in (*man, *others))
    assert corpus.others is not None


@pytest.mark.long
def test_a_dry_run(tmp_path: Path) -> None:
    words = ["--dry", "--corpora", "ky", "--seeds", "3", "--arms", "together"]
    words += ["--speech", tmp_path / "speech", "--output", tmp_path / "runs", "--page", tmp_path / "page.md"]
    ended = run_script(REPOSITORY / "scripts" / "learning.py", *words)
    assert ended.returncode == 0, ended.stderr
    page = (tmp_path / "page.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (.+?) \| (\d+) \| ([\d.]+) % \|", page, flags=re.MULTILINE)
    assert [row[0] for row in rows][:2] == ["today's recipe", "an inner layer, two views, speeds and averaged weights"]
    for arm, row in zip(("today", "together"), rows, strict=False):
        summary = json.loads((tmp_path / "runs" / "ky" / f"{arm}-3" / "eval" / "test" / "summary.json").read_text())
        assert row[2] == f"{100 * summary['per']:.1f}"
    assert "says nothing about human speech" in page
    assert "the figures mean nothing" in page
