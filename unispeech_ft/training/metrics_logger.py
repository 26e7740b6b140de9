"""What a run says while it trains: `metrics.jsonl`, the trackers of accelerate, and a progress bar."""

from __future__ import annotations

import json
import math
import os
import statistics
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from tqdm import tqdm

from unispeech_ft.files import write_text
from unispeech_ft.training.step import StepResult

if TYPE_CHECKING:
    from accelerate import Accelerator

FLUSH_UPDATES = 10
# A gradient this many times the usual one is worth a word, once so many updates were seen.
EXPLODED, USUAL_OF = 100.0, 50


def _event_of(line: str) -> dict[str, Any] | None:
    """An event of the file; None for a line that was cut short."""
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) else None


def cut_events(path: Path, updates: int) -> None:
    """Removes the events after an update, and lines cut short, so that a resumed run continues one history."""
    if path.is_file():
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        kept = [line for line in lines if (event := _event_of(line)) and event.get("update", 0) <= updates]
        write_text(path, "".join(line + "\n" for line in kept))


class MetricsLogger:
    """Collects the results of updates and writes them down every few; on the main process only.

    Losses stay on the device until they are written, so that no update waits for the host.

    Args:
        warnings: looks at the figures of every update in turn and says what people must be warned of.
        clips_of: update (from 0) → the names of its clips, for one that went wrong.

    Attributes:
        bad_in_a_row: updates since the last one whose loss and gradients were finite, among those that are written.
        stop: whether a process was asked to end, in one of the updates that are written.
    """

    def __init__(
        self,
        path: Path,
        accelerator: Accelerator,
        first: int,
        last: int,
        warnings: Callable[[Mapping[str, Any]], list[str]],
        clips_of: Callable[[int], list[str]],
    ) -> None:
        self.path, self.accelerator, self.warnings, self.clips_of = path, accelerator, warnings, clips_of
        self.bad_in_a_row, self.stop = 0, False
        self.norms: deque[float] = deque(maxlen=USUAL_OF)
        self.pending: list[tuple[int, float | None, StepResult]] = []
        self.since = time.perf_counter()
        # At 80 columns the bar gets narrow, and the speed is cut off, but not the PER.
        self.bar = tqdm(
            bar_format="{desc}{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} {remaining}{postfix}",
            total=last,
            initial=first,
            unit="update",
            disable=not accelerator.is_main_process,
            dynamic_ncols=True,
            mininterval=1.0,
        )

    def event(self, kind: str, values: Mapping[str, Any]) -> None:
        """Writes one line now."""
        if self.accelerator.is_main_process:
            finite = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"event": kind, **finite}, ensure_ascii=False, allow_nan=False) + "\n")

    def update(self, number: int, padded_s: float | None, result: StepResult) -> None:
        """Notes an update (`number` counts from 1); without `padded_s` its figures hold it."""
        self.pending.append((number, padded_s, result))
        self.bar.update()
        if len(self.pending) >= FLUSH_UPDATES:
            self.flush()

    def _read_pending(self) -> list[dict[str, float]]:
        """The figures of the pending updates, brought from the device in one transfer."""
        rows = [
            [result.loss, result.grad_norm, result.applied, result.stop, *result.figures.values()]
            for *_, result in self.pending
        ]
        flat = iter(torch.stack([value.float() for row in rows for value in row]).tolist())
        read = []
        for number, padded_s, result in self.pending:
            values: dict[str, float] = {"update": number, "epoch": result.epoch}
            values |= {"loss": next(flat), "grad_norm": next(flat)}
            self._note(number, values["loss"], values["grad_norm"], applied=bool(next(flat)))
            self.stop = self.stop or next(flat) > 0
            own = {name: next(flat) for name in result.figures}
            seconds = own.pop("padded_s") if padded_s is None else padded_s
            read.append({**values, "lr": result.lr, "padded_s": round(seconds, 3), **own})
        return read

    def _lowers_scale(self, loss: float) -> bool:
        """Whether fp16's scaler explains a gradient that is not finite: its scale was too high, and it lowers it."""
        scaler = self.accelerator.scaler
        return scaler is not None and math.isfinite(loss) and scaler.get_scale() > 1

    def _note(self, number: int, loss: float, norm: float, *, applied: bool) -> None:
        """Tells of an update that was left out, or whose gradient exploded."""
        if not applied and self._lowers_scale(loss):
            self.event("left_out", {"update": number, "reason": "the scale of fp16 was too high and is lowered"})
            return
        self.bad_in_a_row = 0 if applied else self.bad_in_a_row + 1
        if not applied:
            clips = self.clips_of(number - 1)
            self.event("left_out", {"update": number, "reason": "its loss or a gradient is not finite", "clips": clips})
            shown = f"; its clips: {', '.join(clips[:5])}{' …' if len(clips) > 5 else ''}" if clips else ""
            self.say(f"warning: update {number} was left out, since its loss or a gradient is not finite{shown}")
            return
        usual = statistics.median(self.norms) if len(self.norms) == USUAL_OF else math.inf
        if norm > EXPLODED * usual > 0:
            text = f"the gradient of update {number} is {norm / usual:.0f} times the usual one; lower optimizer.lr"
            self.event("warning", {"update": number, "text": text})
            self.say(f"warning: {text}")
        self.norms.append(norm)

    def flush(self) -> None:
        """Writes the pending updates down, and waits until they are on the disk."""
        if not self.pending:
            return
        elapsed_s = time.perf_counter() - self.since
        read = self._read_pending()
        audio_s = sum(values["padded_s"] for values in read)
        rates = {"updates_per_s": len(read) / elapsed_s, "audio_s_per_s": audio_s / elapsed_s}
        for values in read:
            self.event("update", values)
            for warning in self.warnings(values):
                self.event("warning", {"update": values["update"], "text": warning})
                self.say(f"warning: {warning}")
        last = read[-1]
        tracked = {name: value for name, value in last.items() if name not in ("update", "epoch", "padded_s")} | rates
        self.accelerator.log({f"train/{name}": value for name, value in tracked.items()}, step=int(last["update"]))
        shown = {"loss": f"{last['loss']:.2f}", "lr": f"{last['lr']:.1e}", "audio": f"{rates['audio_s_per_s']:.0f}×"}
        self.bar.set_postfix(shown, refresh=False)
        self.pending.clear()
        if self.accelerator.is_main_process:
            with self.path.open("rb") as file:
                os.fsync(file.fileno())
        self.since = time.perf_counter()

    def evaluation(self, number: int, values: Mapping[str, Any]) -> None:
        """Notes an evaluation of the validation split."""
        self.flush()
        per = values.get("per")
        self.bar.set_description_str("" if per is None else f"PER {100 * per:.1f}% ", refresh=False)
        self.event("evaluation", {"update": number, **values})
        self.accelerator.log({f"validation/{name}": v for name, v in values.items() if v is not None}, step=number)
        self.since = time.perf_counter()

    def say(self, text: str) -> None:
        """A line above the progress bar."""
        if self.accelerator.is_main_process:
            self.bar.write(text)

    def close(self) -> None:
        self.flush()
        self.bar.close()
