"""Where a run takes place: versions, hardware, processes. Written beside its results as environment.json."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unispeech_ft.errors import UserError
from unispeech_ft.version import VERSION

if TYPE_CHECKING:
    from accelerate import Accelerator
    from packaging.requirements import Requirement

DISTRIBUTION = "unispeech-ft"


def installed_version(distribution: str) -> str | None:
    """Version of an installed distribution, without importing it."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def requirements(extra: str = "") -> dict[str, Requirement | None]:
    """What the installed unispeech_ft demands, by distribution; nothing where it is not installed.

    Args:
        extra: what this extra demands beside the rest, instead of the rest.

    Returns:
        None instead of the bounds where `packaging` cannot be imported.
    """
    try:
        texts = importlib.metadata.requires(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        return {}
    asked = [
        text for text in texts if (f'extra == "{extra}"' if extra else "") in text and bool(extra) == (";" in text)
    ]
    try:
        from packaging.requirements import Requirement
    except ImportError:
        return {re.split(r"[^\w.-]", text)[0]: None for text in asked}
    return {item.name: item for item in map(Requirement, asked)}


def extras() -> list[str]:
    """The extras that a user may have installed."""
    try:
        named = importlib.metadata.metadata(DISTRIBUTION).get_all("Provides-Extra") or []
    except importlib.metadata.PackageNotFoundError:
        return []
    return [name for name in named if name != "dev"]


def git_revision(folder: Path) -> str | None:
    """Commit of the checkout that holds `folder`, with `+changes` where files differ from it; None outside one."""
    try:
        command = ["git", "-C", str(folder), "rev-parse", "HEAD"]
        head = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
        command = ["git", "-C", str(folder), "status", "--porcelain", "--untracked-files=no"]
        status = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
    return head + ("+changes" if status else "")


def available_cores() -> int:
    """Cores that this process may use: fewer than the machine has where it was pinned to some."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def environment(accelerator: Accelerator) -> dict[str, Any]:
    """Everything that could explain a difference between two runs of the same configuration."""
    import torch

    from unispeech_ft.phonemes.espeak import espeak_version

    on_gpu = accelerator.device.type == "cuda"
    distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
    return {
        "unispeech_ft": VERSION,
        "git_revision": git_revision(Path(__file__).parent),
        "command": sys.argv,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: installed_version(name) for name in requirements()},
        "espeak_ng": espeak_version(),
        "device": torch.cuda.get_device_name(accelerator.device) if on_gpu else "cpu",
        "cores": available_cores(),
        "threads": torch.get_num_threads(),
        "processes": accelerator.num_processes,
        "backend": torch.distributed.get_backend() if distributed else None,
        "mixed_precision": accelerator.mixed_precision,
    }


def check_processes(variables: dict[str, str], num_processes: int) -> None:
    """Refuses to run with fewer processes than were asked for.

    `accelerate launch --cpu --num_processes 2` starts a single process; it then gives it a rendezvous address, but no
    rank.

    Raises:
        UserError: with the commands that really start several.
    """
    started = int(variables.get("WORLD_SIZE") or 1)
    if started > num_processes:
        raise UserError(
            f"{started} processes were started, but accelerate sees {num_processes}",
            remedy="on a machine without a GPU set ACCELERATE_USE_CPU=true; see `accelerate env`",
        )
    asked = "ACCELERATE_MIXED_PRECISION" in variables and "MASTER_PORT" in variables and "RANK" not in variables
    if asked and num_processes == 1:
        raise UserError(
            "accelerate launch was asked for several processes, but started one",
            remedy="on CPU use `torchrun --nproc_per_node 2 recipes/…`, or"
            " `ACCELERATE_USE_CPU=true accelerate launch --multi_gpu --num_processes 2 recipes/…`",
        )
