"""Where a run takes place: versions, hardware, processes. Written beside its results as environment.json."""

from __future__ import annotations

import importlib.metadata
import platform
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unispeech_ft.launching import available_cores
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
