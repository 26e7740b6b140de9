"""`unispeech-ft recipes`, `copy`, `train` and `demo`: recipes and YAMLs without a copy of the repository."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

LISTING = "List the YAMLs that come with the package."
COPYING = "Write a YAML of the package here, to change it."
TRAINING = "Run the recipe of a YAML, one of the package or your own."
SHOWING = "Speak a small synthetic corpus and train a Kyrgyz recogniser on it: minutes on two CPU cores."
# The keys of a configuration that stand in no section.
WHOLE_KEYS = ("seed", "output_dir", "resume", "dry_run")


def add_copy_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="such as ky_1h or speaker_verification/words")
    parser.add_argument("--to", metavar="FILE", type=Path, help="default: NAME.yaml in this folder")


def add_train_options(parser: argparse.ArgumentParser) -> None:
    parser.usage = "%(prog)s [-h] CONFIG [--processes N] [--precision P] [--KEY VALUE ...] [--section.key VALUE ...]"
    parser.epilog = "What `accelerate launch recipes/RECIPE.py --config CONFIG` does, which has more ways to launch."
    parser.add_argument("config", metavar="CONFIG", help="YAML, or the name of one of the package")
    add_launch_options(parser)


def add_launch_options(parser: argparse.ArgumentParser) -> None:
    processes = "one for each device (default: as many as there are GPUs, or 1)"
    parser.add_argument("--processes", type=int, metavar="N", help=processes)
    precision = "of the computation (default: no, that is 32 bits)"
    for key in WHOLE_KEYS:
        parser.add_argument(f"--{key}", metavar="VALUE", help="as in the YAML")
    parser.add_argument("--precision", choices=("no", "fp16", "bf16"), default="no", help=precision)


def list_recipes(options: argparse.Namespace) -> None:
    """Prints name and first line of each YAML, a line each: on a terminal cut at its width."""
    from unispeech_ft.runs.shipped import shipped

    found = shipped()
    width = max(len(item.name) for item in found)
    columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else width + 102
    for item in found:
        line = f"{item.name:<{width}}  {item.said}"
        print(line if len(line) <= columns else f"{line[: columns - 1]}…")


def copy(options: argparse.Namespace) -> None:
    """Writes the YAML, never over another file."""
    from unispeech_ft.errors import UserError
    from unispeech_ft.runs.shipped import find_shipped

    found = find_shipped(options.name)
    target = options.to or Path(f"{found.path.stem}.yaml")
    try:
        with target.open("x", encoding="utf-8") as file:
            file.write(found.path.read_text(encoding="utf-8"))
    except FileExistsError:
        raise UserError(f"{target} is there already", remedy="name another file with --to") from None
    except OSError as error:
        raise UserError(f"{target} cannot be written ({error.strerror})", remedy="name another with --to") from None
    print(f"{target}: run it with `unispeech-ft train {target}`")


def train(options: argparse.Namespace) -> None:
    """Becomes the process of the recipe, so that signals reach it."""
    from unispeech_ft.runs.shipped import config_file

    _become(config_file(options.config), options)


def demo(options: argparse.Namespace) -> None:
    """Makes the corpus where it is missing, then becomes the recipe."""
    from unispeech_ft.data.sources.common_voice import DEMO_FOLDER
    from unispeech_ft.runs.shipped import find_shipped
    from unispeech_ft.testing.corpus import make_corpus

    if not (DEMO_FOLDER / "synthetic_corpus.json").is_file():
        make_corpus(DEMO_FOLDER, ["ky"], train_hours=1.0, dev_hours=0.1, test_hours=0.15, processes=2)
        print(f"synthetic corpus: {DEMO_FOLDER}", flush=True)
    _become(find_shipped("ctc_phoneme/demo").path, options)


def given_keys(options: argparse.Namespace) -> dict[str, str]:
    """The keys that a command line sets, by dotted key."""
    whole = {key: getattr(options, key) for key in WHOLE_KEYS if getattr(options, key) is not None}
    return {**whole, **options.overrides}


def run_recipe(file: Path, options: argparse.Namespace, overrides: Mapping[str, str]) -> int:
    """Runs the recipe of a YAML to its end; its status as a shell has it. Arguments as of `recipe_command`."""
    status = subprocess.run(recipe_command(file, options, overrides), check=False).returncode
    return status if status >= 0 else 128 - status


def recipe_command(file: Path, options: argparse.Namespace, overrides: Mapping[str, str]) -> list[str]:
    """The words that run the recipe of a YAML as its options ask for.

    Args:
        overrides: by dotted key; they go before those of the options.
    """
    from unispeech_ft.runs.shipped import recipe_of

    keys = {**given_keys(options), **overrides}
    words = [word for key, value in keys.items() for word in (f"--{key}", value)]
    recipe = ["-m", f"unispeech_ft.recipes.{recipe_of(file)}", "--config", str(file), *words]
    processes = _devices() if options.processes is None else options.processes
    launcher = []
    if processes > 1 or options.precision != "no":
        launcher = ["-m", "accelerate.commands.launch", "--num_processes", str(processes), "--num_machines", "1"]
        launcher += ["--mixed_precision", options.precision, "--dynamo_backend", "no"]
        launcher += ["--multi_gpu"] if processes > 1 and _devices() > 1 else []
    return [sys.executable, *launcher, *recipe]


def _become(file: Path, options: argparse.Namespace) -> None:
    command = recipe_command(file, options, {})
    sys.stdout.flush()
    os.execv(command[0], command)  # nosec B606  # our own modules


def _devices() -> int:
    import torch

    return max(1, torch.cuda.device_count())
