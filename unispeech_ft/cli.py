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
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import NoReturn

from unispeech_ft.commands import (
    align,
    app,
    audit,
    boundaries,
    compare,
    convert,
    curve,
    diarize,
    evaluate,
    export,
    lexicon,
    ngram,
    phonemize,
    pronounce,
    push,
    self_train,
    separate,
    shards,
    superb,
    targets,
    train,
    transcribe,
    verify,
    verify_speakers,
)
from unispeech_ft.config.overrides import parse_overrides
from unispeech_ft.errors import UserError, raise_all, run_command
from unispeech_ft.launching import before_torch_loads
from unispeech_ft.version import VERSION

Command = Callable[[argparse.Namespace], int | None]
TAKES_OVERRIDES: tuple[Command, ...] = (
    *(align.run, evaluate.run, verify.run, audit.run, ngram.run, superb.run),
    *(train.train, train.demo, curve.run, self_train.run),
)


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
    schema = command("schema", _schema, "Print the JSON Schema of a recipe's configuration.")
    schema.add_argument("recipe", metavar="RECIPE", nargs="?", default="ctc_phoneme", help="default: ctc_phoneme")
    phonemize.add_options(command("phonemize", phonemize.run, phonemize.SUMMARY))
    lexicon.add_options(command("lexicon", lexicon.run, lexicon.SUMMARY))
    score = command("score", _score, "Score hypotheses against references, lines of id<TAB>phones, or RTTM.")
    score.add_argument("reference", metavar="REF", help="file of references")
    score.add_argument("hypothesis", metavar="HYP", help="file of hypotheses")
    floor = "second labelling of the same utterances: print what it scores against REF, the reference floor"
    score.add_argument("--floor", metavar="FILE", help=floor)
    fold = "what counts as one phone: notation, length, diacritics or class, as in the ladder, or a file of them"
    score.add_argument("--fold", metavar="NAME", help=fold)
    score.add_argument("--json", action="store_true", help="print the whole summary as JSON")
    score.add_argument(
        "--collar", metavar="S", type=float, default=0.0, help="of RTTM files: not scored on either side of a boundary"
    )
    score.add_argument(
        "--skip_overlap", action="store_true", help="of RTTM files: speech of several at once is not scored"
    )
    transcribe.add_options(command("transcribe", transcribe.run, transcribe.SUMMARY))
    evaluate.add_options(command("evaluate", evaluate.run, evaluate.SUMMARY))
    ngram.add_options(command("ngram", ngram.run, ngram.SUMMARY))
    audit.add_options(command("audit", audit.run, audit.SUMMARY))
    boundaries.add_options(command("boundaries", boundaries.run, boundaries.SUMMARY))
    align.add_options(command("align", align.run, align.SUMMARY))
    compare.add_options(command("compare", compare.run, compare.SUMMARY))
    convert.add_options(command("convert", convert.run, convert.SUMMARY))
    pronounce.add_options(command("pronounce", pronounce.run, pronounce.SUMMARY))
    push.add_options(command("push", push.run, push.SUMMARY))
    verify.add_options(command("verify", verify.run, verify.SUMMARY))
    diarize.add_options(command("diarize", diarize.run, diarize.SUMMARY))
    separate.add_options(command("separate", separate.run, separate.SUMMARY))
    verify_speakers.add_options(command("verify-speakers", verify_speakers.run, verify_speakers.SUMMARY))
    export.add_options(command("export", export.run, export.SUMMARY))
    superb.add_options(command("superb", superb.run, superb.SUMMARY))
    shards.add_options(command("shards", shards.run, shards.SUMMARY))
    targets.add_options(command("targets", targets.run, targets.SUMMARY))
    command("recipes", train.list_recipes, train.LISTING)
    train.add_copy_options(command("copy", train.copy, train.COPYING))
    train.add_train_options(command("train", train.train, train.TRAINING))
    train.add_launch_options(command("demo", train.demo, train.SHOWING))
    curve.add_options(command("curve", curve.run, curve.SUMMARY))
    self_train.add_options(command("self-train", self_train.run, self_train.SUMMARY))
    app.add_options(command("app", app.run, app.SUMMARY))
    return parser


def _run(arguments: Sequence[str] | None) -> int | None:
    try:
        try:
            given = sys.argv[1:] if arguments is None else arguments
            overrides, words, override_faults = parse_overrides(given, dotted=True)
            parser = build_parser()
            options = _parse(parser, words)
            if overrides and options.run not in TAKES_OVERRIDES:
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


def _parse(parser: argparse.ArgumentParser, words: list[str]) -> argparse.Namespace:
    """The options of a command, which may stand between its arguments: argparse itself leaves an optional argument out
    that follows an option (`phonemize ky --stress FILE`), and cannot mend that from above a command."""
    commands = next(action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    command = commands.choices.get(words[0]) if words else None
    return command.parse_intermixed_args(words[1:]) if command else parser.parse_args(words)


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


def _schema(options: argparse.Namespace) -> None:
    from importlib import import_module

    from unispeech_ft.config.reading import json_schema
    from unispeech_ft.runs.shipped import RECIPES

    if options.recipe not in RECIPES:
        raise UserError(f"there is no recipe {options.recipe}", remedy=f"name one of {', '.join(RECIPES)}")
    task = "pretraining" if options.recipe == "pretrain" else options.recipe
    file = import_module(f"unispeech_ft.tasks.{task}.config").FILE
    print(json.dumps(json_schema(file.root), ensure_ascii=False, indent=2))


def _score(options: argparse.Namespace) -> None:
    if options.reference.endswith(".rttm"):
        if options.fold is not None:
            raise UserError("--fold goes with files of phones", remedy="leave it out")
        from unispeech_ft.scoring.diarization import score_rttm

        print(score_rttm(options.reference, options.hypothesis, options.collar, options.skip_overlap, options.json))
        return
    if options.collar or options.skip_overlap:
        raise UserError("--collar and --skip_overlap go with RTTM files", remedy="leave them out")
    from unispeech_ft.scoring.files import format_summary, score_files
    from unispeech_ft.scoring.ladder import ladder_lines

    scores, summary = score_files(options.reference, options.hypothesis, options.floor, options.fold)
    if options.json:
        print(json.dumps(asdict(summary), ensure_ascii=False, indent=2))
    else:
        rungs = [] if options.fold == "class" else ladder_lines(scores)
        print("\n".join(filter(None, [format_summary(summary), *rungs, summary.by_features])))


if __name__ == "__main__":
    main()
