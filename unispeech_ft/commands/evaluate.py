"""`unispeech-ft evaluate MODEL --config C --split SPLIT`."""

from __future__ import annotations

import argparse
from pathlib import Path

from unispeech_ft.commands import add_model, phone_recogniser

SUMMARY = "Score a saved model on a split of a configuration."


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.usage = (
        "%(prog)s [-h] MODEL [--revision R] --config C --split SPLIT [--output DIR] [--floor LABELS] [--beam DIR]"
        " [--section.key VALUE ...]"
    )
    parser.epilog = (
        "--section.key VALUE sets a key of the configuration, such as --data.root DIR; its model section counts for"
        " nothing. Phones that the model lacks stay in the references and count as errors."
    )
    add_model(parser)
    parser.add_argument(
        "--config",
        required=True,
        metavar="C",
        help="YAML of speech and labels, the name of one of the package, or a run",
    )
    parser.add_argument("--split", required=True, choices=("train", "validation", "test"), help="what to score")
    output = (
        "folder of the results; default: eval/SPLIT of the model's run, or eval/NAME/SPLIT for other speech or models"
    )
    parser.add_argument("--output", metavar="DIR", type=Path, help=output)
    floor = (
        "score a second labelling against the references as well: espeak, lexicon, column, published, or a file of"
        " id<TAB>phones (the same as --evaluation.floor)"
    )
    parser.add_argument("--floor", metavar="LABELS", help=floor)
    beam = (
        "decode by beam search with the phone n-gram in DIR (see `unispeech-ft ngram`), results beside the greedy ones"
    )
    parser.add_argument("--beam", metavar="DIR", type=Path, help=beam)


def run(options: argparse.Namespace) -> None:
    """Writes the results and prints the outcome."""
    from unispeech_ft.errors import UserError, raise_all
    from unispeech_ft.tasks.ctc_phoneme.config import load_config
    from unispeech_ft.tasks.ctc_phoneme.results import evaluate_saved

    of_model = [key for key in options.overrides if key.startswith("model.")]
    remedy = "leave it out: MODEL is what is scored"
    raise_all([UserError(f"--{key} has no effect here", remedy=remedy) for key in of_model])
    overrides = {"model.base": options.model, "dry_run": False, **options.overrides}
    if options.floor is not None:
        overrides["evaluation.floor"] = options.floor
    config = load_config(phone_recogniser(options.config), overrides, first_seed=True)
    evaluate_saved(options.model, config, options.split, options.output, options.beam, options.revision)
