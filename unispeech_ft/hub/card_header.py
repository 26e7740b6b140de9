"""The header of a model card, in YAML above its text."""

from __future__ import annotations

from typing import Any

import yaml

from unispeech_ft.config.yaml12 import parse_yaml
from unispeech_ft.errors import UserError


def split_card(text: str) -> tuple[dict[str, Any], str]:
    """A card → its header and its text.

    Raises:
        UserError: there is no header, or it is no YAML mapping.
    """
    remedy = "write the card again (`unispeech-ft push`)"
    parts = text.replace("\r\n", "\n").split("---\n", 2)
    if len(parts) < 3 or parts[0].strip():
        raise UserError("the card has no header", remedy=remedy)
    try:
        header, _ = parse_yaml(parts[1])
    except yaml.YAMLError:
        header = None
    if not isinstance(header, dict):
        raise UserError("the header of the card is no YAML mapping", remedy=remedy)
    return header, parts[2].lstrip("\n")
