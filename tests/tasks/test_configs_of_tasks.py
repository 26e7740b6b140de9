"""Every YAML of the other tasks is a configuration of its recipe."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest

from unispeech_ft.config.reading import read_configs

CONFIGS = Path(__file__).parents[2] / "configs"
TASKS = [
    folder.name for folder in sorted(CONFIGS.iterdir()) if folder.name not in ("accelerate", "ctc_phoneme", "pretrain")
]
FILES = [
    pytest.param(task, path, id=f"{task}/{path.stem}") for task in TASKS for path in (CONFIGS / task).glob("*.yaml")
]


@pytest.mark.parametrize(("task", "path"), FILES)
def test_it_is_read_and_names_its_command(task: str, path: Path) -> None:
    file = import_module(f"unispeech_ft.tasks.{task}.config").FILE
    [config] = read_configs(file, ["--config", str(path), "--data.root", "somewhere"])
    assert config.data.root == "somewhere"
    first = path.read_text(encoding="utf-8").splitlines()[0]
    assert f"recipes/{task}.py --config configs/{task}/{path.name}" in first
