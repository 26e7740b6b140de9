"""fairseq's `conv_feature_layers`, a Python expression in a string: read, never evaluated."""

from __future__ import annotations

import ast
from typing import Any

from unispeech_ft.errors import UserError

MOST_LAYERS = 64
LONGEST_EXPRESSION = 2000


def _fault(text: object) -> UserError:
    shown = ascii(text[:80]) if isinstance(text, str) else "no text"
    return UserError(
        f"conv_feature_layers is {shown}, no list of (channels, kernel, stride)",
        remedy="use the original file as its authors published it",
    )


def _short(items: list[Any], text: str) -> list[Any]:
    if len(items) > MOST_LAYERS:
        raise _fault(text)
    return items


def _items(node: ast.expr, text: str) -> list[Any]:
    if isinstance(node, (ast.List, ast.Tuple)):
        return [item.value if isinstance(item, ast.Constant) else tuple(_items(item, text)) for item in node.elts]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _short(_items(node.left, text) + _items(node.right, text), text)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult) and isinstance(node.right, ast.Constant):
        times = node.right.value
        if type(times) is int and 0 <= times <= MOST_LAYERS:
            return _short(_items(node.left, text) * times, text)
    raise _fault(text)


def conv_layers(expression: object) -> list[tuple[int, int, int]]:
    """`[(512, 10, 5)] + [(512, 3, 2)] * 4` → channels, kernel and stride of each layer.

    Raises:
        UserError: it is anything else.
    """
    text = expression if isinstance(expression, str) else ""
    try:
        if not text or len(text) > LONGEST_EXPRESSION:
            raise _fault(expression)
        layers = _items(ast.parse(text, mode="eval").body, text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise _fault(expression) from None
    good = all(isinstance(layer, tuple) and [type(part) for part in layer] == [int] * 3 for layer in layers)
    if not good or not 0 < len(layers) <= MOST_LAYERS or any(part < 1 for layer in layers for part in layer):
        raise _fault(expression)
    return layers
