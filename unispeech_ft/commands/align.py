"""`unispeech-ft align`: when each phone of a known sentence was said."""

from __future__ import annotations

import argparse
from pathlib import Path

SUMMARY = "Place the phones of a known sentence in time, by forced alignment."


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="model folder or Hub id")
    parser.add_argument("audio", metavar="AUDIO", help="recording of the sentence")
    said = parser.add_mutually_exclusive_group(required=True)
    said.add_argument("--phones", help="what was said, phones separated by spaces")
    said.add_argument("--text", help="what was said, a sentence; needs --language")
    parser.add_argument("--language", help="of the sentence: a Common Voice code, or espeak-ng's name")
    columns = "start, end, posterior and phone"
    parser.add_argument("--json", action="store_true", help=f"print one JSON object instead of {columns} a line")
    parser.add_argument("--textgrid", metavar="DIR", type=Path, help="also write a Praat TextGrid into DIR")


def run(options: argparse.Namespace) -> None:
    """Prints a line for each phone, start and end in seconds and posterior, or one JSON object."""
    from unispeech_ft import api
    from unispeech_ft.errors import UserError
    from unispeech_ft.transcription.textgrid import textgrid_paths, write_textgrid
    from unispeech_ft.transcription.transcripts import as_json

    if options.text is not None and options.language is None:
        raise UserError("--text needs --language", remedy="name the sentence's language, for example --language ky")
    phones = options.phones.split() if options.text is None else api.phonemize([options.text], options.language)[0]
    aligned = api.align(options.model, options.audio, phones)
    if options.textgrid:
        write_textgrid(aligned, *textgrid_paths(options.textgrid, [options.audio], [Path(options.audio)]))
    if options.json:
        print(as_json(aligned))
        return
    for item in aligned.phones:
        print(f"{item.start_s:.3f}\t{item.end_s:.3f}\t{item.posterior:.4f}\t{item.phone}")
