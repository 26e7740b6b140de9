"""Training across machines is accelerate's: here two groups of processes on loopback, each as if on a machine."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from running import RECIPE, REPOSITORY, events, merged, must_run, tiny_settings, write_settings
from safetensors.torch import load_file
from warm import clean_environment

MULTI_NODE = REPOSITORY / "configs" / "accelerate" / "multi_node.yaml"
UPDATES, TIMEOUT_S = 6, 240


def on_two_machines(folder: Path, *words: object) -> list[tuple[int, str]]:
    """Launches the recipe on both, as `multi_node.yaml` says; the exit status and what each of them said."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", MULTI_NODE, "--num_processes", 2]
    launch += ["--main_process_port", port, "--mixed_precision", "no"]
    environment = clean_environment() | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    machines = []
    for rank in range(2):
        said = (folder / f"machine_{rank}.txt").open("w")
        command = [*launch, "--machine_rank", rank, RECIPE, *words, "--data.cache_dir", folder / f"cache_{rank}"]
        machines.append(
            subprocess.Popen(list(map(str, command)), cwd=REPOSITORY, env=environment, stdout=said, stderr=said)
        )
        said.close()
    try:
        statuses = [machine.wait(TIMEOUT_S) for machine in machines]
    finally:
        for machine in machines:
            machine.kill()
    return [(status, (folder / f"machine_{rank}.txt").read_text()) for rank, status in enumerate(statuses)]


@pytest.mark.long
def test_two_machines_train_as_two_processes_of_one(tiny_speech: Path, tmp_path: Path) -> None:
    """Each machine has a cache of its own, as where no disk is shared, and more threads than one of two processes."""
    changes = {"schedule": {"updates": UPDATES}, "evaluation": {"every_updates": 3}}
    file = write_settings(tmp_path / "run.yaml", merged(tiny_settings(tiny_speech, tmp_path), changes))
    must_run("--config", file, "--output_dir", tmp_path / "one", processes=2)
    for status, said in on_two_machines(tmp_path, "--config", file, "--output_dir", tmp_path / "two"):
        assert status == 0, said[-4000:]
    environment = json.loads((tmp_path / "two" / "environment.json").read_text(encoding="utf-8"))
    assert (environment["processes"], environment["backend"]) == (2, "gloo")
    one, two = ([(event["loss"], event["grad_norm"]) for event in events(tmp_path / name)] for name in ("one", "two"))
    assert len(two) == UPDATES
    assert np.allclose(two, one, rtol=1e-5)
    weights = [load_file(tmp_path / name / "model" / "model.safetensors") for name in ("one", "two")]
    for key, tensor in weights[0].items():
        assert torch.allclose(weights[1][key], tensor, rtol=0, atol=1e-5), key
    assert not (tmp_path / "two.1").exists(), "machines that do not know of each other make two runs"
