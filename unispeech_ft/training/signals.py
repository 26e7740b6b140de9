"""SIGINT and SIGTERM while a run trains: the first asks to end after the update at hand, the second ends at once."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

WATCHED = (signal.SIGINT, signal.SIGTERM)


class SignalWatch:
    """Notes the first signal and lets the next one do what it did before; inactive outside the main thread.

    Attributes:
        number: of the signal; SIGTERM where another process was asked.
        received: whether this process was asked to end.
    """

    def __init__(self) -> None:
        self.number: int = signal.SIGTERM
        self.received = False
        self.before: dict[int, Any] = {}

    def __enter__(self) -> SignalWatch:
        if threading.current_thread() is threading.main_thread():
            self.before = {number: signal.signal(number, self._note) for number in WATCHED}
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.number, self.received = number, True
        self._restore()

    def _restore(self) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)
        self.before = {}

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()
