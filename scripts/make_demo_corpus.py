"""Make the demo corpus: synthetic speech in the layout of a Common Voice release.

python scripts/make_demo_corpus.py /tmp/demo_corpus --languages ky --hours 1
"""

from __future__ import annotations

import argparse

from unispeech_ft.errors import run_command
from unispeech_ft.testing.corpus import make_corpus
from unispeech_ft.testing.prompts import LANGUAGES


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", metavar="ROOT", help="the folder to make")
    parser.add_argument("--languages", nargs="+", default=list(LANGUAGES), metavar="LANGUAGE")
    parser.add_argument("--hours", type=float, default=1.0, help="training hours for each language")
    parser.add_argument("--dev-hours", type=float, default=0.1)
    parser.add_argument("--test-hours", type=float, default=0.15)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    root = make_corpus(
        arguments.root,
        arguments.languages,
        train_hours=arguments.hours,
        dev_hours=arguments.dev_hours,
        test_hours=arguments.test_hours,
        seed=arguments.seed,
        processes=arguments.processes,
    )
    print(f"synthetic corpus: {root}")


if __name__ == "__main__":
    run_command(main)
