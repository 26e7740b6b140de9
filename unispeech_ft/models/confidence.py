"""What a model folder says of its posteriors, in `confidence.json`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from unispeech_ft.errors import UserError
from unispeech_ft.files import write_text
from unispeech_ft.scoring.confidence import Confidence

CONFIDENCE = "confidence.json"


def save_confidence(folder: Path, confidence: Confidence) -> None:
    """Writes it into a model folder.

    Raises:
        OSError: it cannot be written.
    """
    write_text(folder / CONFIDENCE, json.dumps(asdict(confidence), indent=2) + "\n")


def load_confidence(folder: Path) -> Confidence | None:
    """What a model folder says; None where it says nothing.

    Raises:
        UserError: it cannot be read.
    """
    file = folder / CONFIDENCE
    if not file.is_file():
        return None
    try:
        return TypeAdapter(Confidence).validate_json(file.read_bytes())
    except (OSError, ValidationError) as error:
        reason = error.strerror if isinstance(error, OSError) else error.errors()[0]["msg"]
        raise UserError(f"{file} cannot be read ({reason})", remedy="remove it, or download it again") from None
