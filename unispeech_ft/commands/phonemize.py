"""`unispeech-ft phonemize [LANGUAGE] [FILE]`: sentences in, phones out."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from unispeech_ft.phonemes.g2p import Pronunciation

SUMMARY = "Sentences in, phones out, line by line, as in training."
LINES_PER_BATCH = 1000


def add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("language", metavar="LANGUAGE", nargs="?", help="Common Voice code or espeak-ng's name: ky, fr, sv-SE …")
    add("file", metavar="FILE", nargs="?", default="-", help="UTF-8 text, a sentence a line; by default or as -: stdin")
    add("--list", action="store_true", help="print espeak-ng's languages and end")
    lexicon = "lines of word<TAB>phones, or a dictionary of MFA or Kaldi, instead of espeak-ng; needs no LANGUAGE"
    add("--lexicon", metavar="FILE", help=lexicon)
    add("--lexicon-fallback", action="store_true", help="let espeak-ng pronounce words that the lexicon lacks")
    add("--segment", action="store_true", help="the lexicon has no spaces between its phones: panphon cuts them")
    add("--epitran", action="store_true", help="epitran instead of espeak-ng; LANGUAGE is its name, such as kaz-Cyrl")
    rule = "text (default): only sentence marks and brackets go; published: every mark becomes a space"
    add("--normalise", choices=("text", "published"), default="text", help=rule)
    flags = "words that espeak-ng reads in another language: remove their flags (default), or drop the sentence"
    add("--language-flags", choices=("remove", "drop"), default="remove", help=flags)
    add("--stress", action="store_true", help="keep stress marks")
    add("--tones", choices=("vowel", "token"), default="vowel", help="tones stay with their vowel, or are phones")
    add("--punctuation", action="store_true", help="keep punctuation marks as phones")
    add("--map", metavar="MAP", default="none", help="none (default), ipa, or a file of phone<TAB>phones")


def run(options: argparse.Namespace) -> None:
    """Prints the phones of each line, and on stderr which lines have none and why."""
    from unispeech_ft.config.sections import PhonemesConfig
    from unispeech_ft.errors import UserError
    from unispeech_ft.phonemes.espeak import supported_languages
    from unispeech_ft.phonemes.g2p import G2P, pronounce, unknown_words

    if options.list:
        print("\n".join(supported_languages()))
        return
    if options.lexicon_fallback and not options.lexicon:
        raise UserError("--lexicon-fallback is given without --lexicon", remedy="name the lexicon, or leave it out")
    lexicon_alone = options.lexicon and not options.lexicon_fallback
    if lexicon_alone and options.file == "-" and options.language and Path(options.language).is_file():
        options.language, options.file = None, options.language
    if options.language is None and not lexicon_alone:
        raise UserError("LANGUAGE is missing", remedy="name one of `unispeech-ft phonemize --list`")
    section = PhonemesConfig(
        labels="lexicon" if options.lexicon else "epitran" if options.epitran else "espeak",
        **{
            name: getattr(options, name)
            for name in (
                "lexicon", "lexicon_fallback", "segment", "normalise", "language_flags", "stress", "tones",
                "punctuation", "map",
            )
        },
    )  # fmt: skip
    g2p = G2P.from_config(section, options.language)
    words: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    with open_text(options.file) as stream:
        size = 1 if stream.isatty() else LINES_PER_BATCH
        for sentences in _batches(read_lines(stream, options.file), size):
            pronunciations = pronounce(sentences, g2p)
            sys.stdout.writelines(" ".join(item.phones) + "\n" for item in pronunciations)
            words.update(unknown_words(item.fault for item in pronunciations))
            reasons.update(_reasons(sentences, pronunciations))
    _report_unpronounced(words, reasons)


def open_text(name: str) -> AbstractContextManager[BinaryIO]:
    """A text file by name, or stdin as `-`.

    Raises:
        UserError: it cannot be read.
    """
    from unispeech_ft.errors import UserError

    if name == "-":
        return nullcontext(sys.stdin.buffer)
    try:
        return Path(name).open("rb")
    except OSError as error:
        raise UserError(
            f"{name} cannot be read ({error.strerror})", remedy="name a text file, or - for stdin"
        ) from None


def read_lines(stream: BinaryIO, name: str) -> Iterator[str]:
    """Lines of UTF-8 text without their LF or CRLF; nothing else ends a line, and a byte order mark is dropped.

    Args:
        stream: is read as the lines are asked for.
        name: of the stream, in faults.

    Raises:
        UserError: a line is not UTF-8.
    """
    from unispeech_ft.errors import UserError

    for number, line in enumerate(stream, start=1):
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError:
            raise UserError(f"{name}, line {number} is not UTF-8", remedy="save the text as UTF-8") from None
        yield text.removesuffix("\n").removesuffix("\r")


def _batches(lines: Iterable[str], size: int) -> Iterator[list[str]]:
    iterator = iter(lines)
    while batch := list(islice(iterator, size)):
        yield batch


def _reasons(sentences: Sequence[str], pronunciations: Sequence[Pronunciation]) -> Iterator[str]:
    from unispeech_ft.phonemes.g2p import UNREADABLE

    for sentence, item in zip(sentences, pronunciations, strict=True):
        if item.fault and sentence.strip():
            yield item.fault if item.fault.startswith(UNREADABLE) else item.fault.partition(":")[0]


def _report_unpronounced(words: Counter[str], reasons: Counter[str]) -> None:
    for reason, lines in reasons.most_common():
        print(f"warning: {lines} {'line' if lines == 1 else 'lines'} without phones: {reason}", file=sys.stderr)
    for word, count in sorted(words.items(), key=lambda item: (-item[1], item[0])):
        print(f"{word}\t{count}", file=sys.stderr)
