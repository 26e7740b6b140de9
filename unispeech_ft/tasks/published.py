"""Which task a configuration, a run or a published model is of, where it is not phone recognition."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

from unispeech_ft.config.labelled import LabelledRunConfig
from unispeech_ft.config.reading import ConfigFile, read_config
from unispeech_ft.config.sections import DataConfig
from unispeech_ft.data.sources.labelled import LabelSource
from unispeech_ft.errors import UserError
from unispeech_ft.hub.task_card import TaskCard
from unispeech_ft.runs.shipped import RECIPES, recipe_of

TASKS = [name for name in RECIPES if name not in ("ctc_phoneme", "pretrain")]


def card_of(folder: Path) -> TaskCard | None:
    """The card of the task whose section stands in a folder's `config.yaml`; None where it is none of these."""
    task = _task_of(folder / "config.yaml")
    card: TaskCard | None = import_module(f"unispeech_ft.tasks.{task}.export").CARD if task else None
    return card


def labelled_run(file: Path, overrides: Mapping[str, object]) -> tuple[DataConfig, LabelSource] | None:
    """The speech of a task's YAML; None where it is none of these tasks.

    Raises:
        UserError: a fault of the configuration.
    """
    task = _task_of(file)
    if task is None:
        return None
    kind: ConfigFile[LabelledRunConfig] = import_module(f"unispeech_ft.tasks.{task}.config").FILE
    read = read_config(kind, file, overrides, first_seed=True)
    labels: LabelSource = import_module(f"unispeech_ft.tasks.{task}.task").label_source(read)
    return read.data, labels


def _task_of(file: Path) -> str | None:
    """The task of a YAML by the recipe that reads it; None where it is another, or there is no such file."""
    try:
        recipe = recipe_of(file) if file.is_file() else ""
    except UserError:
        return None
    return recipe if recipe in TASKS else None
