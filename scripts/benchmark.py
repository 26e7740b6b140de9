"""Times the toolkit beside `transformers.Trainer` on the same model, clips, update size and precision.

    python scripts/benchmark.py --preset tiny --precision no

    python scripts/benchmark.py --device cuda --precision bf16 --preset all --minutes 8 --json gpu.json

200 synthetic clips of 1 to 6.5 s, about 24 s of audio an update (on a GPU 800 and 250 s), random weights. Both sides
alternate in one run; the figures are medians over the rounds, with their range. docs/performance.md says what came out.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from contextlib import redirect_stdout
from pathlib import Path

# The package need not be installed: it lies beside this folder.
sys.path.append(str(Path(__file__).resolve().parents[1]))

from benchmark.setting import NUM_UTTERANCES, PRESETS, SECONDS_PER_UPDATE, Setting

from unispeech_ft.config.overrides import parse_overrides
from unispeech_ft.errors import UserError, raise_all, run_command
from unispeech_ft.launching import before_torch_loads


def written(values: object, where: str) -> None:
    """Prints values as JSON, or writes them to a file."""
    text = json.dumps(values, indent=2, default=str)
    if where == "-":
        print(text)
    else:
        Path(where).write_text(text + "\n", encoding="utf-8")


def measure_on_gpu(options: argparse.Namespace, overrides: tuple[tuple[str, str], ...]) -> None:
    """What `benchmark.on_gpu` measures, of one preset or of all that people train on a GPU."""
    from benchmark.on_gpu import PRESETS_ON_GPU, Clock, lines, measure
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    presets = PRESETS_ON_GPU if options.preset == "all" else (options.preset,)
    clock, found = Clock(60 * options.minutes), {}
    for number, preset in enumerate(presets):
        with tempfile.TemporaryDirectory(prefix="benchmark-") as folder, redirect_stdout(sys.stderr):
            setting = Setting(
                preset,
                options.device,
                options.precision,
                Path(folder),
                options.utterances or 800,
                options.seconds_per_update or 250.0,
                options.seconds_per_micro_batch or 62.5,
                overrides,
            )
            found[preset] = measure(setting, clock.share(len(presets) - number))
        print("\n".join(lines(preset, found[preset])), flush=True)
        if options.json and options.json != "-":
            written(found, options.json)
    if options.json == "-":
        written(found, "-")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=[*PRESETS, "all"], default="tiny", help="all: the large ones, on a GPU")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--precision", choices=["no", "bf16", "fp16"], default="no", help="no: float32 (default)")
    parser.add_argument("--rounds", type=int, default=3, help="alternations of the two sides (default 3)")
    parser.add_argument("--updates", type=int, default=12, help="updates in a round (default 12)")
    parser.add_argument("--trial-updates", type=int, default=6, help="to choose the Trainer's sampling (default 6)")
    parser.add_argument("--evaluations", type=int, default=2, help="of all clips (default 2)")
    parser.add_argument("--utterances", type=int, help="synthetic clips (default 200, on a GPU 800)")
    parser.add_argument("--seconds-per-update", type=float, help="of audio (default 24, on a GPU 250)")
    parser.add_argument("--seconds-per-micro-batch", type=float, help="of audio (default: one micro-batch an update)")
    parser.add_argument("--ablate", action="store_true", help="ours alone, with one part switched off at a time")
    parser.add_argument("--no-starts", action="store_true", help="leave out first-update times and memory")
    parser.add_argument("--minutes", type=float, default=8, help="on a GPU, for all presets together (default 8)")
    parser.add_argument("--json", nargs="?", const="-", metavar="FILE", help="everything as JSON, printed or to a file")
    parser.epilog = (
        "--section.key VALUE sets a key of our side's configuration, such as --training.cache_features false"
    )
    options, rest = parser.parse_known_args()
    overrides, _, faults = parse_overrides(rest)
    raise_all(faults)
    before_torch_loads()

    if options.device == "cuda" and not options.ablate:
        measure_on_gpu(options, tuple(overrides.items()))
        return
    if options.preset == "all":
        raise UserError("--preset all is for a GPU", remedy="add --device cuda, or name one preset")
    from benchmark.ablation import ablate
    from benchmark.run import Effort, as_json, compare
    from benchmark.table import lines
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        setting = Setting(
            options.preset,
            options.device,
            options.precision,
            Path(folder),
            options.utterances or NUM_UTTERANCES,
            options.seconds_per_update or SECONDS_PER_UPDATE,
            options.seconds_per_micro_batch,
            tuple(overrides.items()),
        )
        effort = Effort(options.rounds, options.updates, options.trial_updates, options.evaluations)
        if options.ablate:
            with redirect_stdout(sys.stderr):
                shares = ablate(setting, effort)
            for name, (training, frozen) in shares.items():
                print(f"without {name}: training at {training} of the speed, frozen phase at {frozen}")
            return
        with redirect_stdout(sys.stderr):
            comparison = compare(setting, effort, starts=not options.no_starts)
    if options.json:
        written(as_json(comparison), options.json)
    else:
        print("\n".join(lines(comparison)))


if __name__ == "__main__":
    run_command(main)
