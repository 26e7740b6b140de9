"""YAML 1.2's core schema for PyYAML, without what no person writes into a configuration.

Only true and false are booleans (`language: no` is Norwegian), `1e-5` is a number, and repeated keys are told.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any

import yaml

from unispeech_ft.errors import first_line

# Levels of nesting, nodes with every alias written out, and digits of an integer.
DEEPEST, LARGEST, MOST_DIGITS = 32, 100_000, 40


class _Loader(yaml.SafeLoader):
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


def _integer(loader: _Loader, node: yaml.ScalarNode) -> int:
    if len(node.value) > MOST_DIGITS:
        raise yaml.MarkedYAMLError(problem=f"a number of {len(node.value)} digits", problem_mark=node.start_mark)
    return int(node.value)


class Dumper(yaml.SafeDumper):
    """Quotes text that YAML 1.1 or 1.2 would read as something else (`no`, `12e4567`)."""


_Loader.yaml_implicit_resolvers = {}
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
    for _dialect in (_Loader, Dumper):
        _dialect.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), _first)
_Loader.add_constructor("tag:yaml.org,2002:int", _integer)


def _check_tree(root: yaml.Node | None) -> None:
    """Refuses a document that no person writes: nested too deeply, within itself, or exploding through its aliases.

    Raises:
        yaml.YAMLError: with the place.
    """
    sizes: dict[int, int] = {}
    open_nodes: set[int] = set()

    def size(node: yaml.Node, depth: int) -> int:
        if id(node) in open_nodes or depth > DEEPEST:
            what = "it holds itself" if id(node) in open_nodes else "it is nested too deeply"
            raise yaml.MarkedYAMLError(problem=what, problem_mark=node.start_mark)
        if id(node) not in sizes:
            open_nodes.add(id(node))
            held = node.value if isinstance(node, yaml.CollectionNode) else []
            inner = [part for item in held for part in (item if isinstance(item, tuple) else (item,))]
            sizes[id(node)] = 1 + sum(size(part, depth + 1) for part in inner)
            open_nodes.discard(id(node))
            if sizes[id(node)] > LARGEST:
                raise yaml.MarkedYAMLError(problem="its aliases stand for too much", problem_mark=node.start_mark)
        return sizes[id(node)]

    if root is not None:
        size(root, 0)


def parse_yaml(text: str) -> tuple[Any, list[tuple[str, int]]]:
    """A document's value, and its repeated keys with their lines.

    Raises:
        yaml.YAMLError: it is not YAML, or nothing that a configuration could be.
    """
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        _check_tree(node)
        return (None if node is None else loader.construct_document(node)), loader.repeated
    except RecursionError:
        raise yaml.MarkedYAMLError(problem="it is nested too deeply") from None
    except ValueError as error:
        raise yaml.MarkedYAMLError(problem=first_line(error)) from None
    finally:
        loader.dispose()
