from __future__ import annotations

from unispeech_ft.launching import before_torch_loads

before_torch_loads()

import io
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from accelerate import Accelerator
from hub.loopback import LoopbackHub
from hub.publishing import TOKEN
from hypothesis import settings
from running import REPOSITORY, tiny_settings, write_settings
from warm import clean_environment, run_warm

import unispeech_ft
from unispeech_ft import cli
from unispeech_ft.models.saved import SavedModel, load_saved
from unispeech_ft.testing.corpus import make_corpus

# How long an example takes says how busy the machine is.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")

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
def spoken_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few clips of 2 to 5 s to train, validate and test on."""
    return make_corpus(
        tmp_path_factory.mktemp("spoken") / "demo", ["ky"], train_hours=0.006, dev_hours=0.004, test_hours=0.006
    )


@pytest.fixture(scope="session")
def tiny_speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some 22 training clips of 2 to 5 s, and a few to validate and test on."""
    root = tmp_path_factory.mktemp("speech") / "demo"
    return make_corpus(root, ["ky"], train_hours=0.02, dev_hours=0.004, test_hours=0.004)


@pytest.fixture(scope="session")
def accelerator() -> Accelerator:
    return Accelerator(cpu=True)


@pytest.fixture(scope="session")
def small_config(spoken_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("small")
    settings = tiny_settings(spoken_corpus, folder / "runs")
    return write_settings(folder / "small.yaml", settings)


@pytest.fixture(scope="session")
def small_run(small_config: Path) -> unispeech_ft.RunResult:
    """A run of two updates; its model says something, but nothing sensible."""
    return unispeech_ft.train(small_config, {"schedule.updates": 2})


@pytest.fixture(scope="session")
def small_model(small_run: unispeech_ft.RunResult) -> SavedModel:
    return load_saved(small_run.model_dir)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Any]:
    """A Ray cluster on this machine: a head that takes no work, and two workers."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(REPOSITORY / "tests" / "data"), *sys.path]))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        running = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        for _ in range(2):
            running.add_node(num_cpus=1)
    yield running
    running.shutdown()


@pytest.fixture
def command(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int | str | None, str, str]]:
    """Runs `unispeech-ft` in this process: words → exit status, stdout, stderr."""

    def run_command(*words: object) -> tuple[int | str | None, str, str]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
        with pytest.raises(SystemExit) as ended:
            cli.main([str(word) for word in words])
        output = capfd.readouterr()
        return ended.value.code, output.out, output.err

    return run_command
