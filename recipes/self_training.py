"""Trains a phone recogniser, transcribes recordings that nobody labelled, and trains on both, round by round.

    python recipes/self_training.py --config configs/ctc_phoneme/ky_1h.yaml --unlabelled DIR --rounds 2 --data.root DIR

What `unispeech-ft self-train` does; `commands/self_train.py` is what to read next.
"""

from __future__ import annotations

import sys

from unispeech_ft.cli import main

if __name__ == "__main__":
    words = sys.argv[1:]
    if "--config" in words:  # the command takes the YAML as its first word
        place = words.index("--config")
        words = [*words[place + 1 : place + 2], *words[:place], *words[place + 2 :]]
    main(["self-train", *words])
