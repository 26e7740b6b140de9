"""What of a run may leave the machine: no local paths, no secrets; pure, and the same when applied twice.

Relative paths stay, since they lie in the folder that the command was given in. Of an absolute path, or one that
leads out of that folder, only the last name stays.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

from pydantic import BaseModel

from unispeech_ft.config.reading import Run
from unispeech_ft.config.sections import DataConfig
from unispeech_ft.runs.evidence import Environment, Evidence, Scored
from unispeech_ft.tasks.ctc_phoneme.config import CtcPhonemeConfig

TOKEN = re.compile(r"hf_[A-Za-z0-9]{16,}|hf_oauth_[\w.-]{8,}")
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
LOGIN_OF_URL = re.compile(r"://[^/@\s]+@")


def without_tokens(text: str) -> str:
    """The text with everything that looks like a token of the Hub replaced."""
    return TOKEN.sub("hf_…", text)


def public_path(text: str, names: int = 1) -> str:
    """A path without the folders of this machine; what is no path comes back as it is.

    Args:
        names: how many of the last names of an absolute path stay.
    """
    text = LOGIN_OF_URL.sub("://", text).removeprefix("file://")
    parts = PurePosixPath(text.replace("\\", "/")).parts
    local = text.startswith(("/", "~", "\\")) or ".." in parts or re.match(r"[A-Za-z]:[\\/]", text) is not None
    if not local or "://" in text:
        return without_tokens(text)
    kept = [part for part in parts if part not in ("/", "..", "~") and not part.endswith(":")]
    return without_tokens("/".join(kept[-names:]) or ".")


def public_value(value: Any) -> Any:
    """Sections, lists and texts of a configuration with every path that they hold made public."""
    if isinstance(value, BaseModel):
        fields = type(value).model_fields
        return value.model_copy(update={key: public_value(getattr(value, key)) for key in fields})
    if isinstance(value, Mapping):
        return {key: public_value(held) for key, held in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(public_value(held) for held in value)
    has_name = isinstance(value, str) and value.strip("/\\~.")
    return public_path(value) if has_name else value


def public_command(command: Sequence[str] | None) -> list[str] | None:
    """The recipe with its arguments; None where something else than a recipe trained, whose arguments are not ours."""
    if not command or PurePosixPath(command[0]).parent.name != "recipes":
        return None
    words = [f"recipes/{PurePosixPath(command[0]).name}"]
    for word in command[1:]:
        key, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
        words.append(f"{key}{equals}{public_path(value)}")
    return words


def public_data(data: DataConfig, local: Collection[str]) -> DataConfig:
    """The data section; of a release's language folder, two names stay (`cv-corpus-25.0/ky`)."""
    changes: dict[str, str | None] = {"cache_dir": DataConfig().cache_dir}
    if data.root is not None:
        changes["root"] = public_path(data.root, 2 if PurePosixPath(data.root).name == data.language else 1)
    if data.root and data.source == "hub" and "data.root" in local:
        changes["root"] = PurePosixPath(data.root).name
    return data.model_copy(update=changes)


def public_config(config: Run, *, local: Collection[str], **hub: Any) -> Run:
    """The configuration as it is published.

    Args:
        local: which of `model.base` and `data.root` are folders, not Hub ids, even where they look like one.
        hub: changes to its section `hub`.
    """
    base = config.model.base
    public_base = PurePosixPath(base).name if base and "model.base" in local else base and public_path(base)
    changes: dict[str, Any] = {
        "output_dir": public_path(config.output_dir),
        "resume": False,
        "model": config.model.model_copy(update={"base": public_base}),
        "data": public_data(config.data, local),
    }
    if isinstance(config, CtcPhonemeConfig):
        changes["hub"] = config.hub.model_copy(update={"push": False, **hub})
    public: Run = public_value(config.model_copy(update=changes))
    return public


def public_evidence(
    evidence: Evidence,
    *,
    local: Collection[str],
    repo: str | None,
    private: bool = True,
    license_name: str | None = None,
    base_license: str | None = None,
) -> Evidence:
    """The evidence of a run as it is published.

    Args:
        local: as of `public_config`.
        repo: where it is published.
        license_name: identifier of the model's licence; None for the one of the configuration.
        base_license: that of the base model; None for the one of the configuration.
    """
    hub = evidence.config.hub
    licences = {"license": license_name or hub.license, "base_license": base_license or hub.base_license}
    config = public_config(evidence.config, local=local, repo=repo, private=private, **licences)
    summaries = {split: replace(summary, model=repo or "model") for split, summary in evidence.summaries.items()}
    # Who spoke is nobody's business.
    scores = {split: [replace(item, speaker=None) for item in items] for split, items in evidence.scores.items()}
    zero_shot = evidence.zero_shot
    if zero_shot is not None:
        summary = replace(zero_shot.summary, model=config.model.base)
        zero_shot = Scored(summary, [replace(item, speaker=None) for item in zero_shot.scores])
    environment = public_environment(evidence.environment)
    return replace(
        evidence, config=config, environment=environment, summaries=summaries, scores=scores, zero_shot=zero_shot
    )


def public_environment(environment: Environment) -> Environment:
    """Versions and hardware as they are, the command without local paths."""
    return replace(environment, command=public_command(environment.command))


def hub_id(base: str | None) -> str | None:
    """The base model's Hub id; None for a folder."""
    return base if base and HUB_ID.fullmatch(base) and base.count("/") == 1 else None
