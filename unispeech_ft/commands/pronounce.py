"""`unispeech-ft pronounce`: how well each phone of a known sentence was said."""

from __future__ import annotations

import argparse

from unispeech_ft.commands import add_model

SUMMARY = "Tell how well each phone of a known sentence was said, and what was said instead or besides."


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.usage = (
        "%(prog)s [-h] MODEL AUDIO (--phones P | --text T) [--language L] [--lexicon FILE] [--channel N] [--json]"
        " [--revision R]"
    )
    parser.epilog = "Right is 0 to 1: how likely the phone was said, among all that could have been said in its place."
    add_model(parser)
    parser.add_argument("audio", metavar="AUDIO", help="recording of the sentence")
    said = parser.add_mutually_exclusive_group(required=True)
    said.add_argument("--phones", metavar="P", help="what should be said, phones separated by spaces")
    said.add_argument("--text", metavar="T", help="what should be said, a sentence; needs --language or --lexicon")
    parser.add_argument("--language", metavar="L", help="of the sentence: a Common Voice code, or espeak-ng's name")
    lexicon = "pronunciations of the sentence's words, several a word: the one that fits best is taken"
    parser.add_argument("--lexicon", metavar="FILE", help=lexicon)
    channel = "of a recording with several channels, take this one, from 0 (default: the mean of all)"
    parser.add_argument("--channel", type=int, metavar="N", help=channel)
    parser.add_argument("--json", action="store_true", help="print a JSON object instead of a line a phone")


def run(options: argparse.Namespace) -> None:
    """Prints start, end, how likely right, phone and what was heard instead, a line each, or a JSON object."""
    from unispeech_ft.commands.align import words_reader
    from unispeech_ft.errors import UserError
    from unispeech_ft.models.saved import load_saved
    from unispeech_ft.transcription.pronunciation import as_json, lines_of, pronounce_file

    known = options.language is not None or options.lexicon is not None
    if options.text is not None and not known:
        raise UserError("--text needs --language", remedy="name the sentence's language, for example --language ky")
    if options.text is None and known:
        raise UserError("--language and --lexicon go with --text", remedy="leave them out")
    words = words_reader(options.language, options.lexicon)(options.phones if options.text is None else options.text)
    saved = load_saved(options.model, revision=options.revision)
    found = pronounce_file(saved, options.audio, words, options.channel)
    print(as_json(found) if options.json else "\n".join(lines_of(found)))
