"""Commands of `unispeech-ft` that are more than a few lines; `cli` names them all."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from unispeech_ft.data.blocks import Workers


def add_model(parser: argparse.ArgumentParser, name: str = "MODEL", said: str = "run directory, model folder") -> None:
    """The model that a command reads, and which of its revisions where it lies on the Hub."""
    parser.add_argument("model", metavar=name, help=f"{said} or Hub id")
    parser.add_argument("--revision", metavar="R", help="of a Hub id: branch, tag or commit (default: its main branch)")


def phone_recogniser(name: str) -> Path:
    """The YAML that a command was given.

    Raises:
        UserError: it is another task's.
    """
    from unispeech_ft.errors import UserError
    from unispeech_ft.runs.shipped import config_file, recipe_of

    file = config_file(name)
    if recipe_of(file) != "ctc_phoneme":
        raise UserError(f"{file} is a YAML of {recipe_of(file)}", remedy="name one of a phone recogniser")
    return file


def add_alternatives(parser: argparse.ArgumentParser) -> None:
    """How many other phones are given with each."""
    others = "with each phone also the N others that it may have been, and their posteriors"
    parser.add_argument("--alternatives", metavar="N", type=_count, default=0, help=others)


def _count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text} is not a number from 1")
    return int(text)


def add_workers(parser: argparse.ArgumentParser) -> None:
    """Who makes the blocks of a command that works in blocks."""
    processes = "that make them, of one thread each; the output is the same with any number (default: 1)"
    parser.add_argument("--processes", metavar="N", type=int, default=1, help=processes)
    ray = "make them on the machines of a Ray cluster; auto: the one that this machine belongs to"
    parser.add_argument("--ray", metavar="ADDRESS", help=ray)


def workers_of(options: argparse.Namespace) -> Workers:
    """The workers that those options ask for."""
    from unispeech_ft.data.blocks import Workers
    from unispeech_ft.errors import UserError

    if options.processes < 1:
        raise UserError(f"--processes {options.processes} is not above 0", remedy="give the number of processes")
    if options.ray is not None and options.processes > 1:
        raise UserError("--processes and --ray are both given", remedy="choose processes here, or a cluster's")
    return Workers(options.processes, options.ray)
