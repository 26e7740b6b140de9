"""What is said where a library of an extra is missing or broken."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from unispeech_ft.errors import UserError
from unispeech_ft.extras import optional


def test_one_that_is_there() -> None:
    assert optional("json.decoder", "app", "a page").JSONDecoder


def test_one_that_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "panphon", None)
    with pytest.raises(UserError) as caught:
        optional("panphon", "features", "what is nearest", "leave it out")
    assert str(caught.value) == (
        "what is nearest needs panphon, which is not installed: pip install 'unispeech-ft[features]', or leave it out"
    )


@pytest.mark.parametrize("fault", ["import a_missing_part", "raise OSError('libsox.so: no such file')"])
def test_one_that_does_not_load(fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a_broken_library.py").write_text(fault + "\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(UserError, match=r"which does not load \(.*(a_missing_part|libsox)"):
        optional("a_broken_library", "features", "what is nearest")
