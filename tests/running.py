"""The recipe as a subprocess on tiny speech, for tests."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml
from warm import clean_environment, run_warm

REPOSITORY = Path(__file__).resolve().parents[1]
RECIPE = REPOSITORY / "recipes" / "ctc_phoneme.py"
PRETRAINING = REPOSITORY / "recipes" / "pretrain.py"
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node")

TINY_MODEL: dict[str, Any] = {
    "model_type": "unispeech",
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "conv_dim": [32, 16],
    "conv_kernel": [256, 8],
    "conv_stride": [40, 8],
    "conv_bias": True,
    "feat_extract_norm": "layer",
    "do_stable_layer_norm": True,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 4,
}


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the nested `changes` in it."""
    result = deepcopy(dict(base))
    for key, value in changes.items():
        both = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
        result[key] = merged(result[key], value) if both else deepcopy(value)
    return result


def tiny_settings(corpus: Path, folder: Path) -> dict[str, Any]:
    """A complete configuration of a run of seconds: a tiny UniSpeech with every kind of randomness switched on."""
    return {
        "seed": 7,
        "output_dir": str(folder / "run"),
        "model": {"from_scratch": True, "config": TINY_MODEL},
        "data": {
            "root": str(corpus),
            "language": "ky",
            "cache_dir": str(folder.parent / "cache"),
            "max_duration_s": 6.0,
            "num_workers": 1,
            "normalize": True,
        },
        "batch": {"seconds_per_update": 24.0, "seconds_per_micro_batch": 6.0},
        "mask": {"time_prob": 0.3, "time_length": 5, "feature_prob": 0.2, "feature_length": 4},
        "optimizer": {"lr": 1e-3, "max_grad_norm": 5.0},
        "schedule": {"name": "constant", "updates": 10, "warmup": 0, "init_scale": 1.0, "freeze_encoder_updates": 0},
        "evaluation": {"every_updates": 1000, "start_after": 0},
        "checkpointing": {"every_updates": 1000},
        "tracking": {"trackers": []},
    }


def tiny_pretraining(corpus: Path, folder: Path, **changes: Any) -> dict[str, Any]:
    """A complete pre-training of seconds, with every kind of randomness switched on."""
    settings = {
        "seed": 7,
        "output_dir": str(folder / "run"),
        "model": {
            "from_scratch": True,
            "layerdrop": 0.2,
            "quantizer_dropout": 0.1,
            "config": TINY_MODEL | {"num_codevectors_per_group": 16, "codevector_dim": 16, "proj_codevector_dim": 16},
        },
        "data": {
            "root": str(corpus),
            "language": "ky",
            "cache_dir": str(folder.parent / "cache"),
            "max_duration_s": 6.0,
            "num_workers": 1,
        },
        "objective": {"negatives": 10, "gumbel_decay": 0.9},
        "batch": {"seconds_per_update": 24.0, "seconds_per_micro_batch": 6.0},
        "mask": {"time_prob": 0.5, "time_length": 5, "feature_prob": 0.2, "feature_length": 4},
        "schedule": {"name": "constant", "updates": 6, "warmup": 0},
        "evaluation": {"every_updates": 3},
        "checkpointing": {"every_updates": 3, "keep_last": 9},
        "tracking": {"trackers": []},
    }
    return merged(settings, changes)


def write_settings(path: Path, settings: Mapping[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(dict(settings), sort_keys=False, allow_unicode=True), encoding="utf-8")
    return path


def run_recipe(
    *arguments: str | Path,
    processes: int = 1,
    script: Sequence[str | Path] = (RECIPE,),
    cwd: Path = REPOSITORY,
    torchrun: bool = False,
) -> subprocess.CompletedProcess[str]:
    """Runs the recipe in a process of its own, or in several; `torchrun` starts them itself, which takes longer."""
    words = [*script, *arguments]
    if not torchrun:
        return run_warm(words, cwd=cwd, env=clean_environment(), processes=processes)
    command = [sys.executable, *TORCHRUN, str(processes), *map(str, words)]
    return subprocess.run(
        command, cwd=cwd, env=clean_environment(), capture_output=True, text=True, timeout=300, check=False
    )


def must_run(*arguments: str | Path, **options: Any) -> str:
    """Standard output of a recipe that has to succeed."""
    finished = run_recipe(*arguments, **options)
    assert finished.returncode == 0, f"{finished.stdout[-3000:]}\n{finished.stderr[-6000:]}"
    return finished.stdout


def events(run: Path, kind: str = "update") -> list[dict[str, Any]]:
    """The events of one kind in a run's metrics.jsonl."""
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [event for event in map(json.loads, lines) if event["event"] == kind]


def check_resuming(file: Path, run: Path, copy: Path, figures: Sequence[str] = ("loss", "grad_norm")) -> None:
    """A copy of a finished run that lost its last checkpoint is resumed to the same figures, and weights to the bit."""
    shutil.copytree(run, copy)
    shutil.rmtree(max((copy / "checkpoints").glob("update-*")))
    must_run("--config", file, "--output_dir", copy, "--resume", "true")
    first, second = (
        [[event[name] for name in ("update", *figures)] for event in events(folder)] for folder in (run, copy)
    )
    assert first == second
    models = [(folder / "model" / "model.safetensors").read_bytes() for folder in (run, copy)]
    assert models[0] == models[1]


def check_two_processes(file: Path, run: Path, two: Path, figures: Sequence[str] = ("loss", "grad_norm")) -> None:
    """Two processes log the figures of a run of one."""
    must_run("--config", file, "--output_dir", two, processes=2)
    for alone, together in zip(events(run), events(two), strict=True):
        for name in figures:
            assert together[name] == pytest.approx(alone[name], rel=1e-5), name
