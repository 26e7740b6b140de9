"""`unispeech-ft push RUN REPO [--public] [--license NAME] [--onnx] [--sentences] [--space]`."""

from __future__ import annotations

import argparse
from pathlib import Path

SUMMARY = "Publish a run on the Hub: model, configuration, results and a card that can be verified."


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "Private unless --public. The token is huggingface_hub's: `hf auth login`, or HF_TOKEN. Pushing again updates"
        " the same repository. The run is only read."
    )
    parser.add_argument("run_folder", metavar="RUN", type=Path, help="run directory, or its model folder")
    parser.add_argument("repo", metavar="REPO", help="name on the Hub, such as you/ky-phones")
    parser.add_argument("--public", action="store_true", help="let everybody read it")
    parser.add_argument("--license", metavar="NAME", help="as the Hub names it (default: that of the base model)")
    parser.add_argument("--onnx", action="store_true", help="publish an ONNX graph as well")
    sentences = "publish the sentences of the scored utterances as well (they may be personal, or protected)"
    parser.add_argument("--sentences", action="store_true", help=sentences)

    space = "make a Space of the same name as well, where people try the model; a private one needs a secret HF_TOKEN"
    parser.add_argument("--space", action="store_true", help=space)


def run(options: argparse.Namespace) -> None:
    """Publishes, and prints where."""
    from unispeech_ft.files import run_folder
    from unispeech_ft.hub.push import PushOptions, push
    from unispeech_ft.tasks.published import card_of

    private, sentences = not options.public, options.sentences
    wanted = PushOptions(options.repo, private, options.license, sentences, options.onnx, options.space)
    print(f"published: {push(options.run_folder, wanted, card_of(run_folder(options.run_folder)))}")
