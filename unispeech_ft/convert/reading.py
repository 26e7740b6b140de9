"""Original files → what they say and where their tensors lie, in bytes; no tensor is read before it is asked for.

Three formats of `torch.save` exist: a zip archive (torch 1.6 and newer) and a sequence of pickles followed by the
storages (before), both read here; and a tar archive (before 2017), refused. Formats: torch/serialization.py.
"""

from __future__ import annotations

import hashlib
import io
import math
import os
import stat
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from unispeech_ft.convert.pickles import StandIn, StoredTensor, damaged, read_pickle
from unispeech_ft.errors import UserError

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL = 1001
# Data pickles of the published checkpoints have at most some hundred kilobytes.
LARGEST_PICKLE_BYTES = 16 * 2**20
LOCAL_HEADER = struct.Struct("<4s22xHH")
# What zipfile, struct and the machine raise at broken structures.
BROKEN = (
    zipfile.BadZipFile,
    struct.error,
    OSError,
    EOFError,
    LookupError,
    ValueError,
    TypeError,
    ArithmeticError,
    RuntimeError,
)


@dataclass(frozen=True)
class OriginalFile:
    """An original checkpoint, opened.

    Attributes:
        path: as the user named it.
        content: what its pickle holds, see `pickles.read_pickle`.
        starts: first byte of each storage, by its key.
    """

    path: Path
    content: Mapping[str, Any]
    starts: Mapping[str, int]

    def sha256(self) -> str:
        """Of the whole file, in hexadecimal."""
        with self.path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()

    def read(self, tensor: StoredTensor) -> npt.NDArray[np.float32]:
        """The tensor in float32, contiguous.

        Raises:
            UserError: the file ends before its numbers do.
        """
        dtype, size = tensor.storage.dtype, item_bytes(tensor.storage.dtype)
        extent = 1 + sum((length - 1) * step for length, step in zip(tensor.shape, tensor.stride, strict=True))
        if 0 in tensor.shape:
            return np.zeros(tensor.shape, dtype=np.float32)
        with self.path.open("rb") as stream:
            stream.seek(self.starts[tensor.storage.key] + tensor.offset * size)
            numbers = stream.read(extent * size)
        if len(numbers) != extent * size:
            raise damaged("it ends in the middle of a tensor")
        values = np.frombuffer(numbers, dtype="<u2" if dtype == "bfloat16" else np.dtype(dtype).newbyteorder("<"))
        strides = [step * size for step in tensor.stride]
        view = np.lib.stride_tricks.as_strided(values, tensor.shape, strides, writeable=False)
        if dtype == "bfloat16":
            return (view.astype(np.uint32) << 16).view(np.float32)
        return np.ascontiguousarray(view, dtype=np.float32).reshape(tensor.shape)


def item_bytes(dtype: str) -> int:
    """Bytes of one number; numpy has no bfloat16."""
    return 2 if dtype == "bfloat16" else int(np.dtype(dtype).itemsize)


def _open(path: Path) -> BinaryIO:
    remedy = "name the original .pt file"
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise UserError(f"{path} is a folder", remedy=remedy)
        if not stat.S_ISREG(mode):
            raise UserError(f"{path} is not a regular file", remedy=remedy)
        return path.open("rb")
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror})", remedy=remedy) from None


def _bounded_pickle(data: bytes) -> Any:
    if len(data) > LARGEST_PICKLE_BYTES:
        raise damaged(f"its structure alone has more than {LARGEST_PICKLE_BYTES >> 20} MiB")
    return read_pickle(io.BytesIO(data))


def _entries(archive: zipfile.ZipFile, file_bytes: int) -> dict[str, zipfile.ZipInfo]:
    """Entries by their name below the archive's root, all of them stored as they are."""
    pickles = [info.filename for info in archive.infolist() if info.filename.split("/")[1:] == ["data.pkl"]]
    if len(pickles) != 1:
        raise damaged("a zip archive, but none that torch.save wrote")
    root = pickles[0].removesuffix("data.pkl")
    found: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        name = info.filename.removeprefix(root)
        if name in found:
            raise damaged(f"a zip archive that holds {info.filename!r} twice")
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size or info.flag_bits & 1:
            raise damaged("a zip archive with compressed or encrypted entries, which torch.save never writes")
        if info.header_offset + info.file_size > file_bytes:
            raise damaged(f"{info.filename!r} claims more bytes than the file has")
        found[name] = info
    return found


def _data_start(stream: BinaryIO, info: zipfile.ZipInfo) -> int:
    stream.seek(info.header_offset)
    signature, name_bytes, extra_bytes = LOCAL_HEADER.unpack(stream.read(LOCAL_HEADER.size))
    if signature != b"PK\x03\x04":
        raise damaged("a zip archive with a broken entry")
    return int(info.header_offset + LOCAL_HEADER.size + name_bytes + extra_bytes)


def _read_zip(stream: BinaryIO, file_bytes: int) -> tuple[Any, dict[str, tuple[int, int]]]:
    """What a zip archive holds, and start and length in bytes of each storage."""
    with zipfile.ZipFile(stream) as archive:
        entries = _entries(archive, file_bytes)
        if entries["data.pkl"].file_size > LARGEST_PICKLE_BYTES:
            raise damaged(f"its structure alone has more than {LARGEST_PICKLE_BYTES >> 20} MiB")
        if "byteorder" in entries and archive.read(entries["byteorder"]) != b"little":
            raise damaged("written on a big-endian machine")
        content = _bounded_pickle(archive.read(entries["data.pkl"]))
        spans = {
            name.removeprefix("data/"): (_data_start(stream, info), info.file_size)
            for name, info in entries.items()
            if name.startswith("data/")
        }
    return content, spans


def _storage_dtypes(content: Any) -> dict[str, str]:
    """Number format of every storage that some tensor in `content` lies in."""
    found: dict[str, str] = {}
    seen: set[int] = set()
    waiting = [content]
    while waiting:
        value = waiting.pop()
        if isinstance(value, StoredTensor):
            found[value.storage.key] = value.storage.dtype
        if id(value) in seen or not isinstance(value, (dict, list, tuple, set, frozenset, StandIn)):
            continue
        seen.add(id(value))
        if isinstance(value, dict):
            waiting.extend(value.values())
        elif isinstance(value, StandIn):
            waiting.extend((value.arguments, value.state, value.items, value.elements))
        else:
            waiting.extend(value)
    return found


def _read_legacy(stream: BinaryIO, file_bytes: int) -> tuple[Any, dict[str, tuple[int, int]]]:
    """What a sequence of pickles holds, and start and length in bytes of each storage behind them."""
    head = io.BytesIO(stream.read(LARGEST_PICKLE_BYTES))
    if read_pickle(head) != LEGACY_MAGIC or read_pickle(head) != LEGACY_PROTOCOL:
        raise damaged("a pickle, but none that torch.save wrote")
    machine = read_pickle(head)
    if not isinstance(machine, dict) or machine.get("little_endian") is not True:
        raise damaged("written on a big-endian machine")
    content, keys = read_pickle(head), read_pickle(head)
    dtypes = _storage_dtypes(content)
    position, spans = head.tell(), {}
    for key in keys:
        stream.seek(position)
        (count,) = struct.unpack("<q", stream.read(8))
        if key not in dtypes:
            raise damaged("it holds numbers that belong to no tensor")
        length = count * item_bytes(dtypes[key])
        if count < 0 or position + 8 + length > file_bytes:
            raise damaged("it ends in the middle of a tensor")
        spans[key] = (position + 8, length)
        position += 8 + length
    return content, spans


def _checked_starts(content: Any, spans: dict[str, tuple[int, int]], file_bytes: int) -> dict[str, int]:
    """First byte of each storage, where the model's tensors lie within them and the storages within the file."""
    total = 0
    for key, tensor in content["model"].items():
        if not isinstance(key, str) or not isinstance(tensor, StoredTensor):
            raise damaged("its model holds more than named tensors")
        storage, size = tensor.storage, item_bytes(tensor.storage.dtype)
        start, held = spans.get(storage.key, (0, 0))
        held = min(held, max(0, file_bytes - start))
        if storage.count * size > held:
            raise damaged(f"a tensor claims {storage.count} numbers, and the file holds {held} bytes of them")
        total += math.prod(tensor.shape) * size
    if total > file_bytes:
        raise damaged("its tensors are made of the same numbers, more of them than the file has")
    return {key: start for key, (start, _) in spans.items()}


def _read(stream: BinaryIO, file_bytes: int) -> tuple[Any, dict[str, tuple[int, int]]]:
    head = stream.read(512)
    stream.seek(0)
    if not head:
        raise damaged("it is empty")
    if head.startswith(b"PK\x03\x04"):
        return _read_zip(stream, file_bytes)
    if head[257:262] == b"ustar" or head.startswith(b"sys_info\0"):
        raise UserError(
            "it is in torch's tar format of before 2017, which is not read here",
            remedy="where you trust it, load it with torch and save it again",
        )
    if head.startswith(b"\x80"):
        return _read_legacy(stream, file_bytes)
    raise damaged("neither a zip archive nor a pickle of torch.save")


def open_original(path: Path, *, needs_tensors: bool = True) -> OriginalFile:
    """Opens an original checkpoint without executing, importing or unpacking anything of it.

    Args:
        path: a file that `torch.save` wrote, zip or older.
        needs_tensors: false where only what it says of the model is asked for.

    Raises:
        UserError: it cannot be read, is no such file, is damaged, or is hostile.
    """
    try:
        with _open(path) as stream:
            file_bytes = os.fstat(stream.fileno()).st_size
            content, spans = _read(stream, file_bytes)
        if not isinstance(content, dict):
            raise damaged("a torch file, but no dictionary")
        if needs_tensors and (not isinstance(content.get("model"), dict) or not content["model"]):
            raise damaged("a torch file, but without the tensors of a model under 'model'")
        starts = _checked_starts(content, spans, file_bytes) if needs_tensors else {}
        return OriginalFile(path, content, starts)
    except UserError as error:
        named = str(path) in error.what
        raise UserError(error.what if named else f"{path}: {error.what}", remedy=error.remedy) from None
    except BROKEN as error:
        reason = " ".join(str(error).split())[:80]
        fault = damaged(f"cut off or broken: {reason}")
        raise UserError(f"{path}: {fault.what}", remedy=fault.remedy) from None
