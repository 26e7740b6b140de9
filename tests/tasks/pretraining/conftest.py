from __future__ import annotations

import runpy
import sys
from collections.abc import Callable

import pytest
from running import PRETRAINING


@pytest.fixture
def pretrain(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Runs the recipe in this process: words → exit status."""

    def run(*words: object) -> int:
        monkeypatch.setattr(sys, "argv", [str(PRETRAINING), *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(PRETRAINING), run_name="__main__")
        return int(ended.value.code or 0)

    return run
