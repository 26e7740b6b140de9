from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hub.loopback import LoopbackHub
from running import clean_environment

import unispeech_ft

# Huggingface_hub takes anything for a token; this one has the form of a real one.
TOKEN = "hf_" + "LoopbackTokenThatMustNeverLeak123"


@pytest.fixture
def hub() -> Iterator[LoopbackHub]:
    with LoopbackHub(TOKEN) as server:
        yield server


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The folder that a client writes to: cache, temporary files."""
    folder = tmp_path / "home"
    (folder / "tmp").mkdir(parents=True)
    return folder


@pytest.fixture
def online(hub: LoopbackHub, home: Path) -> dict[str, str]:
    """The environment of a client of the loopback Hub, logged in by HF_TOKEN."""
    kept = {key: value for key, value in clean_environment().items() if key != "HF_HUB_OFFLINE"}
    return kept | {
        "HF_ENDPOINT": hub.address,
        "HF_TOKEN": TOKEN,
        "HF_HOME": str(home / "hf"),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TMPDIR": str(home / "tmp"),
        "NO_PROXY": "127.0.0.1",
    }


Client = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def client(online: dict[str, str]) -> Client:
    """Runs `unispeech-ft` in a process of its own against the loopback Hub."""

    def run(*words: object, env: dict[str, str] | None = None, setup: str = "") -> subprocess.CompletedProcess[str]:
        # Overloaded servers are asked again; a test need not wait for it.
        patient = "import huggingface_hub.utils._http as h; h.time.sleep = lambda s: None\n"
        program = f"import sys\n{patient}{setup}\nfrom unispeech_ft.cli import main\nmain(sys.argv[1:])"
        return subprocess.run(
            [sys.executable, "-c", program, *map(str, words)],
            env=online | (env or {}),
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def published(small_run: unispeech_ft.RunResult, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A staged folder as it is published, with copies instead of links."""
    from unispeech_ft.hub.stage import stage

    folder = tmp_path_factory.mktemp("staged")
    stage(small_run.output_dir, folder, repo="someone/ky-phones")
    return Path(shutil.copytree(folder, tmp_path_factory.mktemp("published") / "folder"))


@pytest.fixture
def folder(published: Path, tmp_path: Path) -> Path:
    """A copy of the published folder to tamper with."""
    return Path(shutil.copytree(published, tmp_path / "folder"))


def edit_json(file: Path, **changes: object) -> None:
    values = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps(values | changes, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Everything in a folder, to see whether anything was touched."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): (os.stat(path).st_mtime_ns, path.read_bytes()) for path in files}
