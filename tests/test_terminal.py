"""What people see on a terminal: our words alone, within its width, with the PER in sight."""

from __future__ import annotations

import re
import sys
from types import SimpleNamespace

import pytest
from running import REPOSITORY
from terminal import on_terminal
from warm import clean_environment

from unispeech_ft.errors import fitted

FOREIGN = re.compile(r"Generating|Loading weights|Writing model shards|LOAD REPORT|[A-Z][a-zA-Z]*Warning")


def screen_lines(written):
    return [line for row in written.split("\n") for line in row.split("\r")]


@pytest.mark.long
@pytest.mark.parametrize("columns", [80, 120])
def test_training_and_transcribing(columns, small_config, spoken_corpus, tmp_path):
    program = [sys.executable, "-m", "unispeech_ft.cli"]
    keys = {"output_dir": tmp_path / "run", "schedule.updates": 30, "evaluation.every_updates": 5}
    words = [word for key, value in keys.items() for word in (f"--{key}", str(value))]
    status, written = on_terminal(
        [*program, "train", small_config, *words], columns, cwd=REPOSITORY, env=clean_environment()
    )
    assert status == 0, written
    assert not FOREIGN.search(written), written
    bars = [line for line in screen_lines(written) if "%|" in line and "features" not in line]
    assert any(re.match(r"PER [\d.]+%", bar) for bar in bars), bars
    pairs = [line for line in screen_lines(written) if line.startswith(("  ref", "  hyp"))]
    assert pairs
    start = screen_lines(written.partition("head: ")[0])
    assert [line for line in bars + pairs + start if len(line) > columns and len(line.split()) > 1] == []

    clips = spoken_corpus / "ky" / "clips"
    status, written = on_terminal(
        [*program, "transcribe", tmp_path / "run" / "model", clips], columns, cwd=REPOSITORY, env=clean_environment()
    )
    assert status == 0, written
    assert not FOREIGN.search(written), written
    assert "file/s]" in written
    told = {line.partition("\t")[0] for line in screen_lines(written) if "\t" in line}
    assert told == {str(path) for path in clips.iterdir()}


@pytest.mark.parametrize("columns", [40, 80])
def test_long_lines_go_on_between_words_further_in(columns, monkeypatch):
    terminal = SimpleNamespace(isatty=lambda: True)
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = [
        "short",
        "  by utterance, not by speaker: only 6 are known, fewer than 10; utterances of one voice err alike",
    ]
    lines.append("disk: " + "x" * 100 + " and more words")
    said = fitted(lines, terminal)
    assert said.splitlines()[0] == "short"
    assert " ".join(said.split()) == " ".join(" ".join(lines).split()), "no word is lost or cut"
    assert [line for line in said.splitlines() if len(line) > columns and "x" * 100 not in line] == []
    on = said.splitlines()[2]
    assert on.startswith("    ")
    assert not on.startswith("     ")
    assert fitted(lines, SimpleNamespace(isatty=lambda: False)) == "\n".join(lines)
