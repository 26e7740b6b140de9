"""Measures how well `unispeech-ft pronounce` tells phones that were said from those that were not, where that is known.

espeak-ng speaks sentences of the demo's templates with some letters changed, in voices that training never heard.

    python scripts/pronunciation_auc.py runs/demo/model ky [--clips 120] [--split test]
"""

from __future__ import annotations

import argparse

from unispeech_ft.errors import run_command


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", metavar="MODEL", help="model folder of a run on synthetic speech")
    parser.add_argument("language", metavar="LANGUAGE", choices=("ky", "fr", "es", "it"), help="ky, fr, es or it")
    parser.add_argument("--clips", type=int, default=120, help="default: 120")
    parser.add_argument("--split", choices=("train", "dev", "test"), default="test", help="voices and sentences")
    options = parser.parse_args()

    from unispeech_ft.models.saved import load_saved
    from unispeech_ft.testing.mispronounced import mispronounced_clips
    from unispeech_ft.testing.pronunciation_auc import measure

    clips = mispronounced_clips(options.language, options.split, options.clips)
    for name, found in measure(load_saved(options.model), clips).items():
        print(f"{name:<34}area under the curve {found.area:.4f}  ({found.wrong} of {found.phones} phones wrong)")


if __name__ == "__main__":
    run_command(main)
