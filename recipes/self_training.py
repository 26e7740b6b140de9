"""Trains a phone recogniser, transcribes recordings that nobody labelled, and trains on both, round by round.

    python recipes/self_training.py --config configs/ctc_phoneme/ky_1h.yaml --unlabelled DIR --rounds 2 --data.root DIR

What `unispeech-ft self-train` does; `commands/self_train.py` is what to read next.
"""

from __future__ import annotations

import argparse

from unispeech_ft.cli import main

if __name__ == "__main__":
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--config", default=argparse.SUPPRESS)
    given, words = parser.parse_known_args()
    main(["self-train", *vars(given).values(), *words])  # the command takes the YAML as its first word
