"""YAML in the 1.2 core schema: only true and false are booleans, `1e-5` is a number, and repeated keys are faults."""

from __future__ import annotations

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from unispeech_ft.errors import UserError


class Loader(yaml.SafeLoader):
    """YAML 1.2 core scalars; repeated keys are collected in `repeated`."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.repeated: list[tuple[str, int]] = []

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = str(key_node.value)
            if key in seen:
                self.repeated.append((key, key_node.start_mark.line + 1))
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


class Dumper(yaml.SafeDumper):
    """Quotes text that YAML 1.1 or 1.2 would read as something else (`no`, `12e4567`)."""


Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("null", r"null|Null|NULL|~|", ["n", "N", "~", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+", list("-+0123456789")),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
):
    for _dialect in (Loader, Dumper):
        _dialect.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), _first)
Loader.add_constructor("tag:yaml.org,2002:int", lambda loader, node: int(loader.construct_scalar(node)))


def parse_yaml(text: str) -> tuple[Any, list[tuple[str, int]]]:
    """The value in a YAML text, and its repeated keys with their lines."""
    loader = Loader(text)
    try:
        return loader.get_single_data(), loader.repeated
    finally:
        loader.dispose()


def read_yaml(path: Path) -> tuple[dict[str, Any], list[UserError]]:
    """The mapping in a YAML file, and its repeated keys as faults.

    Raises:
        UserError: no such file, not UTF-8, not YAML, or not a mapping.
    """
    try:
        values, repeated = parse_yaml(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"no configuration file {path}", remedy="check the path after --config") from None
    except IsADirectoryError:
        raise UserError(f"{path} is a folder", remedy="name a YAML file after --config") from None
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
