from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hub.loopback import LoopbackHub
from hub.publishing import REPO, TOKEN
from running import REPOSITORY
from warm import clean_environment, run_warm

import unispeech_ft

# Overloaded servers are asked again; a test need not wait for it.
PROGRAM = """
import sys
import huggingface_hub.utils._http as http
http.time.sleep = lambda seconds: None
{setup}
from unispeech_ft.cli import main
main(sys.argv[1:])
"""


@pytest.fixture
def server() -> Iterator[LoopbackHub]:
    with LoopbackHub(TOKEN) as running:
        yield running


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The folder that a client writes to: cache, temporary files."""
    folder = tmp_path / "home"
    (folder / "tmp").mkdir(parents=True)
    return folder


@pytest.fixture
def online(server: LoopbackHub, home: Path) -> dict[str, str]:
    """The environment of a client of the loopback Hub, logged in by HF_TOKEN."""
    kept = {key: value for key, value in clean_environment().items() if key != "HF_HUB_OFFLINE"}
    return kept | {
        "HF_ENDPOINT": server.address,
        "HF_TOKEN": TOKEN,
        "HF_HOME": str(home / "hf"),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TMPDIR": str(home / "tmp"),
        "NO_PROXY": "127.0.0.1",
    }


@pytest.fixture
def client(online: dict[str, str]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs `unispeech-ft` in a process of its own against the loopback Hub; `setup` is executed before it."""

    def run(*words: object, setup: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
        program = PROGRAM.format(setup=setup)
        return run_warm(["-c", program, *words], cwd=REPOSITORY, env=online | variables, fresh=["huggingface_hub"])

    return run


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
