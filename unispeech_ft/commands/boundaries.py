"""`unispeech-ft boundaries`: teaches a model where phones begin and end."""

from __future__ import annotations

import argparse
from pathlib import Path

SUMMARY = "Teach a model to place phones more finely than its frames, on synthetic speech whose times are known."


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "espeak-ng speaks the sentences in 40 voices and says when each phone starts; what is learnt is kept in the"
        " model folder, and `align`, `transcribe` and `pronounce` use it. The model itself stays as it is."
    )
    parser.add_argument("model", metavar="MODEL", type=Path, help="run directory or model folder")
    parser.add_argument("--language", required=True, metavar="L", help="a Common Voice code, or espeak-ng's name")
    text = "file with a sentence a line in that language (default for ky, fr, es, it: sentences of the demo)"
    parser.add_argument("--text", metavar="FILE", help=text)
    parser.add_argument("--sentences", type=int, default=200, metavar="N", help="at most so many; default: 200")


def run(options: argparse.Namespace) -> None:
    """Learns, writes `boundaries.safetensors` into the model folder, and prints where."""
    from dataclasses import replace

    from unispeech_ft.commands.phonemize import open_text, read_lines
    from unispeech_ft.models.boundaries import BOUNDARIES, save_boundaries
    from unispeech_ft.models.loader import model_folder
    from unispeech_ft.models.saved import load_saved
    from unispeech_ft.phonemes.espeak import espeak_language
    from unispeech_ft.testing.known_times import timed_clips, timed_sentences
    from unispeech_ft.testing.learn_boundaries import learn_boundaries

    folder = Path(model_folder(options.model))
    saved = replace(load_saved(folder), boundaries=None)
    if options.text is None:
        clips = timed_clips(options.language, "train", options.sentences)
    else:
        with open_text(options.text) as file:
            lines = [line.strip() for line in read_lines(file, options.text)]
        sentences = [line for line in lines if line][: options.sentences]
        clips = timed_sentences(espeak_language(options.language), "train", sentences)
    save_boundaries(folder, learn_boundaries(saved, clips))
    print(f"boundaries: {folder / BOUNDARIES}")
