"""A run survives updates that go wrong, signals, damaged checkpoints, a second run beside it and odd folders."""

from __future__ import annotations

import errno
import json
import os
import pickle
import re
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from running import RECIPE, events, merged, must_run, run_recipe, tiny_settings, write_settings
from torch import Tensor, nn

import unispeech_ft.files
from unispeech_ft.config.sections import OptimizerConfig, RunConfig, ScheduleConfig
from unispeech_ft.errors import UserError, UserErrors, run_command
from unispeech_ft.files import allocate, damage, digest_of
from unispeech_ft.runs.directory import check_place, open_run, reserved
from unispeech_ft.runs.room import run_bytes
from unispeech_ft.training.checkpoint import find_checkpoint
from unispeech_ft.training.loop import METRICS, train
from unispeech_ft.training.metrics_logger import USUAL_OF, MetricsLogger, cut_events
from unispeech_ft.training.step import make_optimizer
from unispeech_ft.training.task import Score, SummedLoss, Task, UpdateShare


def ending_of(command: Callable[[], Any], capsys: pytest.CaptureFixture[str]) -> tuple[object, str]:
    """The exit status of a command, and what it says."""
    with pytest.raises(SystemExit) as ended:
        run_command(command)
    return ended.value.code, capsys.readouterr().err


@dataclass(frozen=True)
class Number:
    """A micro-batch of one number that the loss is multiplied by."""

    index: int
    epoch: int
    value: float

    def to(self, device: torch.device) -> Number:
        return self


class Numbers(Task[Number]):
    """A linear layer; the loss of some updates is multiplied by what is not a finite number, or huge."""

    def __init__(self, values: Mapping[int, float], validate: bool = False) -> None:
        torch.manual_seed(0)
        self.network: Any = nn.Linear(3, 2)
        self.network.device = torch.device("cpu")
        self.identity, self.values, self.can_score = "numbers", values, validate

    def updates(self, first: int, last: int, state: Mapping[str, Any] | None) -> Iterator[UpdateShare[Number]]:
        for number in range(first, last):
            yield UpdateShare(number, iter([Number(0, 0, self.values.get(number, 1.0))]), 1, 1.0)

    def loss(self, update: int, micro_batch: Number) -> SummedLoss:
        inputs = torch.linspace(-1, 1, 3) + update / 10
        return SummedLoss(self.network(inputs).square().sum() * micro_batch.value, 1)

    def trained_parameters(self, update: int) -> list[nn.Parameter]:
        return list(self.network.parameters())

    def clips_of(self, update: int) -> list[str]:
        return [f"clip {update}"]

    def score(self) -> Score:
        error = float(self.network.weight.detach().abs().sum())
        return Score({"per": error}, error, f"{error}")


def config_of(folder: Path, updates: int, *, fused: bool = True, max_bad_updates: int = 10) -> RunConfig:
    return RunConfig(
        output_dir=str(folder),
        optimizer=OptimizerConfig(lr=0.01),
        schedule=ScheduleConfig(name="constant", updates=updates, warmup=0, freeze_encoder_updates=0),
        training={"fused_optimizer": fused, "max_bad_updates": max_bad_updates},
        checkpointing={"every_updates": 5},
        evaluation={"every_updates": 3, "start_after": 0},
    )


def trained(folder: Path, values: Mapping[int, float], updates: int = 8, **options: Any) -> dict[str, Tensor]:
    task = Numbers(values)
    folder.mkdir(parents=True, exist_ok=True)
    train(task, config_of(folder, updates, **options), Accelerator(cpu=True), None)
    return task.network.state_dict()


def read(folder: Path, kind: str) -> list[dict[str, Any]]:
    found = map(json.loads, (folder / METRICS).read_text(encoding="utf-8").splitlines())
    return [event for event in found if event["event"] == kind]


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_update_that_is_not_finite_changes_nothing(tmp_path: Path, value: float, *, fused: bool) -> None:
    before = trained(tmp_path / "before", {}, updates=4, fused=fused)
    after = trained(tmp_path / "after", {4: value}, updates=5, fused=fused)
    for name, tensor in before.items():
        torch.testing.assert_close(after[name], tensor, rtol=0, atol=0)
    [left_out] = read(tmp_path / "after", "left_out")
    assert left_out["update"] == 5
    assert left_out["clips"] == ["clip 4"]
    later = trained(tmp_path / "later", {4: value}, updates=9, fused=fused)
    assert all(bool(tensor.isfinite().all()) for tensor in later.values())
    assert not torch.equal(later["weight"], before["weight"]), "training must go on"


def test_metrics_are_json_whatever_the_loss_was(tmp_path: Path) -> None:
    trained(tmp_path, {2: float("nan"), 3: float("inf")})

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    for line in (tmp_path / METRICS).read_text(encoding="utf-8").splitlines():
        json.loads(line, parse_constant=refuse)
    assert [event["loss"] for event in read(tmp_path, "update")][2:4] == [None, None]


def test_too_many_in_a_row_stop_the_run_with_its_last_good_weights(tmp_path: Path) -> None:
    good = trained(tmp_path / "good", {}, updates=4)
    with pytest.raises(UserError, match="updates in a row") as refused:
        trained(tmp_path / "bad", dict.fromkeys(range(4, 40), float("nan")), updates=40, max_bad_updates=3)
    assert METRICS in refused.value.remedy
    checkpoint, _ = find_checkpoint(str(tmp_path / "bad"), True)
    assert checkpoint is not None
    saved = torch.load(checkpoint / "model.pt", weights_only=True)
    for name, tensor in good.items():
        torch.testing.assert_close(saved[name], tensor, rtol=0, atol=0)


def in_fp16(monkeypatch: pytest.MonkeyPatch, scale: float) -> Accelerator:
    """An accelerator with a scaler on the CPU, until the test ends: its state is that of the whole process."""
    accelerator = Accelerator(cpu=True)
    accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    accelerator.native_amp = True
    monkeypatch.setitem(accelerator.state.__dict__, "_mixed_precision", "fp16")
    return accelerator


def test_a_scale_of_fp16_that_was_too_high_is_no_fault(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gradients of a finite loss overflow while the scaler's scale is high; it is lowered, and the run goes on."""
    accelerator = in_fp16(monkeypatch, 2.0**20)
    task = Numbers({3: 1e34, 4: float("nan")})
    train(task, config_of(tmp_path, 8, max_bad_updates=2), accelerator, None)
    reasons = {event["update"]: event["reason"] for event in read(tmp_path, "left_out")}
    assert list(reasons) == [4, 5]
    assert "scale of fp16" in reasons[4]
    assert "not finite" in reasons[5]
    assert "update 4 was left out" not in capsys.readouterr().err


def test_a_scale_that_cannot_be_lowered_stops_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    accelerator = in_fp16(monkeypatch, 4.0)
    with pytest.raises(UserError, match="updates in a row"):
        train(Numbers(dict.fromkeys(range(50), 3e38)), config_of(tmp_path, 50, max_bad_updates=3), accelerator, None)


def test_a_gradient_that_explodes_is_named(tmp_path: Path) -> None:
    trained(tmp_path, {60: 1e6}, updates=70)
    warnings = [event for event in read(tmp_path, "warning") if "gradient of update 61" in event["text"]]
    assert len(warnings) == 1


def test_weights_that_are_not_finite_are_never_saved(tmp_path: Path) -> None:
    task = Numbers({})
    tmp_path.mkdir(exist_ok=True)
    with torch.no_grad():
        task.network.weight[0, 0] = float("nan")
    with pytest.raises(UserError, match="not finite"):
        train(task, config_of(tmp_path, 2), Accelerator(cpu=True), None)
    assert list(tmp_path.rglob("model.pt")) == []


def test_moments_stay_too(tmp_path: Path) -> None:
    layer = nn.Linear(2, 2)
    optimizer = make_optimizer(layer, OptimizerConfig())
    accelerator = Accelerator(cpu=True)
    prepared = accelerator.prepare(optimizer)
    from unispeech_ft.training.step import apply_if

    layer(torch.ones(2)).sum().backward()
    apply_if(torch.tensor(True), prepared, accelerator)
    before = {name: tensor.clone() for name, tensor in optimizer.state[layer.weight].items()}
    layer.weight.grad.fill_(float("nan"))
    apply_if(torch.tensor(False), prepared, accelerator)
    for name, tensor in optimizer.state[layer.weight].items():
        assert torch.equal(tensor, before[name]), name


@pytest.fixture(scope="module")
def straight(tiny_speech: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The settings and the folder of a run of 12 updates with a checkpoint every 3."""
    folder = tmp_path_factory.mktemp("reliability")
    settings = merged(
        tiny_settings(tiny_speech, folder),
        {
            "batch": {"seconds_per_update": 10.0},
            "schedule": {"updates": 12},
            "evaluation": {"every_updates": 4},
            "checkpointing": {"every_updates": 3, "keep_last": 9},
        },
    )
    file = write_settings(folder / "straight.yaml", settings)
    must_run("--config", file)
    return file, folder / "run"


def test_the_room_that_a_run_takes_is_told_beforehand(straight: tuple[Path, Path], tmp_path: Path) -> None:
    cache, run = tmp_path / "cache", straight[1]
    words = ("--config", straight[0], "--output_dir", tmp_path / "run", "--data.cache_dir", cache)
    said = must_run(*words, "--dry_run", "true")
    line = next(line for line in said.splitlines() if line.startswith("disk: "))
    must_run(*words)
    found = [sum(file.stat().st_size for file in cache.rglob(name)) / 2**20 for name in ("*.arrow", "values.npy")]
    told = re.findall(r"([\d.]+) MiB", line)
    assert [float(size) for size in (told[0], told[1])] == pytest.approx(found, rel=0.1, abs=1)
    assert f" in {cache} (" in line
    model_bytes = (run / "model" / "model.safetensors").stat().st_size
    taken = sum(file.stat().st_size for name in ("model.pt", "state.pt", "*.safetensors") for file in run.rglob(name))
    assert 0.7 < taken / run_bytes(model_bytes // 4, keep_last=3) < 1.1, "four checkpoints, the best, the model"


@pytest.fixture
def copy(straight: tuple[Path, Path], tmp_path: Path) -> Path:
    shutil.copytree(straight[1], tmp_path / "copy")
    return tmp_path / "copy"


def flip(file: Path) -> None:
    held = bytearray(file.read_bytes())
    held[len(held) // 2] ^= 0b100
    file.write_bytes(held)


def weights(run: Path) -> bytes:
    return (run / "model" / "model.safetensors").read_bytes()


@pytest.mark.parametrize("name", ["model.pt", "state.pt", "progress.json"])
def test_a_damaged_checkpoint_is_passed_over(straight: tuple[Path, Path], copy: Path, name: str) -> None:
    flip(copy / "checkpoints" / "update-000012" / name)
    said = must_run("--config", straight[0], "--output_dir", copy, "--resume", "true")
    assert f"update-000012 is left out: {name} is damaged" in said
    assert weights(copy) == weights(straight[1])
    assert [event["update"] for event in events(copy)] == list(range(1, 13))
    assert damage(copy / "checkpoints" / "update-000012") == ""


def test_resuming_reads_the_digests_of_a_checkpoint_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run"
    trained(run, {}, updates=5)
    read_files: list[Path] = []
    monkeypatch.setattr(unispeech_ft.files, "digest_of", lambda path: read_files.append(path) or digest_of(path))
    config = config_of(run, 6).model_copy(update={"resume": True})
    task, accelerator = Numbers({}), Accelerator(cpu=True)
    train(task, config, accelerator, open_run(config, task.identity, [], accelerator))
    assert sorted(path.name for path in read_files if path.parent.name == "update-000005") == [
        "model.pt",
        "progress.json",
        "state.pt",
    ]
    assert max(event["update"] for event in events(run)) == 6


def test_faults_pass_from_process_to_process() -> None:
    for fault in (UserError("a", remedy="b"), UserErrors([UserError("a", remedy="b"), UserError("c", remedy="d")])):
        again = pickle.loads(pickle.dumps(fault))
        assert (type(again), again.lines) == (type(fault), fault.lines)


def test_nothing_whole_to_resume_from(straight: tuple[Path, Path], copy: Path) -> None:
    for folder in (copy / "checkpoints").glob("update-*"):
        (folder / "state.pt").unlink()
    finished = run_recipe("--config", straight[0], "--output_dir", copy, "--resume", "true")
    assert finished.returncode == 2
    assert "no checkpoint of" in finished.stderr
    assert "state.pt is missing" in finished.stderr
    assert "Traceback" not in finished.stderr


def test_an_older_checkpoint_sets_aside_what_came_later(straight: tuple[Path, Path], copy: Path) -> None:
    older = copy / "checkpoints" / "update-000003"
    changes = ("--schedule.updates", "6", "--optimizer.lr", "5e-4")
    said = must_run("--config", straight[0], "--output_dir", copy, "--resume", older, *changes)
    assert "resumed with schedule.updates 6 instead of 12" in said
    assert "resumed with optimizer.lr 0.0005 instead of 0.001" in said
    abandoned = {path.name for path in (copy / "checkpoints" / "abandoned-1").iterdir()}
    assert {"update-000006", "update-000009", "update-000012", "best"} <= abandoned
    best = json.loads((copy / "checkpoints" / "best" / "progress.json").read_text(encoding="utf-8"))
    assert best["updates"] in (4, 6)
    assert max(event["update"] for event in events(copy)) == 6


def test_auto_begins_and_goes_on(straight: tuple[Path, Path], tmp_path: Path) -> None:
    output = tmp_path / "auto"
    command = ("--config", straight[0], "--output_dir", output, "--resume", "auto")
    must_run(*command, "--schedule.updates", "6")
    assert must_run(*command).count("earlier run") == 0
    assert weights(output) == weights(straight[1])


def test_a_second_run_in_the_same_folder_is_refused(straight: tuple[Path, Path], copy: Path) -> None:
    with reserved(RunConfig(output_dir=str(copy))):
        finished = run_recipe("--config", straight[0], "--output_dir", copy)
    assert finished.returncode == 2
    assert f"process {os.getpid()}" in finished.stderr
    assert weights(copy) == weights(straight[1])
    assert list(copy.parent.glob(".copy*")) == [], "the lock goes with its run"


def test_places_that_are_not_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    foreign = tmp_path / "thesis"
    foreign.mkdir()
    (foreign / "chapter.txt").write_text("1", encoding="utf-8")
    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.chdir(foreign)
    for place in (".", "..", str(tmp_path), str(tmp_path / "file"), "/dev/null", str(foreign)):
        with pytest.raises(UserError, match="output_dir"):
            check_place(place)
    (tmp_path / "empty").mkdir()
    for place in (tmp_path / "empty", tmp_path / "new" / "run"):
        check_place(str(place))


SIGNALLED = """
import os, pathlib, runpy, sys, threading, time
file, number, *sys.argv = sys.argv[1:]
def send():
    while not pathlib.Path(file).exists():
        time.sleep(0.01)
    os.kill(os.getpid(), int(number))
threading.Thread(target=send, daemon=True).start()
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_and_says_how_to_go_on(
    straight: tuple[Path, Path], tmp_path: Path, number: signal.Signals, status: int
) -> None:
    output = tmp_path / "stopped"
    words = ["--config", straight[0], "--output_dir", output, "--schedule.updates", "3000"]
    finished = run_recipe(output / METRICS, int(number), RECIPE, *words, script=("-c", SIGNALLED))
    said = finished.stderr
    assert finished.returncode == status, said
    assert "--resume true" in said
    assert "Traceback" not in said
    checkpoint, _ = find_checkpoint(str(output), True)
    assert checkpoint is not None
    assert max(event["update"] for event in events(output)) == int(checkpoint.name[7:])


def test_a_line_of_the_history_that_was_cut_short_is_dropped(tmp_path: Path) -> None:
    lines = ['{"event": "update", "update": 1}', '{"event": "update", "update": 3}', '{"event": "upd']
    (tmp_path / METRICS).write_text("\n".join(lines), encoding="utf-8")
    cut_events(tmp_path / METRICS, 2)
    assert (tmp_path / METRICS).read_text(encoding="utf-8").splitlines() == lines[:1]


def test_damaged_caches_are_made_anew(straight: tuple[Path, Path], tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    command = ("--config", straight[0], "--output_dir", tmp_path / "run", "--data.cache_dir", cache)
    must_run(*command)
    clips, values, offsets = (
        sorted(cache.rglob(name))[place] for name, place in (("*.arrow", 0), ("values.npy", 0), ("offsets.npy", 1))
    )
    labels = next(cache.rglob("phones.json"))
    labels.write_bytes(labels.read_bytes()[:10])
    clips.write_bytes(clips.read_bytes()[:1000])
    flip(values)
    offsets.unlink()
    finished = run_recipe(*command)
    assert finished.returncode == 0, finished.stderr
    for folder, fault in (
        (values, "values.npy is damaged"),
        (clips, "is damaged"),
        (offsets, "offsets.npy is missing"),
        (labels, "phones.json is damaged"),
    ):
        assert any(str(folder.parent) in line and fault in line for line in finished.stderr.splitlines()), folder
    assert weights(tmp_path / "run") == weights(straight[1])
    assert all(damage(path.parent) == "" for path in cache.rglob("digests.json"))


def test_a_full_disk_is_told_before_anything_is_written_through_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    file = tmp_path / "values.npy"
    with file.open("wb") as made:
        made.truncate(3 * 2**20)
    allocate(file)
    assert file.stat().st_blocks * 512 >= 3 * 2**20
    monkeypatch.setattr(os, "posix_fallocate", full)

    status, said = ending_of(lambda: allocate(file), capsys)
    assert status == 2
    assert "3 MiB are needed" in said
    assert "MiB are free" in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize("size", [lambda: torch.empty(2**46), lambda: bytearray(2**46), lambda: np.ones(2**46)])
def test_too_little_memory_is_one_line_with_the_keys_to_lower(
    size: Callable[[], Any], capsys: pytest.CaptureFixture[str]
) -> None:
    status, said = ending_of(size, capsys)
    assert status == 2
    assert "lower batch.seconds_per_micro_batch" in said
    assert len(said.splitlines()) == 1


def test_other_faults_of_torch_stay_ours() -> None:
    with pytest.raises(RuntimeError):
        run_command(lambda: torch.ones(2) @ torch.ones(3))


def test_an_exploding_gradient_is_told_and_one_after_none_ends_no_run(
    tmp_path: Path, accelerator: Accelerator, capsys: pytest.CaptureFixture[str]
) -> None:
    for usual in (0.0, 1.0):
        logger = MetricsLogger(tmp_path / METRICS, accelerator, 0, 99, lambda _: [], lambda _: [])
        for number in range(USUAL_OF):
            logger._note(number, 1.0, usual, applied=True)
        logger._note(USUAL_OF, 1.0, 200.0, applied=True)
        logger.close()
        assert ("200 times the usual one" in capsys.readouterr().out) == (usual > 0)
