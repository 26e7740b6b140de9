"""Folders and files that appear whole or not at all, and that say later whether they are still what was written."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

DIGESTS = "digests.json"
CHUNK_BYTES = 8 * 2**20
# What a killed process leaves behind is removed once it is so old.
LEFTOVER_S = 2 * 86_400


def digest_of(path: Path) -> str:
    """XXH3-128 of a file; it guards against damage, not against people. About 12 GB/s once the file is in memory."""
    import xxhash

    digest = xxhash.xxh3_128()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def damage(folder: Path) -> str:
    """What of a sealed folder is not as it was written, in words; empty where everything is."""
    try:
        digests = json.loads((folder / DIGESTS).read_text(encoding="utf-8"))
        for name, digest in sorted(digests.items()):
            if not (folder / name).is_file():
                return f"{name} is missing"
            if digest_of(folder / name) != digest:
                return f"{name} is damaged"
    except (OSError, ValueError, AttributeError) as error:
        return f"{DIGESTS} cannot be read ({type(error).__name__})"
    return ""


def _finish(folder: Path, *, seal: bool) -> None:
    """Brings every file of a folder to the disk, with their digests where they are wanted."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    if seal:
        digests = {path.relative_to(folder).as_posix(): digest_of(path) for path in files}
        (folder / DIGESTS).write_text(json.dumps(digests, indent=1), encoding="utf-8")
        files.append(folder / DIGESTS)
    for path in (*files, folder):
        _sync(path)


def _clean(folder: Path) -> None:
    for left in folder.parent.glob(f".{folder.name}.*-*"):
        if left.is_dir() and time.time() - left.stat().st_mtime > LEFTOVER_S:
            shutil.rmtree(left, ignore_errors=True)


@contextlib.contextmanager
def atomic_folder(folder: Path, *, replace: bool = False, seal: bool = False) -> Iterator[Path]:
    """An empty folder beside `folder` to fill; it becomes `folder` when the block ends without an exception.

    Args:
        folder: the folders above it are made.
        replace: put it in the place of what stands there. Otherwise what stands there by then stays, since another
            process has finished the same work first.
        seal: keep the digest of every file beside them, for `damage`.

    Raises:
        OSError: it cannot be made, filled or renamed.
    """
    made = [above for above in folder.parents if not above.exists()]
    folder.parent.mkdir(parents=True, exist_ok=True)
    _clean(folder)
    partial = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.partial-"))
    partial.chmod(0o755)
    old = partial.with_name(partial.name.replace(".partial-", ".old-"))
    try:
        yield partial
        _finish(partial, seal=seal)
        if replace and folder.exists():
            folder.rename(old)
        try:
            partial.rename(folder)
        except OSError:
            if replace or not folder.is_dir():
                raise
        _sync(folder.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
        if not folder.exists():
            for above in made:
                with contextlib.suppress(OSError):
                    above.rmdir()


def keep(folder: Path, fill: Callable[[Path], None]) -> None:
    """Makes a sealed folder of a cache where it is missing, and anew, with a line, where it is damaged.

    Args:
        fill: puts the files into an empty folder.

    Raises:
        OSError: it cannot be made.
    """
    if folder.is_dir():
        fault = damage(folder)
        if not fault:
            return
        print(f"warning: {folder} is made anew: {fault}", file=sys.stderr)
    with atomic_folder(folder, replace=folder.is_dir(), seal=True) as partial:
        fill(partial)


def free_bytes(folder: Path) -> int:
    """Room on the disk where a folder is, or would be."""
    above = folder.expanduser().absolute()
    while not above.exists():
        above = above.parent
    return shutil.disk_usage(above).free


def allocate(file: Path) -> None:
    """Gives every byte of a sparse file its place on the disk, so that writing to it through memory cannot fail.

    Raises:
        OSError: the disk is too full; the message says what is needed and what is free.
    """
    size_bytes = file.stat().st_size
    with file.open("r+b") as sparse:
        try:
            os.posix_fallocate(sparse.fileno(), 0, size_bytes)
        except OSError as error:
            free = shutil.disk_usage(file.parent).free
            what = f"{error.strerror}: {size_bytes / 2**20:.0f} MiB are needed, {free / 2**20:.0f} MiB are free"
            raise OSError(error.errno, what, str(file.parent.parent)) from None


def run_folder(folder: Path) -> Path:
    """The run that is meant: of its folder `model`, the run; any other folder as it is."""
    above = folder.expanduser().resolve().parent
    is_model = (folder.expanduser() / "config.json").is_file() and (above / "config.yaml").is_file()
    return above if is_model else folder


def parse_json(text: str | bytes) -> Any:
    """JSON that others have written.

    Raises:
        ValueError: it is not JSON, nested too deeply, or holds an endless number or half a character.
    """
    text = text.decode(json.detect_encoding(text)) if isinstance(text, bytes) else text
    try:
        value = json.loads(text)
        if "\\ud" in text.lower():  # half of a pair could never be written again
            json.dumps(value, ensure_ascii=False).encode()
        return value
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def write_text(path: Path, text: str) -> None:
    """Writes a UTF-8 file as `write_bytes`."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file whole or not at all, and only returns once it is on the disk.

    Raises:
        OSError: it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
