"""A run that was interrupted ends in the very weights of the run that was not."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from running import events, merged, must_run, run_recipe, tiny_settings, write_settings

UPDATES, FROZEN, INTERRUPTED = 12, 4, 7
COMPARED = ("update", "epoch", "loss", "grad_norm", "lr")


@dataclass(frozen=True)
class Run:
    """A finished run with a checkpoint in the middle."""

    file: Path
    output: Path

    @property
    def checkpoint(self) -> Path:
        return self.output / "checkpoints" / f"update-{INTERRUPTED:06d}"


def history(run: Path) -> list[tuple[float, ...]]:
    return [tuple(event[name] for name in COMPARED) for event in events(run)]


@pytest.fixture(scope="module")
def straight(tiny_speech: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("resume")
    settings = merged(
        tiny_settings(tiny_speech, folder),
        {
            "batch": {"seconds_per_update": 10.0},
            "schedule": {"name": "linear", "updates": UPDATES, "freeze_encoder_updates": FROZEN},
            "evaluation": {"every_updates": 5},
            "checkpointing": {"every_updates": INTERRUPTED, "keep_last": 9},
        },
    )
    file = write_settings(folder / "straight.yaml", settings)
    must_run("--config", file)
    return Run(file, folder / "run")


@pytest.fixture
def interrupted(straight: Run, tmp_path: Path) -> Path:
    """A copy of the run as it lay on disk when it was stopped after its checkpoint."""
    copy = tmp_path / "copy"
    shutil.copytree(straight.output, copy)
    shutil.rmtree(copy / "checkpoints" / f"update-{UPDATES:06d}")
    shutil.rmtree(copy / "model")
    shutil.rmtree(copy / "eval")
    return copy


def test_the_run_is_a_fair_trial(straight: Run) -> None:
    rows = {event["update"]: event for event in events(straight.output)}
    assert sorted(rows) == list(range(1, UPDATES + 1))
    assert FROZEN < INTERRUPTED < UPDATES
    assert rows[INTERRUPTED]["epoch"] == rows[INTERRUPTED + 1]["epoch"], "the checkpoint must lie within an epoch"
    assert [event["update"] for event in events(straight.output, "evaluation")] == [5, 10, UPDATES]


def test_resuming_in_place_is_exact(straight: Run, interrupted: Path) -> None:
    must_run("--config", straight.file, "--output_dir", interrupted, "--resume", "true")
    assert history(interrupted) == history(straight.output)
    pers = [[event["per"] for event in events(run, "evaluation")] for run in (interrupted, straight.output)]
    assert pers[0] == pers[1]
    weights = [(run / "model" / "model.safetensors").read_bytes() for run in (interrupted, straight.output)]
    assert weights[0] == weights[1]


def test_resuming_from_a_named_checkpoint_with_two_processes(straight: Run, tmp_path: Path) -> None:
    run = tmp_path / "two"
    must_run("--config", straight.file, "--output_dir", run, "--resume", straight.checkpoint, processes=2)
    expected = history(straight.output)[INTERRUPTED:]
    found = history(run)
    assert [row[:2] for row in found] == [row[:2] for row in expected]
    for row, there in zip(found, expected, strict=True):
        assert row[2:] == pytest.approx(there[2:], rel=1e-5)


def refusal(*arguments: str | Path) -> str:
    finished = run_recipe(*arguments)
    assert finished.returncode == 2, finished.stderr[-3000:]
    assert "Traceback" not in finished.stderr
    lines = [line for line in finished.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    return lines[0]


def test_a_checkpoint_of_another_task_is_refused(straight: Run, interrupted: Path) -> None:
    before = {path: path.read_bytes() for path in sorted(interrupted.rglob("*")) if path.is_file()}
    arguments = ("--config", straight.file, "--output_dir", interrupted, "--resume", "true", "--seed", "8")
    assert "made with other" in refusal(*arguments)
    after = {path: path.read_bytes() for path in sorted(interrupted.rglob("*")) if path.is_file()}
    assert after == before, "a refused resume must leave the run, its config.yaml above all, as it was"


def test_a_refused_checkpoint_leaves_no_new_run(straight: Run, tmp_path: Path) -> None:
    output = tmp_path / "new"
    arguments = ("--config", straight.file, "--output_dir", output, "--resume", straight.checkpoint, "--seed", "8")
    assert "made with other" in refusal(*arguments)
    assert not output.exists()


def test_resuming_where_there_is_no_checkpoint(straight: Run, tmp_path: Path) -> None:
    output = tmp_path / "nothing"
    said = refusal("--config", straight.file, "--output_dir", output, "--resume", "true")
    assert str(output) in said
    assert "has no checkpoint" in said
    assert not output.exists()
    said = refusal("--config", straight.file, "--output_dir", output, "--resume", tmp_path / "elsewhere")
    assert "is not a checkpoint" in said
    assert not output.exists()


def test_a_damaged_checkpoint_is_refused(straight: Run, interrupted: Path) -> None:
    state = interrupted / "checkpoints" / straight.checkpoint.name / "state.pt"
    state.write_bytes(state.read_bytes()[: state.stat().st_size // 2])
    said = refusal("--config", straight.file, "--output_dir", interrupted, "--resume", "true")
    assert "cannot be read" in said
