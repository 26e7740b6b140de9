"""YAML file + dotted overrides → a configuration, strictly: every fault of both is found and reported in one pass.

The YAML dialect is 1.2's core schema: only true and false are booleans (`language: no` is Norwegian), `1e-5` is a
number, and a key may stand only once in a mapping. The environment is never read.
"""

from __future__ import annotations

import difflib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from unispeech_ft.config.earlier import modern_overrides, modernise
from unispeech_ft.config.overrides import parse_overrides
from unispeech_ft.config.sections import RunConfig
from unispeech_ft.config.yaml12 import Dumper, parse_yaml
from unispeech_ft.errors import UserError, raise_all
from unispeech_ft.files import run_folder

Run = TypeVar("Run", bound=RunConfig)


@dataclass(frozen=True)
class ConfigFile(Generic[Run]):
    """A kind of YAML file.

    Attributes:
        root: what it is read as.
        example: a file of the kind, to name where none is given.
        recipe: that reads it.
    """

    root: type[Run]
    example: str
    recipe: str


def read_yaml(path: Path) -> tuple[dict[str, Any], list[UserError]]:
    """The mapping in a YAML file, or in that of a run, and its repeated keys as faults.

    Raises:
        UserError: no such file, not UTF-8, not YAML, or not a mapping.
    """
    of_run = run_folder(path) / "config.yaml"
    path = of_run if of_run.is_file() else path
    try:
        values, repeated = parse_yaml(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"no configuration file {path}", remedy="check the path after --config") from None
    except IsADirectoryError:
        raise UserError(f"{path} is a folder, but no run", remedy="name a YAML file or a run after --config") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror})", remedy="check the file's permissions") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 (byte {error.start})", remedy="save the file as UTF-8") from None
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f", line {where.line + 1}" if where else ""
        problem = getattr(error, "problem", None) or "it cannot be parsed"
        raise UserError(f"{path}{line} is not YAML ({problem})", remedy="mend that line") from None
    if values is None:
        values = {}
    if not isinstance(values, dict):
        raise UserError(
            f"{path} holds a {type(values).__name__}, not a mapping",
            remedy="write sections and keys, for example `data:` with `root: DIR` below it",
        )
    faults = [
        UserError(f"{path}, line {line}: key {key} stands twice", remedy="keep one of the two")
        for key, line in repeated
    ]
    return values, faults


def _section_of(annotation: Any) -> type[BaseModel] | None:
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def known_keys(model: type[BaseModel], prefix: str = "") -> dict[str, Any]:
    """Every dotted key with its annotation."""
    keys: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        section = _section_of(field.annotation)
        keys |= known_keys(section, f"{prefix}{name}.") if section else {prefix + name: field.annotation}
    return keys


_LISTED = "see `unispeech-ft schema RECIPE`, where ctc_phoneme and the like are recipes"


def _unknown_key(key: str, keys: Sequence[str]) -> UserError:
    tails: dict[str, str] = {}
    for known in keys:
        tails.setdefault(known.rsplit(".", 1)[-1], known)
    near = [known for known in keys if known.rsplit(".", 1)[-1] == key and known != key]
    if len(near) > 1:
        return UserError(f"unknown key {key}", remedy=f"did you mean {' or '.join(near)}?")
    near = near or difflib.get_close_matches(key, keys, n=1, cutoff=0.6)
    near = near or [tails[t] for t in difflib.get_close_matches(key.rsplit(".", 1)[-1], list(tails), n=1, cutoff=0.7)]
    return UserError(f"unknown key {key}", remedy=f"did you mean {near[0]}?" if near else _LISTED)


def _override_value(key: str, text: str, annotation: Any) -> Any:
    """Text stays text where the key takes text; elsewhere it is read as YAML."""
    takes_text = str in (get_args(annotation) or (annotation,)) and get_origin(annotation) is not list
    try:
        value, repeated = parse_yaml(text)
    except yaml.YAMLError:
        if takes_text:
            return text
        raise UserError(f"--{key} {text} is not YAML", remedy="mend its brackets and quotes") from None
    if takes_text and not (value is None or (isinstance(value, bool) and bool in get_args(annotation))):
        return text
    if repeated:
        raise UserError(f"--{key}: key {repeated[0][0]} stands twice", remedy="keep one of the two")
    return value


def apply_overrides(
    values: Mapping[str, Any], overrides: Mapping[str, object], root: type[BaseModel]
) -> tuple[dict[str, Any], list[UserError]]:
    """A new nested mapping with the overrides in it, and the faults of their keys.

    Args:
        overrides: by dotted key; text is read as on the command line, other values are taken as they are.
    """
    keys = known_keys(root)
    merged = {name: dict(value) if isinstance(value, dict) else value for name, value in values.items()}
    faults: list[UserError] = []
    for key, given in overrides.items():
        if key not in keys and not key.startswith("model.config."):
            faults.append(_unknown_key(key, list(keys)))
            continue
        try:
            value = _override_value(key, given, keys.get(key, Any)) if isinstance(given, str) else given
        except UserError as error:
            faults.append(error)
            continue
        *path, last = key.split(".")
        target = merged
        for name in path:
            target[name] = dict(target[name]) if isinstance(target.get(name), dict) else {}
            target = target[name]
        target[last] = value
    return merged, faults


def _key_at(location: Sequence[str | int], keys: Sequence[str]) -> str:
    """The dotted key in a pydantic location, without the union branches that pydantic appends to it."""
    path = ""
    for part in location:
        longer = f"{path}.{part}" if path else str(part)
        if not isinstance(part, int) and not any(known == longer or known.startswith(longer + ".") for known in keys):
            break
        path = longer
    return path


def _validation_faults(error: ValidationError, root: type[BaseModel]) -> list[UserError]:
    keys = list(known_keys(root))
    faults: dict[str, UserError] = {}
    for item in error.errors():
        key = _key_at(item["loc"], keys)
        if item["type"] in ("extra_forbidden", "invalid_key"):
            name = ".".join(str(part) for part in item["loc"])
            faults.setdefault(name, _unknown_key(name, keys))
            continue
        try:
            shown = json.dumps(item["input"], default=str, ensure_ascii=False)
        except ValueError:
            shown = "a value that contains itself"
        remedy = item["msg"].replace("Input should be", "it should be")
        remedy = "give a section of keys" if item["type"] == "model_type" else remedy
        if key in faults:
            remedy = f"{faults[key].remedy}, or {remedy.removeprefix('it should be ')}"
        faults[key] = UserError(f"{key} is {shown[:80]}", remedy=remedy)
    return list(faults.values())


def read_config(
    file: ConfigFile[Run],
    path: Path | str | None,
    overrides: Mapping[str, object],
    *,
    faults: Sequence[UserError] = (),
    first_seed: bool = False,
) -> Run:
    """One configuration.

    Args:
        path: of the YAML.
        overrides: by dotted key, see `apply_overrides`.
        faults: found before, to be reported together with those found here.
        first_seed: take the first of several seeds, where nothing is trained; else several are a fault.

    Raises:
        UserError: with every fault of the file, the overrides and their combination.
    """
    values, found, readable = _read_values(file, path, overrides)
    found = [*faults, *found]
    values, seeds = _take_seeds(values, found)
    if len(seeds) > 1 and not first_seed:
        remedy = f"give one, or run {file.recipe}, which makes a run of each"
        found.append(UserError(f"seed is {json.dumps(seeds)}", remedy=remedy))
    one = values | ({"seed": seeds[0]} if seeds else {})
    return _checked(one, found, file.root, readable)


def recipe_help(file: ConfigFile[Run]) -> str:
    """How a recipe is called, and every key with its default and what it means."""
    lines = [f"usage: accelerate launch {file.recipe} --config FILE [--section.key VALUE ...]", ""]
    lines += [f"A configuration to start from is {file.example}. Keys, their defaults, and what they mean:", ""]
    lines += [
        f"  --{key} {default}" + (f"  ({meaning})" if meaning else "") for key, default, meaning in _keys(file.root)
    ]
    return "\n".join(lines)


def _keys(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str, str]]:
    for name, field in model.model_fields.items():
        section = _section_of(field.annotation)
        if section:
            yield from _keys(section, f"{prefix}{name}.")
        else:
            default = json.dumps(field.get_default(call_default_factory=True), default=str, ensure_ascii=False)
            yield prefix + name, default, field.description or ""


def read_configs(file: ConfigFile[Run], arguments: Sequence[str]) -> list[Run]:
    """The configurations that a recipe's command line asks for, `--config FILE` and overrides.

    One for each seed: `seed: [1, 2]` asks for runs in `output_dir/seed-1` and `output_dir/seed-2`. With `resume: true`,
    seeds that have no checkpoint yet start afresh, unless none has.

    Raises:
        UserError: as in `read_config`; or keys that name one run, and several seeds.
    """
    if {"-h", "--help"} & set(arguments):
        print(recipe_help(file))
        raise SystemExit(0)
    overrides, others, faults = parse_overrides(arguments)
    faults = [
        *(UserError(f"argument {word!r} is not understood", remedy="write --section.key VALUE") for word in others),
        *faults,
    ]
    path = overrides.pop("config", None)
    values, found, readable = _read_values(file, path, overrides)
    faults += found
    values, seeds = _take_seeds(values, faults)
    if not seeds:
        return [_checked(values, faults, file.root, readable)]
    first = _checked(values | {"seed": seeds[0]}, faults, file.root, readable)
    remedy = "leave it out, or give one seed"
    raise_all(
        [
            UserError(f"{key} names one run, but seed is {json.dumps(seeds)}", remedy=remedy)
            for key in first.keys_of_one_run()
        ]
    )
    folders = [f"{first.output_dir}/seed-{seed}" for seed in seeds]
    started = [any((Path(folder) / "checkpoints").glob("update-*")) for folder in folders]
    return [
        first.model_copy(
            update={"seed": seed, "output_dir": folder, "resume": first.resume and (there or not any(started))}
        )
        for seed, folder, there in zip(seeds, folders, started, strict=True)
    ]


def _read_values(
    file: ConfigFile[Run], path: Path | str | None, overrides: Mapping[str, object]
) -> tuple[dict[str, Any], list[UserError], bool]:
    """The values of file and overrides, their faults, and whether there was anything to read."""
    faults: list[UserError] = []
    values: dict[str, Any] = {}
    readable = False
    if path is None:
        faults.append(UserError("--config is missing", remedy=f"name a YAML file, for example {file.example}"))
    else:
        try:
            values, faults = read_yaml(Path(path))
            readable = bool(values) or any("." in key for key in overrides)
            if not readable:
                remedy = "`unispeech-ft recipes` lists some to start from, and `unispeech-ft copy NAME` writes one here"
                faults.append(UserError(f"{path} is empty", remedy=remedy))
        except UserError as error:
            faults.append(error)
    values, lines, twice = modernise(values)
    renamed, of_overrides = modern_overrides(overrides)
    for line in lines + of_overrides:
        print(f"note: {line}", file=sys.stderr)
    values, bad_keys = apply_overrides(values, renamed, file.root)
    return values, faults + twice + bad_keys, readable


def _take_seeds(values: dict[str, Any], faults: list[UserError]) -> tuple[dict[str, Any], list[int]]:
    """The values without a list of seeds, and that list; adds a fault where it is no list of different numbers."""
    seeds = values.get("seed")
    if not isinstance(seeds, list):
        return values, []
    good = seeds and all(type(seed) is int and seed >= 0 for seed in seeds) and len(set(seeds)) == len(seeds)
    if not good:
        remedy = "give a whole number, or a list of different ones such as [1, 2, 3]"
        faults.append(UserError(f"seed is {json.dumps(seeds, default=str)[:80]}", remedy=remedy))
    return {key: value for key, value in values.items() if key != "seed"}, seeds if good else []


def _checked(values: dict[str, Any], faults: list[UserError], root: type[Run], readable: bool) -> Run:
    try:
        config = root.model_validate(values)
    except ValidationError as error:
        raise_all(faults + _validation_faults(error, root))
        raise
    # Where there was nothing to read, what is missing says nothing.
    raise_all(faults + (cross_field_errors(config) if readable else []))
    return config


def cross_field_errors(config: RunConfig) -> list[UserError]:
    """The faults that only several keys of a configuration together show."""
    return [UserError(what, remedy=remedy) for wrong, what, remedy in config.checks() if wrong]


def to_yaml(config: BaseModel) -> str:
    """The resolved configuration as YAML that reads back to the same values."""
    return yaml.dump(config.model_dump(mode="json"), Dumper=Dumper, sort_keys=False, allow_unicode=True)


def json_schema(kind: type[RunConfig]) -> dict[str, Any]:
    """The JSON Schema of a configuration, for editors; a section's key is described as the section is."""
    schema = kind.model_json_schema()
    sections = schema.get("$defs", {})
    for entry in [schema, *sections.values()]:
        for key in entry.get("properties", {}).values():
            if "$ref" in key:
                key.setdefault("description", sections[key["$ref"].rsplit("/", 1)[-1]]["description"])
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
