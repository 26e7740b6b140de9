"""The site: built strictly, and what its first pages name is there."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest
from running import REPOSITORY

import unispeech_ft
from unispeech_ft.cli import build_parser

DOCS = REPOSITORY / "docs"
PAGES = ("index.md", "faq.md", "learning.md", "installing.md", "elsewhere.md", "publishing.md", "looks.md")
# Names of files and of Python look like keys.
KEYS = re.compile(r"`(?:--)?(?!unispeech_ft)([a-z_]+\.(?!onnx|int8|txt)[a-z_]+)[^`]*`")


@pytest.mark.parametrize("page", PAGES)
def test_commands_and_keys_of_a_page_exist(page, command):
    text = (DOCS / page).read_text(encoding="utf-8")
    named = set(re.findall(r"`unispeech-ft ([a-z-]+)", text))
    assert named
    known_commands = set(re.findall(r"^    ([a-z-]+)", build_parser().format_help(), flags=re.M))
    assert named <= known_commands, named - known_commands
    schema = json.loads(command("schema")[1])

    def known(section: str, key: str) -> bool:
        found = schema["properties"][section]
        return key in schema["$defs"][found["$ref"].rsplit("/")[-1]]["properties"]

    assert [key for key in KEYS.findall(text) if not known(*key.split("."))] == []


def test_every_page_is_in_the_menu():
    menu = re.findall(r": ([\w/]+\.md)$", (REPOSITORY / "mkdocs.yml").read_text(encoding="utf-8"), flags=re.M)
    assert sorted(menu) == sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))


@pytest.mark.long
def test_the_site_is_built_strictly(tmp_path):
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr[-2000:]
    first = (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    assert "What people look for" in first
    assert not re.search(r'<(?:script|link)[^>]+(?:src|href)="https?://(?!squidfunk)', first), "nothing is fetched"


# What somebody new asks, and the page and heading that answer; the words are those that the first page has to have.
ASKED = {
    "install": "installing.md",
    "without a GPU": "installing.md#for-a-cpu-without-4-gb-of-cuda",
    "without data": "notebooks/first_hour.ipynb",
    "folder of mine": "your_speech.md#lists",
    "ELAN": "annotation.md#from-an-annotation-to-training",
    "espeak-ng lacks": "your_speech.md#lexicons-and-other-ways-to-phones",
    "how much speech": "#how-much-speech-and-what-error-to-expect",
    "out of memory": "faq.md#it-runs-out-of-memory",
    "it looks": "looks.md",
    "stopped": "faq.md#it-stopped-in-the-middle",
    "sold": "publishing.md#licence",
    "telephone": "elsewhere.md#sherpa-onnx-telephones-browsers-small-boards",
}


@pytest.mark.parametrize(("words", "target"), ASKED.items())
def test_a_newcomer_finds_it_in_one_guess(words, target):
    first = (DOCS / "index.md").read_text(encoding="utf-8").partition("## What people look for")[2]
    [row] = [line for line in first.splitlines() if words in line.partition("[")[0]]
    assert f"]({target})" in row


def test_what_python_has_is_what_the_page_says():
    said = (DOCS / "faq.md").read_text(encoding="utf-8").partition("## From Python")[2]
    named = re.findall(r"`(?:unispeech_ft\.)?([a-z]+)`", said)
    assert len(named) >= 7
    assert [name for name in named if not callable(getattr(unispeech_ft, name))] == []
