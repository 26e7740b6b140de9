"""Where a run takes place: versions, hardware, processes. Written beside its results as environment.json."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unispeech_ft.training.launch import available_cores
from unispeech_ft.version import VERSION

if TYPE_CHECKING:
    from accelerate import Accelerator

PACKAGES = (
    "torch",
    "torchaudio",
    "transformers",
    "datasets",
    "accelerate",
    "evaluate",
    "huggingface_hub",
    "phonemizer",
    "espeakng-loader",
    "jiwer",
    "librosa",
    "soundfile",
    "soxr",
    "numpy",
    "pydantic",
)


def package_versions() -> dict[str, str | None]:
    """Installed version of each package that results depend on, None where it is missing."""
    versions: dict[str, str | None] = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None
    return versions


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
        "packages": package_versions(),
        "espeak_ng": espeak_version(),
        "device": torch.cuda.get_device_name(accelerator.device) if on_gpu else "cpu",
        "cores": available_cores(),
        "threads": torch.get_num_threads(),
        "processes": accelerator.num_processes,
        "backend": torch.distributed.get_backend() if distributed else None,
        "mixed_precision": accelerator.mixed_precision,
    }
