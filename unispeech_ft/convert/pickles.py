"""A pickle machine that cannot execute anything: no name in a pickle is ever imported, looked up or called.

It walks the instructions as `pickletools` lists them and builds numbers, strings, containers, descriptions of stored
tensors, and inert stand-ins for the few foreign classes that original checkpoints hold. Any other name is refused.
"""

from __future__ import annotations

import pickletools
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from unispeech_ft.errors import UserError

LARGEST_NUMBER = 2**48
MOST_DIMENSIONS = 8
SCALARS = (str, int, float, bool, bytes, type(None))
STORAGE_DTYPES = {
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "DoubleStorage": "float64",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
}
TENSORS = ("torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2")
PARAMETER = "torch._utils._rebuild_parameter"
ORDERED_DICT = "collections.OrderedDict"
# What fairseq, omegaconf, argparse and numpy leave in checkpoints; each becomes a StandIn.
STAND_INS = re.compile(
    r"argparse\.Namespace"
    r"|fairseq\.data\.(dictionary\.)?Dictionary"
    r"|fairseq\.dataclass\.(configs|constants|utils)\.\w+|fairseq\.(models|tasks|criterions|optim)\.[\w.]+Config"
    r"|omegaconf\.(dictconfig\.DictConfig|listconfig\.ListConfig|base\.(ContainerMetadata|Metadata|UnionNode))"
    r"|omegaconf\.nodes\.(Any|Value|String|Integer|Float|Boolean|Bytes|Path|Enum|InterpolationResult)Node"
    r"|typing\.Any|collections\.defaultdict|torch\.Size|_codecs\.encode"
    r"|(builtins|__builtin__)\.(dict|list|tuple|set|frozenset|int|float|bool|str|bytes|complex|object)"
    r"|numpy\.(_core|core)\.multiarray\.(scalar|_reconstruct)|numpy\.(dtype|ndarray)"
)


@dataclass(frozen=True)
class Name:
    """A class or function that a pickle names, as text."""

    text: str


@dataclass
class StandIn:
    """An object of a foreign class, reduced to what the pickle says of it."""

    name: str
    arguments: tuple[Any, ...]
    state: Any = None
    items: dict[Any, Any] = field(default_factory=dict)
    elements: list[Any] = field(default_factory=list)


@dataclass(frozen=True)
class Storage:
    """A run of numbers elsewhere in the file: `count` elements of `dtype`, under `key`."""

    key: str
    dtype: str
    count: int


@dataclass(frozen=True)
class StoredTensor:
    """A tensor that lies in a storage from element `offset` on."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


def refused(name: str) -> UserError:
    """The fault of a pickle that names what no original checkpoint needs."""
    shown = ascii(name if len(name) <= 120 else name[:120] + "…")
    return UserError(
        f"the checkpoint names {shown}, which no original checkpoint needs; nothing of it was executed",
        remedy="do not open this file with torch.load; get the checkpoint from its authors again",
    )


def damaged(reason: str) -> UserError:
    """The fault of a file that is cut off, broken or no checkpoint."""
    return UserError(f"not a readable checkpoint ({reason})", remedy="download it again, or name another file")


def read_pickle(stream: BinaryIO) -> Any:
    """The next pickle of a stream, which is left just behind it.

    Returns:
        Scalars, lists, tuples, dicts, sets, `StoredTensor`s and `StandIn`s, possibly nested in circles.

    Raises:
        UserError: it is cut off or malformed, names something that is not allowed, or uses an instruction that
            original checkpoints do not.
    """
    machine = _Machine()
    try:
        for opcode, argument, _ in pickletools.genops(stream):
            if opcode.name == "STOP":
                return machine.stack.pop()
            machine.step(opcode.name, argument)
    except UserError:
        raise
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise damaged(f"broken pickle: {' '.join(str(error).split())[:80]}") from None
    raise damaged("a pickle without an end")


def _name(text: str) -> Name:
    module, _, attribute = text.partition(" ")
    full = f"{module}.{attribute}"
    storage = module == "torch" and attribute in STORAGE_DTYPES
    if not (storage or full in (*TENSORS, PARAMETER, ORDERED_DICT) or STAND_INS.fullmatch(full)):
        raise refused(full)
    return Name(full)


def _naturals(values: Any) -> tuple[int, ...]:
    if not isinstance(values, tuple) or len(values) > MOST_DIMENSIONS:
        raise damaged("a tensor with an impossible shape")
    if any(type(value) is not int or not 0 <= value <= LARGEST_NUMBER for value in values):
        raise damaged("a tensor with an impossible shape")
    return values


def _storage(identity: Any) -> Storage:
    """`('storage', type, key, location, count[, view])` → where a tensor's numbers lie."""
    kind, type_name, key, _, count, *view = identity
    known = kind == "storage" and isinstance(type_name, Name) and type(key) in (str, int)
    if not known or any(part is not None for part in view):
        raise damaged("a tensor stored in an unknown way")
    _naturals((count,))
    return Storage(str(key), STORAGE_DTYPES[type_name.text.removeprefix("torch.")], count)


def _tensor(arguments: tuple[Any, ...]) -> StoredTensor:
    """A description of a tensor, refused where it reaches beyond its storage or repeats its elements."""
    storage, offset, shape, stride, *_ = arguments
    if not isinstance(storage, Storage) or len(_naturals(shape)) != len(_naturals(stride)):
        raise damaged("a tensor without a storage")
    _naturals((offset,))
    count = 1
    for length in shape:
        count *= length
    last = offset + sum((length - 1) * step for length, step in zip(shape, stride, strict=True))
    if count > storage.count or (count and last >= storage.count):
        raise damaged(f"a tensor claims {count} elements of a storage of {storage.count}")
    return StoredTensor(storage, offset, shape, stride)


def _reduce(name: Any, arguments: Any) -> Any:
    if not isinstance(name, Name) or not isinstance(arguments, tuple):
        raise damaged("a call of something without a name")
    if name.text in TENSORS:
        return _tensor(arguments)
    if name.text == PARAMETER:
        return arguments[0]
    if name.text == ORDERED_DICT:
        return _with_items({}, [part for pair in (arguments[0] if arguments else ()) for part in pair])
    return StandIn(name.text, arguments)


def _key(value: Any) -> Any:
    """A key or member that is cheap to hash; nested ones could take for ever."""
    simple = isinstance(value, SCALARS) or (
        isinstance(value, tuple) and all(isinstance(part, SCALARS) for part in value)
    )
    if not simple:
        raise damaged("a dictionary with keys that are not plain")
    return value


def _with_items(target: Any, flat: list[Any]) -> Any:
    items = target.items if isinstance(target, StandIn) else target
    if not isinstance(items, dict) or len(flat) % 2:
        raise damaged("items set on something that is not a dictionary")
    for key, value in zip(flat[::2], flat[1::2], strict=True):
        items[_key(key)] = value
    return target


def _with_elements(target: Any, elements: list[Any]) -> Any:
    if isinstance(target, set):
        target.update(map(_key, elements))
        return target
    values = target.elements if isinstance(target, StandIn) else target
    if not isinstance(values, list):
        raise damaged("elements added to something that is not a list")
    values.extend(elements)
    return target


def _with_state(target: Any, state: Any) -> Any:
    """Attributes of dictionaries (torch's `_metadata`) count for nothing."""
    if isinstance(target, StandIn):
        target.state = state
    elif not isinstance(target, dict):
        raise damaged("a state set on something that has none")
    return target


def _made_of_marked() -> dict[str, Callable[[list[Any]], Any]]:
    return {
        "LIST": list,
        "TUPLE": tuple,
        "DICT": lambda items: _with_items({}, items),
        "FROZENSET": lambda elements: frozenset(map(_key, elements)),
    }


PUSHED = {"NONE": lambda: None, "NEWTRUE": lambda: True, "NEWFALSE": lambda: False}
EMPTY: dict[str, Callable[[], Any]] = {"EMPTY_LIST": list, "EMPTY_TUPLE": tuple, "EMPTY_DICT": dict, "EMPTY_SET": set}
MADE_OF_MARKED = _made_of_marked()
ADDED = {"APPENDS": _with_elements, "ADDITEMS": _with_elements, "SETITEMS": _with_items}
LITERALS = re.compile(r"(BIN)?INT[12]?|LONG[14]?|(BIN)?FLOAT|(SHORT_)?BIN(STRING|UNICODE|BYTES)8?|STRING|UNICODE")


class _Machine:
    """The stack, the marks and the memo of one pickle; `step` runs an instruction."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.marked: list[list[Any]] = []
        self.memo: dict[int, Any] = {}

    def _since_mark(self) -> list[Any]:
        values, self.stack = self.stack, self.marked.pop()
        return values

    def _pop(self, count: int) -> list[Any]:
        if count > len(self.stack):
            raise damaged("a pickle that takes more than it has")
        values = self.stack[-count:]
        del self.stack[-count:]
        return values

    def step(self, name: str, argument: Any) -> None:
        """Runs one instruction; only those that pickles of data use are known."""
        stack = self.stack
        if LITERALS.fullmatch(name):
            stack.append(argument)
        elif name in ("GLOBAL", "INST"):
            stack.append(_name(argument))
        elif name in PUSHED or name in EMPTY:
            stack.append((PUSHED | EMPTY)[name]())
        elif name == "MARK":
            self.marked.append(stack)
            self.stack = []
        elif name in MADE_OF_MARKED:
            values = self._since_mark()
            self.stack.append(MADE_OF_MARKED[name](values))
        elif name in ADDED:
            values = self._since_mark()
            self.stack.append(ADDED[name](self.stack.pop(), values))
        elif name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
            self.memo[len(self.memo) if name == "MEMOIZE" else argument] = stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(self.memo[argument])
        elif name not in ("PROTO", "FRAME"):
            self._combine(name)

    def _combine(self, name: str) -> None:
        if name in ("POP", "POP_MARK"):
            self._since_mark() if name == "POP_MARK" else self.stack.pop()
            return
        if name == "BINPERSID":
            self.stack.append(_storage(self.stack.pop()))
            return
        if name in ("TUPLE1", "TUPLE2", "TUPLE3"):
            self.stack.append(tuple(self._pop(int(name[-1]))))
            return
        if name in ("SETITEM",):
            target, key, value = self._pop(3)
            self.stack.append(_with_items(target, [key, value]))
            return
        if name not in ("APPEND", "STACK_GLOBAL", "REDUCE", "NEWOBJ", "BUILD"):
            raise damaged(f"a pickle with the instruction {name}, which checkpoints do not use")
        first, second = self._pop(2)
        two: dict[str, Callable[[], Any]] = {
            "APPEND": lambda: _with_elements(first, [second]),
            "STACK_GLOBAL": lambda: _name(" ".join((first, second))),
            "REDUCE": lambda: _reduce(first, second),
            "NEWOBJ": lambda: _reduce(first, second),
            "BUILD": lambda: _with_state(first, second),
        }
        self.stack.append(two[name]())
