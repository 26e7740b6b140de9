"""The site: built strictly, and what its first pages name is there."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest
from running import REPOSITORY

from unispeech_ft.cli import build_parser

DOCS = REPOSITORY / "docs"
PAGES = ("index.md", "faq.md", "learning.md")
KEYS = re.compile(r"`(?:--)?([a-z_]+\.[a-z_]+)[^`]*`")


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
    assert "Ten things people look for" in first
    assert not re.search(r'<(?:script|link)[^>]+(?:src|href)="https?://(?!squidfunk)', first), "nothing is fetched"
