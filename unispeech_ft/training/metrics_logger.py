"""What a run says while it trains: `metrics.jsonl`, the trackers of accelerate, and a progress bar."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from tqdm import tqdm

from unispeech_ft.training.step import StepResult

if TYPE_CHECKING:
    from accelerate import Accelerator

FLUSH_UPDATES = 10


class Journal:
    """Collects the results of updates and writes them down every few; on the main process only.

    Losses stay on the device until they are written, so that no update waits for the host.

    Args:
        watch: looks at the parts of every update in turn and says what people must be warned of.
    """

    def __init__(
        self,
        path: Path,
        accelerator: Accelerator,
        first: int,
        last: int,
        watch: Callable[[Mapping[str, float]], list[str]] | None = None,
    ) -> None:
        self.path, self.accelerator, self.watch = path, accelerator, watch
        self.pending: list[tuple[int, int, float, StepResult]] = []
        self.since = time.perf_counter()
        self.per: float | None = None
        self.bar = tqdm(
            total=last,
            initial=first,
            unit="update",
            disable=not accelerator.is_main_process,
            dynamic_ncols=True,
            mininterval=1.0,
        )

    @staticmethod
    def cut(path: Path, updates: int) -> None:
        """Removes the events after an update, so that a resumed run continues one history."""
        if path.is_file():
            lines = path.read_text(encoding="utf-8").splitlines()
            kept = [line for line in lines if json.loads(line).get("update", 0) <= updates]
            path.write_text("".join(line + "\n" for line in kept), encoding="utf-8")

    def event(self, kind: str, values: Mapping[str, Any]) -> None:
        """Writes one line now."""
        if self.accelerator.is_main_process:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"event": kind, **values}, ensure_ascii=False) + "\n")

    def update(self, number: int, epoch: int, padded_s: float, result: StepResult) -> None:
        """Notes an update (`number` counts from 1)."""
        self.pending.append((number, epoch, padded_s, result))
        self.bar.update()
        if len(self.pending) >= FLUSH_UPDATES:
            self.flush()

    def flush(self) -> None:
        """Writes the pending updates down."""
        if not self.pending:
            return
        elapsed_s = time.perf_counter() - self.since
        losses = torch.stack([item[3].loss for item in self.pending]).tolist()
        norms = torch.stack([item[3].grad_norm for item in self.pending]).tolist()
        audio_s = sum(item[2] for item in self.pending)
        rates = {"updates_per_s": len(self.pending) / elapsed_s, "audio_s_per_s": audio_s / elapsed_s}
        more = [
            dict(zip(result.parts, torch.stack([*result.parts.values()]).tolist(), strict=True)) if result.parts else {}
            for _, _, _, result in self.pending
        ]
        for (number, epoch, padded_s, result), loss, norm, parts in zip(self.pending, losses, norms, more, strict=True):
            values = {"update": number, "epoch": epoch, "loss": loss, "grad_norm": norm, "lr": result.lr}
            self.event("update", {**values, "padded_s": round(padded_s, 3), **parts})
            for warning in self.watch(parts) if self.watch else ():
                self.event("warning", {"update": number, "text": warning})
                self.say(f"warning: {warning}")
        number, _, _, result = self.pending[-1]
        numbers = {"loss": losses[-1], "grad_norm": norms[-1], "lr": result.lr, **more[-1], **rates}
        self.accelerator.log({f"train/{name}": value for name, value in numbers.items()}, step=number)
        shown = {"loss": f"{losses[-1]:.2f}", "lr": f"{result.lr:.1e}", "audio": f"{rates['audio_s_per_s']:.0f}×"}
        self.bar.set_postfix(shown | ({} if self.per is None else {"PER": f"{100 * self.per:.1f}%"}), refresh=False)
        self.pending.clear()
        self.since = time.perf_counter()

    def evaluation(self, number: int, values: Mapping[str, Any]) -> None:
        """Notes an evaluation of the validation split."""
        self.flush()
        self.per = values["per"]
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
