"""Runs of a command that makes several: those that are there already are kept."""

from __future__ import annotations

from pathlib import Path

from unispeech_ft.errors import UserError
from unispeech_ft.runs.evidence import CONFIG, TRAINING
from unispeech_ft.tasks.ctc_phoneme.config import CtcPhonemeConfig, load_config


def is_done(folder: Path, config: CtcPhonemeConfig) -> bool:
    """Whether a run has ended in a folder.

    Raises:
        UserError: it is of another configuration.
    """
    if not (folder / CONFIG).is_file():
        return False
    aside = {"resume": False, "dry_run": False}
    if load_config(folder / CONFIG).model_copy(update=aside) != config.model_copy(update=aside):
        raise UserError(
            f"{folder} holds a run of another configuration", remedy="name another --output_dir, or remove it"
        )
    return (folder / TRAINING).is_file()
