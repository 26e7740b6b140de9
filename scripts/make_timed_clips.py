"""Make synthetic clips whose phone times are known: audio/NAME.mp3 and phones/NAME.TextGrid below a folder.

python scripts/make_timed_clips.py data/timed --language en --clips 80
"""

from __future__ import annotations

import argparse
from pathlib import Path

from unispeech_ft.errors import run_command
from unispeech_ft.testing.known_times import write_timed_clips
from unispeech_ft.testing.prompts import LANGUAGES


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", metavar="ROOT", type=Path, help="the folder to make")
    parser.add_argument("--language", default="en", choices=LANGUAGES)
    parser.add_argument("--split", default="dev", choices=("train", "dev", "test"), help="whose voices and sentences")
    parser.add_argument("--clips", type=int, default=80, metavar="N")
    arguments = parser.parse_args()
    write_timed_clips(arguments.root, arguments.language, arguments.split, arguments.clips)
    print(f"{arguments.clips} synthetic clips and the times of their phones: {arguments.root}")


if __name__ == "__main__":
    run_command(main)
