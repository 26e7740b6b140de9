"""Errors that a user can mend. Every one says what is wrong and what to do; commands print them and exit with 2."""

from __future__ import annotations

import errno
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NoReturn, TextIO

LONGEST = 1000
GO_ON = "go on with the same command and --resume true"


class UserError(Exception):
    """A fault in the configuration, the data or a file.

    Args:
        what: what is wrong, with the key, file or id concerned.
        remedy: what to do about it.
    """

    def __init__(self, what: str, *, remedy: str) -> None:
        self.what = what
        self.remedy = remedy
        super().__init__(f"{what}: {remedy}" if remedy else what)

    def __reduce__(self) -> tuple[Callable[..., UserError], tuple[Any, ...]]:
        """Faults pass from process to process."""
        return partial(UserError, remedy=self.remedy), (self.what,)

    @property
    def lines(self) -> list[str]:
        """One line for each fault, without line breaks inside, of bounded length."""
        what = one_line(self.what)
        return [f"{what}: {one_line(self.remedy)}" if self.remedy else what]

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows in place of a traceback (IPython's protocol)."""
        return [f"error: {line}" for line in self.lines]


class UserErrors(UserError):
    """Several faults found in one pass, reported together."""

    def __init__(self, errors: Sequence[UserError]) -> None:
        self.errors = list(errors)
        super().__init__("\n".join(line for error in self.errors for line in error.lines), remedy="")

    def __reduce__(self) -> tuple[Callable[..., UserError], tuple[Any, ...]]:
        return UserErrors, (self.errors,)

    @property
    def lines(self) -> list[str]:
        return [line for error in self.errors for line in error.lines]


class Interrupted(Exception):
    """A signal asked a run to end, and it is saved.

    Args:
        signal_number: 2 (SIGINT) or 15 (SIGTERM).
        output_dir: of the run.
        updates: that are saved.
    """

    def __init__(self, signal_number: int, output_dir: str, updates: int) -> None:
        self.status = 128 + signal_number
        super().__init__(f"stopped by a signal; update {updates} is saved in {output_dir}: {GO_ON}")

    def _render_traceback_(self) -> list[str]:
        return [str(self)]


def disk_fault(error: OSError) -> UserError | None:
    """A fault of the disk, of permissions or of a name as one of the user's; None for any other."""
    remedies = {
        errno.ENOSPC: "free some room, or name another folder, then run the same command again",
        errno.EDQUOT: "free some of your quota, or name another folder, then run the same command again",
        errno.EROFS: "name a folder on a disk that can be written",
        errno.EACCES: "name a folder that you may write to",
        errno.EPERM: "name a folder that you may write to",
        errno.ENAMETOOLONG: "no disk has such a name: check the path",
    }
    if error.errno not in remedies:
        return None
    where = f"{error.filename}: " if error.filename else ""
    return UserError(f"{where}{error.strerror}", remedy=remedies[error.errno])


def memory_fault(error: Exception) -> UserError | None:
    """Memory that the machine or the device did not give, as a fault of the user's; None for any other error."""
    # Of torch's, only those of a device have a class of their own.
    if not isinstance(error, MemoryError) and not re.search("can't allocate memory|out of memory", str(error)):
        return None
    return UserError(
        f"there is too little memory ({first_line(error)})",
        remedy="lower batch.seconds_per_micro_batch or data.max_duration_s, set model.gradient_checkpointing true, or"
        " take a smaller model.base",
    )


def one_line(text: str) -> str:
    """A text without line breaks, and without the middle of one that is very long."""
    line = " ".join(text.split())
    return line if len(line) <= LONGEST else f"{line[: LONGEST // 2]} … {line[-LONGEST // 2 :]}"


def first_line(error: Exception) -> str:
    """The first line of a library's message, short enough to stand inside one of ours."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]


def fitted(lines: Sequence[str], stream: TextIO | None = None) -> str:
    """Lines to print: on a terminal broken between words at its width, what follows further in; elsewhere as they are.

    Args:
        stream: where they are printed; None for stdout.
    """
    stream = sys.stdout if stream is None else stream
    if not stream.isatty():
        return "\n".join(lines)
    columns = shutil.get_terminal_size().columns
    return "\n".join("\n".join(_broken(line, columns)) for line in lines)


def _broken(line: str, columns: int) -> list[str]:
    if len(line) <= columns:
        return [line]
    inner = " " * (len(line) - len(line.lstrip()) + 2)
    return textwrap.wrap(line, columns, subsequent_indent=inner, break_long_words=False, break_on_hyphens=False) or [
        line
    ]


def warn(text: str) -> None:
    """Says in one line on stderr what went wrong without keeping anything else from being done."""
    print(fitted([f"warning: {' '.join(text.split())}"], sys.stderr), file=sys.stderr)


def raise_all(errors: Sequence[UserError]) -> None:
    """Raises nothing, the one fault, or all of them together."""
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise UserErrors(errors)


def exit_with(error: UserError) -> NoReturn:
    """Prints one line for each fault on stderr and ends the process with exit code 2."""
    print(fitted([f"error: {line}" for line in error.lines], sys.stderr), file=sys.stderr)
    sys.exit(2)


def run_command(command: Callable[[], int | None]) -> NoReturn:
    """Runs a whole command: faults of the user end with 2 and no traceback, its own status otherwise."""
    try:
        sys.exit(command() or 0)
    except UserError as error:
        exit_with(error)
    except Interrupted as error:
        print(fitted([str(error)], sys.stderr), file=sys.stderr)
        sys.exit(error.status)
    except BrokenPipeError:
        # Whoever read our output, `head` perhaps, has enough of it; nothing may be written at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        fault = disk_fault(error)
        if fault is None:
            raise
        exit_with(fault)
    except (MemoryError, RuntimeError) as error:
        fault = memory_fault(error)
        if fault is None:
            raise
        exit_with(fault)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
