"""Measures how far a model's phone boundaries lie from the true ones, on synthetic speech that it has never heard.

    python scripts/boundary_error.py runs/demo/model ky [--clips 120] [--split test]

espeak-ng speaks sentences of the demo's templates and reports when each phone starts; the model aligns them, with the
phones known and without. Beside it, the error of an untrained guess (phones spread evenly over the clip) and of other
rules for the boundary. It says nothing about human speech.
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
    from unispeech_ft.testing.boundary_error import measure
    from unispeech_ft.testing.known_times import timed_clips

    found = measure(load_saved(options.model), timed_clips(options.language, options.split, options.clips))
    print(f"{'boundary error in ms':<28}{'median':>8}{'95 %':>8}{'mean':>8}{'boundaries':>12}")
    for name, error in found.items():
        figures = f"{error.median_ms:8.1f}{error.p95_ms:8.1f}{error.mean_ms:8.1f}{error.boundaries:12,}"
        print(f"{name:<28}{figures}")


if __name__ == "__main__":
    run_command(main)
