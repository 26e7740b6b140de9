"""Folders that appear whole or not at all, and know whether they are as they were written."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from unispeech_ft.files import DIGESTS, LEFTOVER_S, atomic_folder, damage, parse_json


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    with atomic_folder(tmp_path / "made", seal=True) as folder:
        (folder / "weights").write_bytes(bytes(range(256)) * 40)
        (folder / "part").mkdir()
        (folder / "part" / "note").write_text("two", encoding="utf-8")
    return tmp_path / "made"


def test_a_sealed_folder_is_whole(sealed: Path) -> None:
    assert damage(sealed) == ""
    assert [path.name for path in sealed.parent.iterdir()] == ["made"]


@pytest.mark.parametrize("place", [0, 5_000, 10_239])
def test_one_flipped_bit_is_seen(sealed: Path, place: int) -> None:
    held = bytearray((sealed / "weights").read_bytes())
    held[place] ^= 1
    (sealed / "weights").write_bytes(held)
    assert damage(sealed) == "weights is damaged"


def test_what_is_missing_cut_short_or_unreadable_is_seen(sealed: Path) -> None:
    (sealed / "part" / "note").write_text("tw", encoding="utf-8")
    assert damage(sealed) == "part/note is damaged"
    (sealed / "part" / "note").unlink()
    assert damage(sealed) == "part/note is missing"
    for text in ("", "[]", "{"):
        (sealed / DIGESTS).write_text(text, encoding="utf-8")
        assert DIGESTS in damage(sealed)
    (sealed / DIGESTS).unlink()
    assert DIGESTS in damage(sealed)


def test_what_a_killed_process_left_is_removed_once_it_is_old(tmp_path: Path) -> None:
    old, young, other = (tmp_path / name for name in (".made.partial-a", ".made.partial-b", ".else.partial-c"))
    for folder in (old, young, other):
        folder.mkdir()
    for folder in (old, other):
        os.utime(folder, (time.time() - LEFTOVER_S - 60,) * 2)
    with atomic_folder(tmp_path / "made"):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == [".else.partial-c", ".made.partial-b", "made"]


def test_what_fails_midway_leaves_what_was_there(sealed: Path) -> None:
    def fail() -> None:
        with atomic_folder(sealed, replace=True, seal=True) as folder:
            (folder / "weights").write_bytes(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert damage(sealed) == ""
    assert [path.name for path in sealed.parent.iterdir()] == ["made"]


def test_json_with_half_a_character_is_refused() -> None:
    assert parse_json(b'"\\ud83d\\ude00"') == "\U0001f600"
    for text in (b'"\\ud800"', b'"\xed\xa0\x80"', '"\\uDFFF"'):
        with pytest.raises(ValueError, match="surrogates|decode"):
            parse_json(text)
