"""Commands of `unispeech-ft` that are more than a few lines; `cli` names them all."""

import argparse


def add_model(parser: argparse.ArgumentParser, name: str = "MODEL", said: str = "run directory, model folder") -> None:
    """The model that a command reads, and which of its revisions where it lies on the Hub."""
    parser.add_argument("model", metavar=name, help=f"{said} or Hub id")
    parser.add_argument("--revision", metavar="R", help="of a Hub id: branch, tag or commit (default: its main branch)")
