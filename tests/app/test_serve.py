"""What holds before the page is there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from unispeech_ft.app import serve as module
from unispeech_ft.errors import UserError


def test_gradio_is_told_to_be_quiet_before_it_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*module.QUIET, "GRADIO_TEMP_DIR"):
        monkeypatch.setenv(name, "as it was")
    found: dict[str, str] = {}

    def missing(*_: str) -> None:
        found.update(os.environ)
        raise UserError("the page needs gradio", remedy="")

    monkeypatch.setattr(module, "optional", missing)
    with pytest.raises(UserError):
        module.serve(tmp_path / "page")
    assert module.QUIET.items() <= found.items()
    assert found["GRADIO_TEMP_DIR"].startswith(str(tmp_path))
    assert not (tmp_path / "page").exists()
