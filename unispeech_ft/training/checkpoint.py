"""Checkpoints: everything that the rest of a run depends on, written whole or not at all.

Random numbers are drawn by name (`randomness`), so weights, optimiser, counters and the task's own state are all there
is.
"""

from __future__ import annotations

import hashlib
import json
import pickle
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from unispeech_ft.errors import UserError
from unispeech_ft.files import atomic_folder, damage
from unispeech_ft.models.loader import check_finite
from unispeech_ft.training.averaging import AveragedWeights, BestWeights

if TYPE_CHECKING:
    from transformers import PreTrainedModel

BEST, AUTO = "best", "auto"
# A probe keeps those of each learning rate in a folder `lr-RATE` of its run.
OF_A_RATE = "lr-"
WEIGHTS, STATE, PROGRESS, TASK_STATE = "model.pt", "state.pt", "progress.json", "task.json"
# The keys of `Progress` in checkpoints before 2026-11-26, whose identity said less of a run.
EARLIER_KEYS = {"task", "best_per"}


@dataclass(frozen=True)
class Progress:
    """Where a run stands.

    Attributes:
        identity: of data, labels, batches, seed and model; a checkpoint of another run is refused.
        updates: done so far.
        best_error: lowest validation error so far, None before the first evaluation.
        best_update: updates done at that evaluation.
        evaluations_since_best: for early stopping.
    """

    identity: str
    updates: int = 0
    best_error: float | None = None
    best_update: int = 0
    evaluations_since_best: int = 0


def identity_of(*said: object) -> str:
    """Identifies a run by all that its updates depend on, in plain JSON; only its own checkpoints continue it."""
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def _frozen(model: PreTrainedModel) -> set[str]:
    """The names of the weights that stay as the base model has them: the extractor's, and of a probe the encoder's."""
    return {name for name, tensor in model.named_parameters() if not tensor.requires_grad}


def _trained(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """The weights that a checkpoint holds.

    Raises:
        UserError: some are not finite numbers, so that nothing is written.
    """
    frozen = _frozen(model)
    trained = {name: tensor for name, tensor in model.state_dict().items() if name not in frozen}
    check_finite(trained, "the model cannot be saved")
    return trained


def _write_progress(folder: Path, progress: Progress) -> None:
    (folder / PROGRESS).write_text(json.dumps(asdict(progress), indent=2), encoding="utf-8")


def save_checkpoint(
    checkpoints: Path,
    model: PreTrainedModel,
    optimizer: Any,
    scaler: Any,
    progress: Progress,
    task_state: Mapping[str, Any] | None,
    keep_last: int,
    average: AveragedWeights | None = None,
    best: BestWeights | None = None,
) -> None:
    """Writes `checkpoints/update-NNNNNN` and removes all but the newest `keep_last`."""
    with atomic_folder(checkpoints / f"update-{progress.updates:06d}", replace=True, seal=True) as folder:
        torch.save(_trained(model), folder / WEIGHTS)
        state = {"optimizer": optimizer.state_dict(), "scaler": scaler.state_dict() if scaler else None}
        if average is not None:
            state["average"] = average.state()
        if best is not None:
            state["best"] = best.state()
        torch.save(state, folder / STATE)
        if task_state is not None:
            (folder / TASK_STATE).write_text(json.dumps(task_state), encoding="utf-8")
        _write_progress(folder, progress)
    for old in sorted_checkpoints(checkpoints)[:-keep_last]:
        shutil.rmtree(old)


def save_best(checkpoints: Path, model: PreTrainedModel, progress: Progress) -> None:
    """Writes the weights of the best model so far."""
    with atomic_folder(checkpoints / BEST, replace=True, seal=True) as folder:
        torch.save(_trained(model), folder / WEIGHTS)
        _write_progress(folder, progress)


def set_aside(checkpoints: Path, progress: Progress) -> Progress:
    """Moves what a resumed run does not go on from out of its way, into `checkpoints/abandoned-N`: later checkpoints,
    and a best model of later updates.

    Returns:
        The progress, without a best error where the best model of its time is gone.
    """
    later = [folder for folder in sorted_checkpoints(checkpoints) if number_of(folder) > progress.updates]
    best = checkpoints / BEST
    fits = progress.best_error is not None and _updates_of(best) == progress.best_update and not damage(best)
    if best.exists() and not fits:
        later.append(best)
    if later:
        number = next(n for n in range(1, 10_000) if not (checkpoints / f"abandoned-{n}").exists())
        (checkpoints / f"abandoned-{number}").mkdir()
        for folder in later:
            folder.rename(checkpoints / f"abandoned-{number}" / folder.name)
    return progress if fits else replace(progress, best_error=None, best_update=0, evaluations_since_best=0)


def _updates_of(folder: Path) -> int | None:
    try:
        return int(json.loads((folder / PROGRESS).read_text(encoding="utf-8"))["updates"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def bring_best(checkpoint: Path, checkpoints: Path) -> None:
    """Copies the best model beside a checkpoint of another run's folder into this one's."""
    best = checkpoint.parent / BEST
    if best.is_dir() and best.resolve() != (checkpoints / BEST).resolve():
        with atomic_folder(checkpoints / BEST, replace=True) as folder:
            shutil.copytree(best, folder, dirs_exist_ok=True)


def load_best(output: Path, model: PreTrainedModel) -> None:
    """Puts the best weights of the run in `output` into the model; without a best checkpoint it stays as it is.

    Raises:
        UserError: as `load_weights`.
    """
    folder = output / "checkpoints" / BEST
    if folder.is_dir():
        load_weights(folder, model)


def load_weights(folder: Path, model: PreTrainedModel) -> None:
    """Puts the weights of a checkpoint into the model; what is frozen stays as the base model has it.

    Raises:
        UserError: they are damaged, of another model, or not finite.
    """
    fault = damage(folder)
    if fault:
        raise UserError(f"{folder}: {fault}", remedy="resume the run, which scores its last checkpoint again")
    _put_weights(folder, model)


def _put_weights(folder: Path, model: PreTrainedModel) -> None:
    weights = torch.load(folder / WEIGHTS, map_location=model.device, weights_only=True)
    check_finite(weights, str(folder))
    missing, unexpected = model.load_state_dict(weights, strict=False)
    missing = sorted({*missing} - _frozen(model))
    if missing or unexpected:
        raise UserError(
            f"{folder} does not fit the model ({(missing + unexpected)[0]})", remedy="resume with its own YAML"
        )


def number_of(checkpoint: Path) -> int:
    """The updates in the name of a folder `update-N`."""
    return int(checkpoint.name.removeprefix("update-"))


def sorted_checkpoints(checkpoints: Path) -> list[Path]:
    """The folders `update-N`, by their numbers."""
    named = [path for path in checkpoints.glob("update-*") if path.name.removeprefix("update-").isdecimal()]
    return sorted(named, key=number_of)


def find_checkpoint(output_dir: str, resume: bool | str) -> tuple[Path | None, list[str]]:
    """The checkpoint to resume from, None for a fresh start; and a line for each newer one that is damaged.

    Args:
        resume: as in the configuration: true for the newest of `output_dir`, auto for the same where there is one, or a
            folder.

    Raises:
        UserError: there is none where one was asked for, or none is whole.
    """
    if resume is False:
        return None, []
    if isinstance(resume, str) and resume != AUTO:
        folder = Path(resume)
        if not (folder / PROGRESS).is_file():
            raise UserError(f"resume: {folder} is not a checkpoint", remedy="name a folder checkpoints/update-NNNNNN")
        if fault := damage(folder):
            raise UserError(f"resume: {folder}: {fault}, so it cannot be read", remedy="name an older checkpoint")
        return folder, []
    places = [Path(output_dir), *sorted(Path(output_dir).glob(f"{OF_A_RATE}*"))]
    checkpoints = [folder for place in places for folder in sorted_checkpoints(place / "checkpoints")]
    lines: list[str] = []
    for folder in reversed(checkpoints):
        fault = damage(folder)
        if not fault:
            return folder, lines
        lines.append(f"warning: {folder} is left out: {fault}, so it cannot be read")
    if resume == AUTO and not checkpoints:
        return None, []
    if checkpoints:
        raise UserError(
            f"resume: no checkpoint of {output_dir} can be read ({lines[0].partition(': ')[2]})",
            remedy="start afresh with resume false",
        )
    raise UserError(f"resume: {output_dir} has no checkpoint", remedy="start with resume false, or check output_dir")


def _unreadable(folder: Path, error: Exception) -> UserError:
    return UserError(f"resume: {folder} cannot be read ({error})", remedy="name an older checkpoint")


def read_progress(folder: Path, identity: str) -> Progress:
    """Where the run of a checkpoint stood.

    Raises:
        UserError: it cannot be read, or belongs to other data, labels, batches or another model.
    """
    try:
        values = json.loads((folder / PROGRESS).read_text(encoding="utf-8"))
        if isinstance(values, dict) and values.keys() >= EARLIER_KEYS:
            raise UserError(
                f"resume: {folder} was written by an earlier unispeech_ft, whose checkpoints do not say all that a run"
                " depends on",
                remedy="finish that run with the version that began it, or start afresh with another output_dir",
            )
        progress = Progress(**values)
    except (OSError, ValueError, TypeError) as error:
        raise _unreadable(folder, error) from None
    if progress.identity != identity:
        raise UserError(
            f"resume: {folder} was made with other data, labels, batches, seed or model",
            remedy="resume with the config.yaml of its run, or start afresh with another output_dir",
        )
    return progress


def load_checkpoint(
    folder: Path,
    model: PreTrainedModel,
    optimizer: Any,
    scaler: Any,
    identity: str,
    average: AveragedWeights | None = None,
    best: BestWeights | None = None,
) -> tuple[Progress, Mapping[str, Any] | None]:
    """Restores model, optimiser and averaged weights from a checkpoint that `find_checkpoint` found whole; returns the
    counters and the task's own state.

    Args:
        best: begins here where the checkpoint has none.

    Raises:
        UserError: see `read_progress`; or a file of the checkpoint is damaged.
    """
    progress = read_progress(folder, identity)
    own = folder / TASK_STATE
    try:
        state = torch.load(folder / STATE, map_location=model.device, weights_only=True)
        task_state = json.loads(own.read_text(encoding="utf-8")) if own.exists() else None
    except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        raise _unreadable(folder, error) from None
    _put_weights(folder, model)
    optimizer.load_state_dict(state["optimizer"])
    if scaler and state["scaler"]:
        scaler.load_state_dict(state["scaler"])
    if average is not None:
        average.load(state["average"])
    if best is not None:
        best.load(state.get("best", []))
    return progress, task_state
