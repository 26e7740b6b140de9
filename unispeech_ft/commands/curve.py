"""`unispeech-ft curve CONFIG [--shares S …] [--more MIN …] [--section.key VALUE …]`."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from unispeech_ft.commands import phone_recogniser
from unispeech_ft.commands.train import add_launch_options, given_keys, run_recipe

if TYPE_CHECKING:
    from unispeech_ft.scoring.learning_curve import LearningCurve, Point
    from unispeech_ft.scoring.next_recording import PhoneToRecord, SpeakerSpread
    from unispeech_ft.tasks.ctc_phoneme.config import CtcPhonemeConfig

SUMMARY = "Train on parts of the speech, and tell from their errors what more of it would bring."
SHARES, MORE_MIN = (0.125, 0.25, 0.5, 1.0), (30.0, 60.0)
RESULT = "curve.json"


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.usage = "%(prog)s [-h] CONFIG [--shares S ...] [--more MIN ...] [--KEY VALUE ...] [--section.key VALUE ...]"
    parser.epilog = (
        "Makes a run for each share, in output_dir-curve/share-S, with the same number of updates and the same test"
        " split; a smaller share lies within a larger one, speaker by speaker where ten or more are known. Runs that"
        " are there already are kept, so an interrupted curve goes on. The interval is of one run's PER on that split."
    )
    parser.add_argument(
        "config", metavar="CONFIG", help="YAML of a phone recogniser, or the name of one of the package"
    )
    parser.add_argument(
        "--shares", metavar="S", type=float, nargs="+", default=list(SHARES), help="default: 0.125 0.25 0.5 1"
    )
    parser.add_argument(
        "--more", metavar="MIN", type=float, nargs="+", default=list(MORE_MIN), help="minutes more: default: 30 60"
    )
    add_launch_options(parser)


@dataclass(frozen=True)
class Part:
    """The run on a share of the speech."""

    share: float
    folder: Path
    config: CtcPhonemeConfig

    def results(self) -> Path:
        """The results on the test split, or on validation where there is no other.

        Raises:
            UserError: it scored neither.
        """
        from unispeech_ft.errors import UserError

        for split in ("test", "validation"):
            if (self.folder / "eval" / split / "summary.json").is_file():
                return self.folder / "eval" / split
        raise UserError(f"{self.folder} scored no split", remedy="name a test split in data.test")

    def point(self) -> Point:
        """What it trained on, and its errors (`results`)."""
        from unispeech_ft.scoring.learning_curve import Point

        facts = json.loads((self.folder / "training.json").read_text(encoding="utf-8"))
        said = json.loads((self.results() / "summary.json").read_text(encoding="utf-8"))
        errors = sum(said[kind] for kind in ("substitutions", "deletions", "insertions"))
        return Point(facts["splits"]["train"]["hours"], errors, said["reference_phones"])


def run(options: argparse.Namespace) -> int:
    """Makes the runs that are missing, prints the curve and writes curve.json; the status of a run that fails."""
    from unispeech_ft.errors import UserError
    from unispeech_ft.runs.kept import is_done
    from unispeech_ft.scoring.learning_curve import LEAST_POINTS, curve_lines, fit
    from unispeech_ft.scoring.next_recording import recording_lines

    shares = sorted(set(options.shares))
    if len(shares) < LEAST_POINTS or not all(0 < share <= 1 for share in shares):
        raise UserError(
            f"--shares {' '.join(f'{share:g}' for share in options.shares)} makes no curve",
            remedy=f"give at least {LEAST_POINTS} different ones above 0 and up to 1",
        )
    if not all(0 < minutes < math.inf for minutes in options.more):
        shown = " ".join(f"{minutes:g}" for minutes in options.more)
        raise UserError(f"--more {shown} cannot be used", remedy="give minutes above 0, for example --more 30 60")
    file = phone_recogniser(options.config)
    parts = _parts(file, options, shares)
    for part in parts:
        if is_done(part.folder, part.config):
            continue
        print(f"=== {100 * part.share:g} % of the speech: {part.folder}", flush=True)
        own = {"data.share": f"{part.share}", "output_dir": str(part.folder), "resume": "auto"}
        status = run_recipe(file, options, own)
        if status:
            return status
    if parts[0].config.dry_run:
        return 0
    curve = fit([part.point() for part in parts])
    lines = curve_lines(curve, options.more)
    phones, spread, notes = _next_recording(parts[-1])
    lines += recording_lines(phones, spread) + notes
    place = _write(curve, options.more, parts[0].folder.parent, phones, spread)
    print("\n".join(["", *lines, f"curve: {place}"]))
    return 0


def _next_recording(whole: Part) -> tuple[list[PhoneToRecord], SpeakerSpread | None, list[str]]:
    """What the errors of the run on the most speech say of what to record, and what could not be told.

    The labels of the training split are read again: a run leaves its inventory, but no counts.
    """
    from unispeech_ft.data.speech import open_speech
    from unispeech_ft.errors import UserError
    from unispeech_ft.scoring.next_recording import phones_to_record, speaker_spread
    from unispeech_ft.scoring.summary import read_hypotheses

    scores = read_hypotheses(whole.results() / "hypotheses.jsonl")
    spread = speaker_spread(scores)
    try:
        speech = open_speech(whole.config.data, whole.config.phonemes, wanted=("train",))
    except UserError as error:
        return [], spread, [f"which phones to record is not told, since training has to be counted: {error.what}"]
    return phones_to_record(scores, speech.splits["train"].phones), spread, []


def _parts(file: Path, options: argparse.Namespace, shares: Sequence[float]) -> list[Part]:
    from unispeech_ft.errors import UserError
    from unispeech_ft.tasks.ctc_phoneme.config import load_config

    overrides: dict[str, object] = {**given_keys(options)}
    whole = load_config(file, overrides)
    if whole.data.share != 1:
        raise UserError(f"data.share is {whole.data.share:g}", remedy="leave it out: --shares says what is used")
    if whole.resume is not False:
        raise UserError("resume is given", remedy="leave it out: an interrupted curve goes on by itself")
    output = Path(whole.output_dir)
    folder = output.with_name(f"{output.name}-curve")
    found = []
    for share in shares:
        place = folder / f"share-{share:g}"
        config = load_config(file, {**overrides, "data.share": f"{share}", "output_dir": str(place)})
        found.append(Part(share, place, config))
    return found


def _write(
    curve: LearningCurve,
    more_min: Sequence[float],
    folder: Path,
    phones: Sequence[PhoneToRecord],
    spread: SpeakerSpread | None,
) -> Path:
    from unispeech_ft.files import write_text

    middle, low, high = curve.exponent
    said = {
        "points": [{**point._asdict(), "per": point.per} for point in (*curve.left_out, *curve.points)],
        "left_out": len(curve.left_out),
        "exponent": {"median": middle, "low": low, "high": high},
        "more": [{"minutes": minutes, **curve.at(curve.hours + minutes / 60)._asdict()} for minutes in more_min],
        "phones_to_record": [item._asdict() for item in phones],
        "speakers": None if spread is None else asdict(spread),
    }
    write_text(folder / RESULT, json.dumps(said, indent=2) + "\n")
    return folder / RESULT
