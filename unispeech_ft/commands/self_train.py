"""`unispeech-ft self-train CONFIG --unlabelled PATH … [--rounds N] [--keep SHARE] [--section.key VALUE …]`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from unispeech_ft.commands import phone_recogniser
from unispeech_ft.commands.train import add_launch_options, given_keys, run_recipe

if TYPE_CHECKING:
    from unispeech_ft.tasks.ctc_phoneme.config import CtcPhonemeConfig
    from unispeech_ft.transcription.unlabelled import Recording

NOTE = "self_training.json"
SUMMARY = "Train, transcribe recordings that nobody labelled, and train on both."


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.usage = (
        "%(prog)s [-h] CONFIG --unlabelled PATH ... [--rounds N] [--keep SHARE] [--KEY VALUE ...]"
        " [--section.key VALUE ...]"
    )
    parser.epilog = (
        "Round 0 is the plain run, in output_dir-self/round-0; each further round starts anew and trains on the"
        " labelled speech and on the surest transcripts of the round before. Recordings of the corpus and of speakers"
        " who are in validation or test are left out. What is there already is kept, so that an interrupted training"
        " goes on."
    )
    parser.add_argument("config", metavar="CONFIG", help="YAML of a phone recogniser, or the name of a shipped one")
    unlabelled = "recordings, folders of them, or tables of them with a column of speakers"
    parser.add_argument("--unlabelled", metavar="PATH", nargs="+", required=True, help=unlabelled)
    parser.add_argument("--rounds", metavar="N", type=int, default=1, help="after round 0 (default: 1)")
    keep = "of the transcribed time that is trained on, the surest first (default: 0.7)"
    parser.add_argument("--keep", metavar="SHARE", type=float, default=0.7, help=keep)
    add_launch_options(parser)


def run(options: argparse.Namespace) -> int:
    """Makes the rounds that are missing and says what each brought; the status of a run that fails."""
    from unispeech_ft.errors import UserError, raise_all
    from unispeech_ft.runs.kept import is_done
    from unispeech_ft.tasks.ctc_phoneme.config import load_config
    from unispeech_ft.transcription.unlabelled import list_recordings

    if options.rounds < 1:
        raise UserError(f"--rounds {options.rounds} is not above 0", remedy="give a number from 1")
    if not 0 < options.keep <= 1:
        raise UserError(f"--keep {options.keep:g} is no share", remedy="give one above 0 and up to 1")
    file = phone_recogniser(options.config)
    overrides: dict[str, object] = {**given_keys(options)}
    plain = load_config(file, overrides)
    _check(plain)
    recordings, faults = list_recordings(options.unlabelled)
    raise_all(faults)
    strangers = _strangers(plain, recordings)
    output = Path(plain.output_dir)
    folder = output.with_name(f"{output.name}-self").absolute()
    _remember(folder, recordings, options.keep)
    for number in range(options.rounds + 1):
        place = folder / f"round-{number}"
        own = {"output_dir": str(place)}
        if number:
            own["data.further"] = str(folder / f"round-{number}.tsv")
            _label(folder, number, plain, strangers, options.keep)
        if is_done(place, load_config(file, {**overrides, **own})):
            continue
        print(f"=== round {number}: {place}", flush=True)
        status = run_recipe(file, options, {**own, "resume": "auto"})
        if status:
            return status
    print("\n".join(["", *_lines(folder, options.rounds)]))
    return 0


def _check(config: CtcPhonemeConfig) -> None:
    from unispeech_ft.errors import UserError, raise_all

    keys = [
        (config.resume is not False, "resume is given", "leave it out: what is there is kept"),
        (config.dry_run, "dry_run is true", "try the plain run with `unispeech-ft train … --dry_run true`"),
        (config.data.further is not None, "data.further is given", "leave it out: the rounds make their own"),
        (config.hub.push, "hub.push is true", "leave it out, and `unispeech-ft push` the round that you choose"),
        (config.probe.enabled, "probe.enabled is true", "leave it out: a probe leaves no model to transcribe with"),
    ]
    raise_all([UserError(what, remedy=remedy) for wrong, what, remedy in keys if wrong])


def _strangers(config: CtcPhonemeConfig, recordings: Sequence[Recording]) -> list[Recording]:
    """Those that may be trained on; prints how many may not, and of how many nobody knows."""
    from unispeech_ft.data.speech import list_corpus
    from unispeech_ft.errors import UserError
    from unispeech_ft.transcription.unlabelled import outside

    found, lines = outside(list_corpus(config.data, config.phonemes), recordings)
    for line in lines:
        print(line, flush=True)
    if not found:
        raise UserError(
            "--unlabelled names no recording that may be trained on",
            remedy="name others: not those of the corpus, nor of people who are in validation or test",
        )
    return found


def _remember(folder: Path, recordings: Sequence[Recording], keep: float) -> None:
    """Notes what the rounds are made of, so that rounds of something else are never mixed with them."""
    from unispeech_ft.errors import UserError
    from unispeech_ft.files import write_text

    unlabelled = {str(item.path.resolve()): item.speaker for item in recordings}
    said = json.dumps({"keep": keep, "unlabelled": unlabelled}, indent=2, sort_keys=True) + "\n"
    note = folder / NOTE
    if note.is_file() and note.read_text(encoding="utf-8") != said:
        raise UserError(
            f"{folder} holds rounds of other recordings or speakers, or of another --keep",
            remedy="name another --output_dir, or remove it",
        )
    folder.mkdir(parents=True, exist_ok=True)
    write_text(note, said)


def _label(folder: Path, number: int, config: CtcPhonemeConfig, recordings: Sequence[Recording], keep: float) -> None:
    """Writes the transcripts that a round trains on, by the model of the round before."""
    from unispeech_ft.errors import UserError
    from unispeech_ft.models.saved import load_saved
    from unispeech_ft.transcription.own_labels import OwnLabel, own_labels, surest, write_labels

    target = folder / f"round-{number}.tsv"
    if target.is_file():
        return
    import torch

    saved = load_saved(folder / f"round-{number - 1}" / "model", "cuda" if torch.cuda.is_available() else "cpu")
    labels: list[OwnLabel] = []
    for found in own_labels(saved, recordings, config.data.max_duration_s, config.data.channel):
        if isinstance(found, UserError):
            print(f"warning: {found.what}", flush=True)
        else:
            labels.append(found)
    kept = surest(labels, keep)
    if not labels:
        raise UserError(
            f"the model of round {number - 1} heard nothing in --unlabelled that could be trained on",
            remedy="train it longer, or name other recordings",
        )
    if not kept:
        raise UserError(
            f"--keep {keep:g} keeps none of {len(labels)} stretches: the surest alone is a larger share of their time",
            remedy="raise it, or name more recordings",
        )
    write_labels(target, kept)
    minutes = sum(label.end_s - label.start_s for label in kept) / 60
    sure = sum(label.confidence for label in kept) / len(kept)
    said = f"round {number}: {len(kept)} of {len(labels)} stretches, {minutes:.1f} minutes"
    print(f"{said}, of whose phones {100 * sure:.0f} % are probably right: {target}", flush=True)


def _lines(folder: Path, rounds: int) -> list[str]:
    """What each round scored, the difference from round 0, and which validation prefers."""
    from unispeech_ft.runs.compare import compare_runs

    lines: list[str] = []
    validation: dict[int, float] = {}
    for number in range(rounds + 1):
        place = folder / f"round-{number}"
        said = [f"round {number}:"]
        for split in ("validation", "test"):
            summary = place / "eval" / split / "summary.json"
            if summary.is_file():
                per = json.loads(summary.read_text(encoding="utf-8"))["per"]
                validation |= {number: per} if split == "validation" else {}
                said.append(f"{split} PER {100 * per:.2f} %")
        if number and (place / "eval" / "test").is_dir():
            found, _ = compare_runs(folder / "round-0", place)
            low, high = (100 * end for end in found.difference_ci95)
            said.append(f"({100 * found.difference:+.2f} points, 95 % interval {low:+.2f} to {high:+.2f})")
        lines.append(" ".join(said))
    if validation:
        best = min(validation, key=validation.__getitem__)
        lines.append(f"best on validation: {folder / f'round-{best}' / 'model'}")
    return lines
