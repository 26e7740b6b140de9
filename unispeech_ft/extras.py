"""Libraries that come with an extra of the distribution, opened where they are needed."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from unispeech_ft.errors import UserError, first_line


def optional(module: str, extra: str, purpose: str, otherwise: str | None = None) -> Any:
    """A module of a library that need not be there.

    Args:
        module: to import.
        extra: of `unispeech-ft`, which brings it.
        purpose: what needs it, as a key or an option.
        otherwise: what to do without it.

    Raises:
        UserError: it is not installed, or does not load.
    """
    library = module.partition(".")[0]
    try:
        return import_module(module)
    except (ImportError, OSError) as error:
        missing = isinstance(error, ModuleNotFoundError) and error.name == library
        why = "is not installed" if missing else f"does not load ({first_line(error)})"
        remedy = f"pip install 'unispeech-ft[{extra}]'" + (f", or {otherwise}" if otherwise else "")
        raise UserError(f"{purpose} needs {library}, which {why}", remedy=remedy) from None
