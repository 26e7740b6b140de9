from __future__ import annotations

from pathlib import Path

import pytest

from unispeech_ft.testing.corpus import make_corpus


@pytest.fixture(scope="session")
def tiny_speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some 22 training clips of 2 to 5 s, and a few to validate and test on."""
    root = tmp_path_factory.mktemp("speech") / "demo"
    return make_corpus(root, ["ky"], train_hours=0.02, dev_hours=0.004, test_hours=0.004)
