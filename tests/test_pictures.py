"""docs/looks.md shows what the program prints: captures are taken again and compared, but for what machines decide."""

from __future__ import annotations

import re
import sys

import pytest
from pictures import CAPTURE, COMMANDS, MAX_BYTES, PAGE, PICTURES, TAKEN, capture, captures_in, speak, with_captures

from unispeech_ft.app.training import last_states

TEXT = PAGE.read_text(encoding="utf-8")


def steady(shown: str) -> str:
    """A capture without numbers, bars, recognised phones, and whether a figure was the best so far."""
    lines = [line.partition("\t")[0] for line in shown.splitlines() if not re.match(r"  (ref|hyp) |$", line)]
    text = re.sub(r"\|[█▏▎▍▌▋▊▉ ]*\|", "||", " ".join(lines)).replace("(best so far)", "")
    return " ".join(re.sub(r"[-–]?\d[\d.,e-]*|MiB|GiB", "#", text).split())


def test_the_page_shows_every_capture_once():
    assert [name for _, name, *_ in CAPTURE.findall(TEXT)] == list(COMMANDS)
    fresh = with_captures(TEXT, dict.fromkeys(COMMANDS, "$ new\n"))
    assert set(captures_in(fresh).values()) == {"$ new\n"}
    assert len(fresh.splitlines()) < len(TEXT.splitlines())


@pytest.mark.parametrize("name", COMMANDS)
def test_a_capture_keeps_within_its_columns(name):
    columns, words = COMMANDS[name]
    first, *lines = captures_in(TEXT)[name].splitlines()
    assert first == f"$ unispeech-ft {words}"
    assert lines
    assert [line for line in lines if len(line) > columns and not line.startswith(("data/", "error: "))] == []


def test_of_a_bar_the_last_state_is_kept():
    assert last_states("one\r\n\r 3%|\r50%|\r    \rtwo  \r\n") == ["one", "two", ""]


def test_a_changed_word_is_seen():
    shown = captures_in(TEXT)["train-80"]
    assert steady(shown) == steady(re.sub(r"\d", "7", shown)), "what a machine decides is let go"
    assert steady(shown) != steady(shown.replace("test PER", "test WER"))


@pytest.mark.long
def test_captures_are_what_the_program_prints(tmp_path):
    speak(tmp_path)
    there = captures_in(TEXT)
    for name in COMMANDS:
        if name != "train-120":
            assert steady(capture(name, tmp_path)) == steady(there[name]), f"{sys.executable} scripts/pictures.py"


def test_pictures_are_there_and_small():
    assert sorted(re.findall(r"\(pictures/(.+?)\.png\)", TEXT)) == sorted(TAKEN)
    sizes = {path.stem: path.stat().st_size for path in PICTURES.iterdir()}
    assert set(sizes) == set(TAKEN)
    assert [name for name, size in sizes.items() if size > MAX_BYTES] == []
