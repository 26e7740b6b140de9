"""Folders and files that appear whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_folder(folder: Path, *, replace: bool = False) -> Iterator[Path]:
    """An empty folder beside `folder` to fill; it becomes `folder` when the block ends without an exception.

    Args:
        folder: the folders above it are made.
        replace: put it in the place of what stands there. Otherwise what stands there by then stays, since another
            process has finished the same work first.

    Raises:
        OSError: it cannot be made, filled or renamed.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.partial-"))
    partial.chmod(0o755)
    old = partial.with_name(partial.name.replace(".partial-", ".old-"))
    try:
        yield partial
        if replace and folder.exists():
            folder.rename(old)
        try:
            partial.rename(folder)
        except OSError:
            if replace or not folder.is_dir():
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Writes a UTF-8 file whole or not at all, and only returns once it is on the disk.

    Raises:
        OSError: it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
