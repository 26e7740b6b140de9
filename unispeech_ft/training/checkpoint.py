"""Checkpoints: everything that the rest of a run depends on, written whole or not at all.

Random numbers are drawn by name (`training.randomness`), so weights, optimiser and counters are all there is.
"""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from unispeech_ft.config.sections import Config
from unispeech_ft.errors import UserError
from unispeech_ft.tasks.pretraining.config import PretrainConfig

if TYPE_CHECKING:
    from transformers import PreTrainedModel

BEST = "best"
STREAMS = "streams.json"


@dataclass(frozen=True)
class Progress:
    """Where a run stands.

    Attributes:
        updates: done so far.
        best_per: best validation PER so far, None before the first evaluation.
        best_update: updates done at that evaluation.
        evaluations_since_best: for early stopping.
        task: identifies data, labels, plan and model; a checkpoint of another task is refused.
    """

    task: str
    updates: int = 0
    best_per: float | None = None
    best_update: int = 0
    evaluations_since_best: int = 0


def _write_folder(folder: Path, files: dict[str, Any]) -> None:
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for name, content in files.items():
        if isinstance(content, str):
            (partial / name).write_text(content, encoding="utf-8")
        else:
            torch.save(content, partial / name)
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    partial.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def _trained(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    frozen = {
        name for name, tensor in model.named_parameters() if "feature_extractor" in name and not tensor.requires_grad
    }
    return {name: tensor for name, tensor in model.state_dict().items() if name not in frozen}


def save_checkpoint(
    folder: Path,
    model: PreTrainedModel,
    optimizer: Any,
    scaler: Any,
    progress: Progress,
    keep_last: int,
    streams: Mapping[int, Any] | None = None,
) -> None:
    """Writes `folder/update-NNNNNN` and removes all but the newest `keep_last`.

    Args:
        streams: where each stream of unlabelled speech stands, in plain numbers, texts, lists and mappings.
    """
    state = {"optimizer": optimizer.state_dict(), "scaler": scaler.state_dict() if scaler else None}
    files = {"model.pt": _trained(model), "state.pt": state, "progress.json": json.dumps(asdict(progress), indent=2)}
    if streams is not None:
        files[STREAMS] = json.dumps(streams)
    _write_folder(folder / f"update-{progress.updates:06d}", files)
    for old in sorted(folder.glob("update-*"))[:-keep_last]:
        shutil.rmtree(old)


def save_best(folder: Path, model: PreTrainedModel, progress: Progress) -> None:
    """Writes the weights of the best model so far."""
    _write_folder(folder / BEST, {"model.pt": _trained(model), "progress.json": json.dumps(asdict(progress), indent=2)})


def load_weights(folder: Path, model: PreTrainedModel) -> None:
    """Puts the weights of a checkpoint into the model; the frozen extractor stays as the base model has it."""
    weights = torch.load(folder / "model.pt", map_location=model.device, weights_only=True)
    missing, unexpected = model.load_state_dict(weights, strict=False)
    missing = [name for name in missing if "feature_extractor.conv_layers" not in name]
    if missing or unexpected:
        raise UserError(
            f"{folder} does not fit the model ({(missing + unexpected)[0]})", remedy="resume with its own YAML"
        )


def read_streams(folder: Path) -> dict[int, Any]:
    """Where the streams of unlabelled speech stood at a checkpoint, by their number.

    Raises:
        UserError: the file is missing or damaged.
    """
    try:
        return {int(stream): state for stream, state in json.loads((folder / STREAMS).read_text("utf-8")).items()}
    except (OSError, ValueError) as error:
        raise UserError(f"resume: {folder} cannot be read ({error})", remedy="name an older checkpoint") from None


def find_checkpoint(config: Config | PretrainConfig) -> Path | None:
    """The checkpoint to resume from, None for a fresh start.

    Raises:
        UserError: there is none where one was asked for.
    """
    if config.resume is False:
        return None
    if isinstance(config.resume, str):
        folder = Path(config.resume)
        if not (folder / "progress.json").is_file():
            raise UserError(f"resume: {folder} is not a checkpoint", remedy="name a folder checkpoints/update-NNNNNN")
        return folder
    checkpoints = sorted((Path(config.output_dir) / "checkpoints").glob("update-*"))
    if not checkpoints:
        raise UserError(
            f"resume: {config.output_dir} has no checkpoint", remedy="start with resume false, or check output_dir"
        )
    return checkpoints[-1]


def read_progress(folder: Path, task: str) -> Progress:
    """Where the run of a checkpoint stood.

    Raises:
        UserError: it cannot be read, or belongs to other data, labels, batches or another model.
    """
    try:
        progress = Progress(**json.loads((folder / "progress.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"resume: {folder} cannot be read ({error})", remedy="name an older checkpoint") from None
    if progress.task != task:
        raise UserError(
            f"resume: {folder} was made with other data, labels, batches, seed or model",
            remedy="resume with the config.yaml of its run, or start afresh with another output_dir",
        )
    return progress


def load_checkpoint(folder: Path, model: PreTrainedModel, optimizer: Any, scaler: Any, task: str) -> Progress:
    """Restores model, optimiser and counters.

    Raises:
        UserError: see `read_progress`; or a file of the checkpoint is damaged.
    """
    progress = read_progress(folder, task)
    try:
        state = torch.load(folder / "state.pt", map_location=model.device, weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        raise UserError(f"resume: {folder} cannot be read ({error})", remedy="name an older checkpoint") from None
    load_weights(folder, model)
    optimizer.load_state_dict(state["optimizer"])
    if scaler and state["scaler"]:
        scaler.load_state_dict(state["scaler"])
    return progress
