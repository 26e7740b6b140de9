"""What a published model says about itself, read from its files: the card, `verify` and `push` all start here.

A run keeps its card in `model/`; a published folder has model and card at its top. Everything else lies alike:
`config.yaml`, `environment.json`, `training.json` and `eval/SPLIT/{summary.json, hypotheses.jsonl}`; where there are
any, `adapters.json` and `zero_shot/test/{summary.json, hypotheses.jsonl}`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config

from unispeech_ft.config.earlier import modernise
from unispeech_ft.config.reading import Run, read_yaml
from unispeech_ft.data.utterances import SPLITS, Split
from unispeech_ft.errors import UserError, raise_all
from unispeech_ft.files import parse_json
from unispeech_ft.scoring import Summary, UtteranceScore, read_hypotheses
from unispeech_ft.tasks.ctc_phoneme.config import CtcPhonemeConfig

CARD, CONFIG, ENVIRONMENT, TRAINING, ONNX = "README.md", "config.yaml", "environment.json", "training.json", "onnx.json"
ADAPTER, ZERO_SHOT = "adapters.json", "zero_shot/test"
SUMMARY, HYPOTHESES, SENTENCES = "summary.json", "hypotheses.jsonl", "sentences.jsonl"
STRICT = ConfigDict(extra="forbid", strict=True)

Read = TypeVar("Read")


@with_config(STRICT)
@dataclass(frozen=True)
class SplitFacts:
    """One split of the speech that a run used; the hash is `scoring.reference_sha256` of its labels."""

    clips: int
    hours: float
    reference_sha256: str


@with_config(STRICT)
@dataclass(frozen=True)
class TrainingFacts:
    """What `training.json` holds.

    Attributes:
        model_type: Transformers' name of the family.
        splits: the speech by split.
        phones: the inventory of the head.
        updates: that were made.
        best_update: the update whose weights were exported; None for the last.
        seconds: wall time from the opening of the run to its export; None for a resumed run.
        group_norm: the extractor normalises over a whole clip, so that padding changes what it makes of it.
    """

    model_type: str
    splits: dict[Split, SplitFacts]
    phones: list[str]
    updates: int
    best_update: int | None
    seconds: float | None
    group_norm: bool


@with_config(STRICT)
@dataclass(frozen=True)
class OnnxFacts:
    """What `onnx.json` holds: how the exported graph was compared with PyTorch.

    Attributes:
        max_difference: largest difference of a logit on ragged batches.
        batches_samples: the samples of each clip, batch by batch.
        opset: of the ONNX operators.
        versions: of the packages that took part.
    """

    max_difference: float
    batches_samples: list[list[int]]
    opset: int
    versions: dict[str, str]


@with_config(STRICT)
@dataclass(frozen=True)
class AdapterFacts:
    """What `adapters.json` holds: the weights that trained, the head's among them, and all there were."""

    trained: int
    weights: int


@with_config(ConfigDict(extra="ignore", strict=True))
@dataclass(frozen=True)
class Environment:
    """What a card says of `environment.json`."""

    unispeech_ft: str
    command: list[str] | None
    python: str
    packages: dict[str, str | None]
    espeak_ng: str | None
    device: str
    processes: int
    mixed_precision: str
    cores: int | None = None
    git_revision: str | None = None


@dataclass(frozen=True)
class Scored:
    """A summary and every utterance behind it."""

    summary: Summary
    scores: list[UtteranceScore]


@dataclass(frozen=True)
class Evidence:
    """Everything that a card is made from.

    Attributes:
        summaries: by split.
        scores: every scored utterance, by split.
        onnx: None where no ONNX graph is published.
        adapter: None where all weights may have trained.
        zero_shot: what the base model said of the test split before it trained; None where it has no head of phones.
    """

    config: CtcPhonemeConfig
    environment: Environment
    training: TrainingFacts
    summaries: dict[Split, Summary]
    scores: dict[Split, list[UtteranceScore]]
    onnx: OnnxFacts | None = None
    adapter: AdapterFacts | None = None
    zero_shot: Scored | None = None


@dataclass(frozen=True)
class Fault:
    """Something that does not hold: the name of the check, and what was found."""

    name: str
    found: str


@dataclass(frozen=True)
class Found:
    """What could be read of a folder, and the faults of the rest."""

    values: dict[str, Any] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)


def card_path(folder: Path) -> Path:
    """Where the card lies: in a run's model folder, or at the top of a published one."""
    in_model = folder / "model" / CARD
    return in_model if in_model.is_file() and not (folder / CARD).is_file() else folder / CARD


def scored_splits(folder: Path) -> list[Split]:
    """The splits with a folder of results."""
    return [split for split in SPLITS if (folder / "eval" / split).is_dir()]


def read_json(path: Path, kind: type[Read]) -> Read:
    """A JSON file as a dataclass.

    Raises:
        UserError: it is missing or unreadable, or its keys or types are others.
    """
    remedy = "restore it, or score or train again"
    try:
        text = path.read_bytes()
        value = TypeAdapter(kind).validate_json(text)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror})", remedy=remedy) from None
    except ValidationError as error:
        raise UserError(f"{path}: {_first(error)}", remedy=remedy) from None
    if kind is not Environment and parse_json(text) != to_plain(value):
        raise UserError(f"{path} holds other keys or types than a {kind.__name__}", remedy=remedy)
    return value


def _first(error: ValidationError) -> str:
    fault = error.errors()[0]
    key = ".".join(map(str, fault["loc"]))
    return f"{key}: {fault['msg']}" if key else str(fault["msg"])


def read_run_config(path: Path, kind: type[Run]) -> Run:
    """A resolved configuration, whether or not the files that it names are here.

    Raises:
        UserError: it cannot be read, or is of another kind.
    """
    values, repeated = read_yaml(path)
    values, _, twice = modernise(values)
    raise_all([*repeated, *twice])
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise UserError(f"{path}: {_first(error)}", remedy="restore it") from None


def read_found(folder: Path, wanted: Sequence[Split] = ()) -> Found:
    """Reads what there is, and names what is missing or cannot be read.

    Args:
        wanted: splits that have to be there beside those with a folder of results.
    """
    splits = [split for split in SPLITS if split in {*scored_splits(folder), *wanted}]
    readers: dict[str, Any] = {
        CONFIG: lambda path: read_run_config(path, CtcPhonemeConfig),
        ENVIRONMENT: lambda path: read_json(path, Environment),
        TRAINING: lambda path: read_json(path, TrainingFacts),
    }
    for split in splits:
        readers[f"eval/{split}/{SUMMARY}"] = lambda path: read_json(path, Summary)
        readers[f"eval/{split}/{HYPOTHESES}"] = read_hypotheses
    if (folder / ONNX).is_file():
        readers[ONNX] = lambda path: read_json(path, OnnxFacts)
    if (folder / ADAPTER).is_file():
        readers[ADAPTER] = lambda path: read_json(path, AdapterFacts)
    if (folder / ZERO_SHOT).is_dir():
        readers[f"{ZERO_SHOT}/{SUMMARY}"] = lambda path: read_json(path, Summary)
        readers[f"{ZERO_SHOT}/{HYPOTHESES}"] = read_hypotheses
    found = Found()
    for name, reader in readers.items():
        if not (folder / name).is_file():
            found.faults.append(Fault("missing", name))
            continue
        try:
            found.values[name] = reader(folder / name)
        except UserError as error:
            found.faults.append(Fault("unreadable", f"{name}: {error.what.removeprefix(f'{folder / name}')}".strip()))
    if not splits:
        found.faults.append(Fault("missing", f"eval/test/{SUMMARY}"))
    return found


def evidence_of(found: Found) -> Evidence | None:
    """The evidence, where everything could be read."""
    if found.faults:
        return None
    values = found.values
    zero_shot = values.get(f"{ZERO_SHOT}/{SUMMARY}")
    scored: list[Split] = [split for split in SPLITS if f"eval/{split}/{SUMMARY}" in values]
    return Evidence(
        values[CONFIG],
        values[ENVIRONMENT],
        values[TRAINING],
        {split: values[f"eval/{split}/{SUMMARY}"] for split in scored},
        {split: values[f"eval/{split}/{HYPOTHESES}"] for split in scored},
        values.get(ONNX),
        values.get(ADAPTER),
        Scored(zero_shot, values[f"{ZERO_SHOT}/{HYPOTHESES}"]) if zero_shot else None,
    )


def read_evidence(folder: Path) -> Evidence:
    """The evidence of a run or a published folder.

    Raises:
        UserError: a file is missing or cannot be read; every one is named.
    """
    found = read_found(folder)
    evidence = evidence_of(found)
    if evidence is None:
        faults = "; ".join(f"{fault.name}: {fault.found}" for fault in found.faults)
        raise UserError(
            f"{folder} is no complete run ({faults})",
            remedy="name the folder of a run that has ended, with its config.yaml, training.json and eval/",
        )
    return evidence


def to_plain(value: Any) -> Any:
    """A dataclass as what JSON can hold."""
    return TypeAdapter(type(value)).dump_python(value, mode="json")


def to_json(value: Any) -> str:
    """A dataclass as indented JSON."""
    return json.dumps(to_plain(value), ensure_ascii=False, indent=2) + "\n"
