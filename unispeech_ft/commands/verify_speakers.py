"""`unispeech-ft verify-speakers MODEL A B` and `unispeech-ft verify-speakers MODEL --trials FILE`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

SUMMARY = "Say whether one person speaks in two recordings."


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.usage = "%(prog)s [-h] MODEL (A B | --trials FILE [--root DIR]) [--json]"
    parser.epilog = "MODEL is what recipes/speaker_verification.py wrote, or a converted file of the authors."
    parser.add_argument("model", metavar="MODEL", help="run directory or model folder of a speaker verification")
    parser.add_argument("audio", metavar="A B", nargs="*", help="two recordings")
    trials = "list of `1|0 A B` lines, or of `A B`: a score for each, and with 1 and 0 the EER"
    parser.add_argument("--trials", metavar="FILE", type=Path, help=trials)
    parser.add_argument("--root", metavar="DIR", type=Path, default=Path(), help="that paths of the list begin from")
    parser.add_argument("--json", action="store_true", help="print a JSON object a pair")


def run(options: argparse.Namespace) -> None:
    """Prints the cosine of the two vectors of each pair, and on which side of the model's threshold it lies."""
    from unispeech_ft.errors import UserError
    from unispeech_ft.tasks.speaker_verification.compare import compare_recordings, eer_line, read_pairs

    if (options.trials is None) == (len(options.audio) == 0) or len(options.audio) not in (0, 2):
        raise UserError("two recordings are needed, or --trials", remedy="verify-speakers MODEL A.wav B.wav")
    pairs = read_pairs(options.trials) if options.trials else [(None, *options.audio)]
    found = compare_recordings(options.model, pairs, options.root if options.trials else Path())
    for pair in found:
        if options.json:
            line = {"a": pair.first, "b": pair.second, "cosine": round(pair.cosine, 6), "same": pair.same}
            print(json.dumps(line, ensure_ascii=False))
        else:
            verdict = {True: "one speaker", False: "two speakers", None: ""}[pair.same]
            print(f"{pair.cosine:.4f}\t{pair.first}\t{pair.second}\t{verdict}".rstrip())
    if options.trials and not options.json:
        print(eer_line(found))
