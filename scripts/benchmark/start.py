"""Time to the first update, and peak memory: each side alone in a process of its own.

Cold: the clips lie decoded on disk, nothing else is there. Warm: as a second run finds it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmark.setting import Setting

UPDATES = 4


@dataclass(frozen=True)
class Start:
    """What one process saw.

    Attributes:
        first_update_s: from the start of the process to the end of its first update.
        host_bytes: peak of the resident memory after some updates.
        device_bytes: peak of the device's memory; None on a CPU.
    """

    first_update_s: float
    host_bytes: int
    device_bytes: int | None


def measure_start(setting: Setting, side: str, *, warm: bool) -> Start:
    """Runs one side in a process of its own."""
    if not warm:
        for folder in ("cache", "trainer"):
            shutil.rmtree(setting.folder / folder, ignore_errors=True)
    fields = {**asdict(setting), "folder": str(setting.folder)}
    command = [sys.executable, "-m", "benchmark.start", side, str(time.time()), json.dumps(fields)]
    # Neither this package nor the toolkit need be installed.
    scripts = Path(__file__).resolve().parents[1]
    paths = [str(scripts), str(scripts.parent), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{side} failed to start: {done.stderr[-2000:]}")
    return Start(**json.loads(done.stdout.splitlines()[-1]))


def peak_host_bytes() -> int:
    """Peak of this process's resident memory; getrusage would count that of the process it was forked from."""
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


def _setting(text: str) -> Setting:
    fields: dict[str, Any] = json.loads(text)
    fields["folder"] = Path(fields["folder"])
    fields["overrides"] = tuple(tuple(item) for item in fields["overrides"])
    return Setting(**fields)


def _run(side: str, started: float, setting: Setting) -> Start:
    import torch

    from benchmark.ours import Ours, quiet_accelerator

    accelerator = quiet_accelerator(setting)
    if side == "ours":
        ours = Ours(setting, accelerator)
        ours.train(1)
        first = time.time() - started
        ours.train(UPDATES)
    else:
        from benchmark.theirs import Stopwatch, Theirs

        theirs = Theirs(setting, sampling="group_by_length")
        trainer = theirs.trainer(1 + UPDATES)
        stopwatch = Stopwatch(setting.device, clock=time.time)
        trainer.add_callback(stopwatch)
        trainer.train()
        first = stopwatch.ends[0] - started
    return Start(first, peak_host_bytes(), torch.cuda.max_memory_allocated() if setting.device == "cuda" else None)


if __name__ == "__main__":
    print(json.dumps(asdict(_run(sys.argv[1], float(sys.argv[2]), _setting(sys.argv[3])))))
