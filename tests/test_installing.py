"""How it is installed: the Dockerfile, the page about it, and the script that tries versions."""

from __future__ import annotations

import configparser
import re
import shlex

import matrix
import pytest
from packaging.requirements import Requirement
from packaging.version import Version
from running import REPOSITORY

PAGE = (REPOSITORY / "docs" / "installing.md").read_text(encoding="utf-8")


def setup() -> configparser.ConfigParser:
    found = configparser.ConfigParser()
    found.read(REPOSITORY / "setup.cfg", encoding="utf-8")
    return found


def demanded() -> dict[str, Requirement]:
    lines = [line for line in setup()["options"]["install_requires"].splitlines() if line and not line.startswith("#")]
    return {item.name: item for item in map(Requirement, lines)}


def rows() -> list[dict[str, str]]:
    """The table of what was tried: version by name."""
    names = ["date", "python", *matrix.SHOWN, "said"]
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in PAGE.splitlines()
        if re.search(r"\d+ passed", line)
    ]
    return [dict(zip(names, row, strict=True)) for row in cells]


def test_bounds_are_what_was_tried():
    """Nothing above the newest that passed is let in, and nothing that passed is shut out."""
    tried = rows()
    assert len(tried) >= 4
    assert all(re.fullmatch(r"\d+ passed(, \d+ skipped)?", row["said"]) for row in tried)
    for name in ("torch", "transformers", "huggingface_hub", "numpy", "librosa"):
        bounds = demanded()[name].specifier
        assert [row[name] for row in tried if not bounds.contains(row[name], prereleases=True)] == []
    newest = max(Version(row["torch"]) for row in tried)
    assert not demanded()["torch"].specifier.contains(f"{newest.major}.{newest.minor + 1}.0")


def test_extras_that_the_page_names_exist():
    named = {extra for group in re.findall(r"unispeech-ft\[([\w,]+)\]", PAGE) for extra in group.split(",")}
    assert named
    assert named <= set(setup()["options.extras_require"])


def instructions() -> list[tuple[str, str]]:
    text = (REPOSITORY / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [tuple(line.split(maxsplit=1)) for line in lines]


def test_the_dockerfile_copies_what_is_there_and_starts_our_command():
    known = {"FROM", "COPY", "RUN", "USER", "WORKDIR", "ENTRYPOINT", "CMD"}
    assert {word for word, _ in instructions()} <= known
    first, image = instructions()[0]
    assert first == "FROM"
    assert re.fullmatch(r"python:3\.\d+-slim", image), "a version is named"
    copied = [name for word, rest in instructions() if word == "COPY" for name in shlex.split(rest)[:-1]]
    assert [name for name in copied if not (REPOSITORY / name).exists()] == []
    needed = {"setup.cfg", "pyproject.toml", "README.md", "LICENSE", "configs", "recipes", "unispeech_ft"}
    assert set(copied) == needed, "what a wheel is built from"
    [entry] = [rest for word, rest in instructions() if word == "ENTRYPOINT"]
    scripts = setup()["options.entry_points"]["console_scripts"]
    assert f"{entry.strip('[]').strip(chr(34))} =" in scripts
    users = [rest for word, rest in instructions() if word == "USER"]
    assert users
    assert users[-1] != "root"
    installed = [rest for word, rest in instructions() if word == "RUN" and "uv pip install" in rest]
    assert len(installed) == 1
    assert "--torch-backend cpu" in installed[0]
    ignored = (REPOSITORY / ".dockerignore").read_text(encoding="utf-8").split()
    assert not set(ignored) & needed


@pytest.mark.parametrize(
    ("output", "said", "passed"),
    [
        ("..\n3 passed, 1 skipped, 9 deselected, 2 warnings in 4.00s\n", "3 passed, 1 skipped", True),
        ("1 failed, 3 passed in 4.00s (0:01:02)\n", "1 failed, 3 passed", False),
        ("3 passed, 1 error in 4.00s\n", "3 passed, 1 error", False),
        ("Traceback\n", "no test ran", False),
    ],
)
def test_what_the_matrix_reads_of_pytest(output, said, passed):
    assert matrix.last_line(output) == (said, passed)


def test_a_row_of_the_matrix():
    versions = {"python": "3.11.7", "torch": "2.14.1", "transformers": "5.24.0"}
    row = matrix.Outcome(versions, "3 passed, 1 skipped", True).row("2026-11-26")
    assert row == "| 2026-11-26 | 3.11.7 | 2.14.1 | 5.24.0 | ? | ? | ? | 3 passed, 1 skipped |"
    assert [name for name in matrix.QUICK if not (REPOSITORY / name).exists()] == []
    assert [name for name in matrix.COPIED if not (REPOSITORY / name).exists()] == []


@pytest.mark.slow
def test_an_environment_that_cannot_be_made_is_a_row(tmp_path):
    """pip refuses versions that do not exist; nothing is left behind."""
    wheel = matrix.build_wheel(tmp_path)
    log = tmp_path / "log"
    outcome = matrix.try_environment("python3", wheel, ["torch==0.0.1"], tmp_path, [], log)
    assert not outcome.passed
    assert outcome.said.startswith("pip: ERROR")
    assert "torch==0.0.1" in log.read_text(encoding="utf-8")
