"""`unispeech-ft lexicon TABLE [FILE]`: a first lexicon from a table of letters."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

SUMMARY = "Make a first lexicon of a text's words from a table of letters and their phones."


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "Prints word<TAB>phones for each different word, ready for --phonemes.labels lexicon --phonemes.lexicon FILE;"
        " correct by hand what the spelling does not tell. Words with letters that the table lacks are left out and"
        " said at the end, with status 2."
    )
    table = "lines of letters<TAB>phones separated by spaces; the longest letters that fit count, none are silent"
    parser.add_argument("table", metavar="TABLE", type=Path, help=table)
    parser.add_argument("file", metavar="FILE", nargs="?", default="-", help="UTF-8 text; by default or as -: stdin")
    parser.add_argument("--language", help="a Common Voice code, for its rule of capitals")


def run(options: argparse.Namespace) -> None:
    """Prints the lexicon."""
    from unispeech_ft.commands.phonemize import open_text, read_lines
    from unispeech_ft.errors import UserError
    from unispeech_ft.phonemes.lexicon import read_letters, spell
    from unispeech_ft.phonemes.normalise import fold, normalise_sentence

    table = read_letters(options.table)
    with open_text(options.file) as stream:
        lines = list(read_lines(stream, options.file))
    sentences = (normalise_sentence(line, language=options.language) for line in lines)
    words = Counter(fold(word, options.language) for sentence in sentences for word in sentence.split())
    lacking: Counter[str] = Counter()
    for word in sorted(words):
        phones, unknown = spell(word, table, options.language)
        lacking.update(unknown)
        if phones and not unknown:
            sys.stdout.write(f"{word}\t{' '.join(phones)}\n")
    if lacking:
        shown = " ".join(f"{letter} ({count} words)" for letter, count in lacking.most_common())
        raise UserError(f"{options.table} lacks {shown}", remedy="add lines for them, and make the lexicon again")
