"""`unispeech-ft app [FOLDER]`."""

from __future__ import annotations

import argparse
from pathlib import Path

SUMMARY = "Open a page on this machine: choose speech, train, transcribe, correct, and take the results away."


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "The page answers this machine alone, and nothing that is given to it leaves FOLDER."
    default = "where everything of the page lies (default: unispeech-app)"
    parser.add_argument("folder", metavar="FOLDER", nargs="?", type=Path, default=Path("unispeech-app"), help=default)
    parser.add_argument("--port", type=int, metavar="N", help="of the page (default: the first that is free from 7860)")
    parser.add_argument("--browser", action="store_true", help="open it in a browser")


def run(options: argparse.Namespace) -> None:
    """Serves the page until Ctrl-C."""
    from unispeech_ft.app.serve import serve

    serve(options.folder, options.port, in_browser=options.browser)
