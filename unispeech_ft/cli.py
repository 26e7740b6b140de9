"""The command `unispeech-ft`.

A new command is one function from its options to an exit status, and one entry in `build_parser`. Everything heavier
than argparse is imported inside the function, so that `--help` answers at once.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import select
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NoReturn

from unispeech_ft.commands import align, audit, compare, convert, evaluate, export, ngram, push, transcribe, verify
from unispeech_ft.config.overrides import parse_overrides
from unispeech_ft.errors import UserError, raise_all, run_command
from unispeech_ft.launching import before_torch_loads
from unispeech_ft.version import VERSION

if TYPE_CHECKING:
    from unispeech_ft.phonemes.g2p import Pronunciation

Command = Callable[[argparse.Namespace], int | None]
LINES_PER_BATCH = 1000


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Runs one command and ends the process: 0 done, 2 the user can mend it, 1 a fault of ours.

    Args:
        arguments: the words after `unispeech-ft`; None takes them from the command line.
    """
    before_torch_loads()
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")
    run_command(lambda: _run(arguments))


def build_parser() -> argparse.ArgumentParser:
    """Every command with its options; `run` of the parsed options is the command's function."""
    parser = argparse.ArgumentParser(
        prog="unispeech-ft", description="One hour of speech in, a phone recogniser out.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"unispeech-ft {VERSION}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Command, summary: str) -> argparse.ArgumentParser:
        entry = commands.add_parser(name, help=summary, description=summary, allow_abbrev=False)
        entry.set_defaults(run=run)
        return entry

    doctor = command("doctor", _doctor, "Show every version that matters, what is broken, and how to mend it.")
    doctor.add_argument("--json", action="store_true", help="print the checks as JSON")
    command("schema", _schema, "Print the JSON Schema of the configuration.")
    _add_phonemize_options(command("phonemize", _phonemize, "Sentences in, phones out, line by line, as in training."))
    score = command("score", _score, "Score hypotheses against references, lines of id<TAB>phones.")
    score.add_argument("reference", metavar="REF", help="file of references")
    score.add_argument("hypothesis", metavar="HYP", help="file of hypotheses")
    floor = "second labelling of the same utterances: print what it scores against REF, the reference floor"
    score.add_argument("--floor", metavar="FILE", help=floor)
    score.add_argument("--json", action="store_true", help="print the whole summary as JSON")
    transcribe.add_options(command("transcribe", transcribe.run, transcribe.SUMMARY))
    evaluate.add_options(command("evaluate", evaluate.run, evaluate.SUMMARY))
    ngram.add_options(command("ngram", ngram.run, ngram.SUMMARY))
    audit.add_options(command("audit", audit.run, audit.SUMMARY))
    align.add_options(command("align", align.run, align.SUMMARY))
    compare.add_options(command("compare", compare.run, compare.SUMMARY))
    convert.add_options(command("convert", convert.run, convert.SUMMARY))
    push.add_options(command("push", push.run, push.SUMMARY))
    verify.add_options(command("verify", verify.run, verify.SUMMARY))
    export.add_options(command("export", export.run, export.SUMMARY))
    return parser


def _run(arguments: Sequence[str] | None) -> int | None:
    try:
        try:
            given = sys.argv[1:] if arguments is None else arguments
            overrides, words, override_faults = parse_overrides(given, dotted=True)
            parser = build_parser()
            options = parser.parse_args(words)
            if overrides and options.run not in (evaluate.run, verify.run, audit.run, ngram.run):
                parser.error(f"unrecognized arguments: {' '.join(f'--{key}' for key in overrides)}")
            raise_all(override_faults)
            options.overrides = overrides
            status: int | None = options.run(options)
        finally:
            sys.stdout.flush()
        return status
    except OSError as error:
        no_space = error.errno == errno.ENOSPC
        if not no_space and not (error.errno == errno.EPIPE and _reader_is_gone()):
            raise
        # What is still buffered would fail again when the interpreter flushes it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error.__context__, UserError):
            raise error.__context__ from None
        if no_space:
            raise UserError("no space is left to write to", remedy="free some, or write elsewhere") from None
        return 0


def _reader_is_gone() -> bool:
    """Whether stdout is a pipe that nobody reads any more, as after `| head`."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


def _doctor(options: argparse.Namespace) -> None:
    from unispeech_ft.doctor import examine, faults, format_checks

    checks = examine()
    print(json.dumps([asdict(check) for check in checks], indent=2) if options.json else format_checks(checks))
    for check in checks:
        if check.remedy and not check.needed:
            print(f"warning: {check.name}: {check.fault}: {check.remedy}", file=sys.stderr)
    raise_all(faults(checks))


def _schema(_: argparse.Namespace) -> None:
    from unispeech_ft.tasks.ctc_phoneme.config import CtcPhonemeConfig

    print(json.dumps(CtcPhonemeConfig.model_json_schema(), ensure_ascii=False, indent=2))


def _score(options: argparse.Namespace) -> None:
    from unispeech_ft.scoring.files import format_summary, score_files
    from unispeech_ft.scoring.ladder import ladder_lines

    scores, summary = score_files(options.reference, options.hypothesis, options.floor)
    if options.json:
        print(json.dumps(asdict(summary), ensure_ascii=False, indent=2))
    else:
        print("\n".join([format_summary(summary), *ladder_lines(scores)]))


def _add_phonemize_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("language", metavar="LANGUAGE", nargs="?", help="Common Voice code or espeak-ng's name: ky, fr, sv-SE …")
    add("file", metavar="FILE", nargs="?", default="-", help="UTF-8 text, a sentence a line; by default or as -: stdin")
    add("--list", action="store_true", help="print espeak-ng's languages and end")
    add("--lexicon", metavar="FILE", help="lines of word<TAB>phones, used instead of espeak-ng")
    add("--lexicon-fallback", action="store_true", help="let espeak-ng pronounce words that the lexicon lacks")
    flags = "words that espeak-ng reads in another language: remove their flags (default), or drop the sentence"
    add("--language-flags", choices=("remove", "drop"), default="remove", help=flags)
    add("--stress", action="store_true", help="keep stress marks")
    add("--punctuation", action="store_true", help="keep punctuation marks as phones")
    add("--map", metavar="MAP", default="none", help="none (default), ipa, or a file of phone<TAB>phones")


def _phonemize(options: argparse.Namespace) -> None:
    from unispeech_ft.config.sections import PhonemesConfig
    from unispeech_ft.phonemes.espeak import supported_languages
    from unispeech_ft.phonemes.g2p import G2P, pronounce, unknown_words

    if options.list:
        print("\n".join(supported_languages()))
        return
    if options.language is None:
        raise UserError("LANGUAGE is missing", remedy="name one of `unispeech-ft phonemize --list`")
    if options.lexicon_fallback and not options.lexicon:
        raise UserError("--lexicon-fallback is given without --lexicon", remedy="name the lexicon, or leave it out")
    section = PhonemesConfig(
        labels="lexicon" if options.lexicon else "espeak",
        lexicon=options.lexicon,
        lexicon_fallback=options.lexicon_fallback,
        language_flags=options.language_flags,
        stress=options.stress,
        punctuation=options.punctuation,
        map=options.map,
    )
    g2p = G2P.from_config(section, options.language)
    words: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    with _open_text(options.file) as stream:
        size = 1 if stream.isatty() else LINES_PER_BATCH
        for sentences in _batches(read_lines(stream, options.file), size):
            pronunciations = pronounce(sentences, g2p)
            sys.stdout.writelines(" ".join(item.phones) + "\n" for item in pronunciations)
            words.update(unknown_words(item.fault for item in pronunciations))
            reasons.update(_reasons(sentences, pronunciations))
    _report_unpronounced(words, reasons)


def _open_text(name: str) -> AbstractContextManager[BinaryIO]:
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
    for sentence, item in zip(sentences, pronunciations, strict=True):
        if item.fault and sentence.strip():
            yield item.fault.partition(":")[0]


def _report_unpronounced(words: Counter[str], reasons: Counter[str]) -> None:
    for reason, lines in reasons.most_common():
        print(f"warning: {lines} {'line' if lines == 1 else 'lines'} without phones: {reason}", file=sys.stderr)
    for word, count in sorted(words.items(), key=lambda item: (-item[1], item[0])):
        print(f"{word}\t{count}", file=sys.stderr)


if __name__ == "__main__":
    main()
