from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hub.publishing import REPO

import unispeech_ft


@pytest.fixture(scope="session")
def published(small_run: unispeech_ft.RunResult, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A staged folder as it is published, with copies instead of links."""
    from unispeech_ft.hub.stage import stage

    folder = tmp_path_factory.mktemp("staged")
    stage(small_run.output_dir, folder, repo=REPO)
    return Path(shutil.copytree(folder, tmp_path_factory.mktemp("published") / "folder"))


@pytest.fixture
def folder(published: Path, tmp_path: Path) -> Path:
    """A copy of the published folder to tamper with."""
    return Path(shutil.copytree(published, tmp_path / "folder"))
