"""Which task a run or a published model is of, where it is not phone recognition."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from unispeech_ft.config.reading import read_yaml
from unispeech_ft.errors import UserError
from unispeech_ft.hub.task_card import TaskCard

TASKS = ("audio_classification", "speaker_verification", "speaker_diarization", "speech_separation")


def card_of(folder: Path) -> TaskCard | None:
    """The card of the task whose section stands in a folder's `config.yaml`; None where it is none of these."""
    file = folder / "config.yaml"
    try:
        values = read_yaml(file)[0] if file.is_file() else {}
    except UserError:
        return None
    for task in TASKS:
        if task in values:
            card: TaskCard = import_module(f"unispeech_ft.tasks.{task}.export").CARD
            return card
    return None
