"""`unispeech-ft compare RUN_A RUN_B [--split SPLIT] [--json]`."""

from __future__ import annotations

import argparse
from pathlib import Path

SUMMARY = "Tell whether one run is better than another: the difference of their figures, its interval, and p."


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "Both results must have the same references. The interval is a paired bootstrap, by speaker where ten or more"
        " are known from the speech that the runs were configured for; p comes from swapping the two results of whole"
        " speakers or utterances at random."
    )
    result = "run directory or its model folder, folder of results, or its hypotheses.jsonl"
    parser.add_argument("run_a", metavar="RUN_A", type=Path, help=result)
    parser.add_argument("run_b", metavar="RUN_B", type=Path, help="the same of the other result")
    parser.add_argument("--split", choices=("train", "validation", "test"), default="test", help="default: test")
    parser.add_argument("--json", action="store_true", help="print the comparison as JSON")


def run(options: argparse.Namespace) -> None:
    """Prints the comparison."""
    import json
    from dataclasses import asdict

    from unispeech_ft.errors import fitted
    from unispeech_ft.runs.compare import compare_runs, compare_task_runs
    from unispeech_ft.scoring.compare import format_comparison
    from unispeech_ft.scoring.task_compare import format_task_comparison

    names = (str(options.run_a), str(options.run_b))
    of_task = compare_task_runs(options.run_a, options.run_b, options.split)
    if of_task is not None:
        said = json.dumps(asdict(of_task), indent=2) if options.json else format_task_comparison(of_task, names)
        print(said)
        return
    found, notes = compare_runs(options.run_a, options.run_b, options.split)
    if options.json:
        print(json.dumps({**asdict(found), "notes": notes}, ensure_ascii=False, indent=2))
    else:
        print(fitted(format_comparison(found, names, notes).splitlines()))
