"""A command on a terminal of so many columns, and what its screen has shown."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import termios
from collections.abc import Mapping, Sequence
from pathlib import Path


def on_terminal(words: Sequence[str | Path], columns: int, *, cwd: Path, env: Mapping[str, str]) -> tuple[int, str]:
    """Runs a command on a pseudo-terminal: status, and all that was written."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {name: value for name, value in env.items() if name not in ("COLUMNS", "LINES")}
    process = subprocess.Popen(words, stdin=theirs, stdout=theirs, stderr=theirs, cwd=cwd, env=environment)
    os.close(theirs)
    written = b""
    while True:
        try:
            block = os.read(ours, 65_536)
        except OSError:  # Linux's way to say that the other side is closed
            break
        if not block:
            break
        written += block
    os.close(ours)
    return process.wait(), written.decode("utf-8", errors="replace")
