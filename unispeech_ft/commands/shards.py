"""`unispeech-ft shards ROOT --out DIR`: recordings in tar shards, for pre-training."""

from __future__ import annotations

import argparse
from pathlib import Path

from unispeech_ft.commands import add_workers, workers_of

SUMMARY = "Put unlabelled recordings into tar shards of so many hours, which a pre-training streams."


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "Recordings go in as they are. A command that was stopped goes on where it was when it is given again, with the"
        " recordings that were there at first. `recipes/pretrain.py --unlabelled.source tar --unlabelled.root DIR` and"
        " `unispeech-ft targets DIR --source tar` read the result."
    )
    parser.add_argument("root", metavar="ROOT", help="as unlabelled.root: folder of audio, or a manifest")
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="folder of the shards")
    parser.add_argument("--source", choices=("folder", "manifest"), default="folder", help="default: folder")
    parser.add_argument("--column", metavar="NAME", default="audio", help="as unlabelled.audio_column")
    hours = "hours of a shard, about (default: 1)"
    parser.add_argument("--hours_per_shard", metavar="H", type=float, default=1.0, help=hours)
    add_workers(parser)


def run(options: argparse.Namespace) -> None:
    """Makes what is missing, and prints what there is."""
    from unispeech_ft.data.blocks import hire
    from unispeech_ft.data.cut_shards import Cutting, cut_shards
    from unispeech_ft.errors import UserError

    if not 0 < options.hours_per_shard < float("inf"):
        raise UserError(f"--hours_per_shard {options.hours_per_shard} is not above 0", remedy="give hours")
    root = str(Path(options.root).expanduser().absolute())
    cutting = Cutting(options.source, root, options.column, options.hours_per_shard)
    workers = workers_of(options)
    try:
        with hire(workers) as crew:
            num_shards = cut_shards(cutting, options.out, crew, lambda line: print(line, flush=True))
    except OSError as error:
        raise UserError(f"{options.out} cannot be written ({error.strerror})", remedy="name another folder") from None
    print(f"{options.out}: {num_shards} shards")
