"""`unispeech-ft ngram MODEL OUT --config C`."""

from __future__ import annotations

import argparse
from pathlib import Path

from unispeech_ft.commands import add_model, phone_recogniser

SUMMARY = "Make a phone n-gram for beam search from training labels, tuned on the validation split."


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.usage = "%(prog)s [-h] MODEL OUT [--revision R] --config C [--order N] [--section.key VALUE ...]"
    parser.epilog = (
        "Needs flashlight-text. Then: unispeech-ft evaluate … --beam OUT, unispeech-ft transcribe … --beam OUT."
    )
    add_model(parser)
    parser.add_argument("output", metavar="OUT", type=Path, help="folder for phones.arpa and beam.json")
    parser.add_argument(
        "--config",
        required=True,
        metavar="C",
        help="YAML of speech and labels, the name of one of the package, or a run",
    )
    parser.add_argument("--order", type=int, choices=range(2, 7), default=4, help="longest gram; default: 4")


def run(options: argparse.Namespace) -> None:
    """Prints the validation PER of every trial, the chosen first."""
    from unispeech_ft.tasks.ctc_phoneme.config import load_config
    from unispeech_ft.tasks.ctc_phoneme.ngram import make_ngram

    overrides = {"model.base": options.model, "dry_run": False, **options.overrides}
    config = load_config(phone_recogniser(options.config), overrides, first_seed=True)
    trials = make_ngram(options.model, config, options.output, options.order, options.revision)
    print("n-gram weight  blank penalty  validation PER")
    for settings, per in trials:
        print(f"{settings.lm_weight:13g}  {settings.blank_penalty:13g}  {100 * per:12.2f} %")
    print(f"chosen: the first; {options.output}")
