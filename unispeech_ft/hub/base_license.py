"""The licence of the model that a fine-tuning started from, and what it asks of whoever passes the result on."""

from __future__ import annotations

from pathlib import Path

from unispeech_ft.errors import UserError
from unispeech_ft.hub.card_header import split_card

# Cards on the Hub without a `license` in their header, which name that of microsoft/UniSpeech in their text; ours.
KNOWN = (("microsoft/unispeech", "cc-by-sa-3.0"), ("microsoft/wavlm", "cc-by-sa-3.0"), ("packaged:", "mit"))
CONDITIONS = {
    "sa": "Share-alike: whoever passes this model on, changed or not, has to do so under the licence of its base model",
    "nc": "Non-commercial: neither the base model nor this one may be used for money",
    "nd": "No derivatives: the licence of the base model does not allow a changed one to be passed on",
}
SHARE_ALIKE = ("gpl", "agpl", "lgpl", "odbl")
NO_LICENSE = ("unknown", "other", "")


def known_license(base: str | None) -> str | None:
    """The licence of a base model that this package knows by its name, as the Hub writes it; else None."""
    named = (base or "").lower()
    return next((license_name for start, license_name in KNOWN if named.startswith(start)), None)


def conditions(license_name: str | None) -> list[str]:
    """What a licence asks of derived models beyond naming the authors; a sentence each, without its full stop.

    Args:
        license_name: as the Hub writes it, such as `cc-by-nc-sa-4.0`.
    """
    parts = (license_name or "").lower().split("-")
    found = [said for part, said in CONDITIONS.items() if part in parts]
    return found or ([CONDITIONS["sa"]] if parts[0] in SHARE_ALIKE else [])


def base_license(base: str | None) -> str | None:
    """The licence of a base model: known here, or stated by the card beside it or on the Hub; None where nobody says.

    Args:
        base: `model.base` of a configuration: a Hub id, a folder, or a packaged model; None without one.
    """
    found = known_license(base)
    if base is None or found:
        return found
    stated = _of_folder(Path(base).expanduser()) if Path(base).expanduser().is_dir() else _of_hub(base)
    return None if stated is None or stated.lower() in NO_LICENSE else stated


def _of_folder(folder: Path) -> str | None:
    try:
        header, _ = split_card((folder / "README.md").read_text(encoding="utf-8", errors="replace"))
    except (OSError, UserError):
        return None
    stated = header.get("license")
    return stated if isinstance(stated, str) else None


def _of_hub(base: str) -> str | None:
    from huggingface_hub import HfApi

    try:
        card = HfApi().model_info(base).card_data
    except Exception:  # whatever keeps the Hub from answering, the licence is not known
        return None
    stated = card.get("license") if card else None
    return stated if isinstance(stated, str) else None
