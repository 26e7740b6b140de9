"""`unispeech-ft verify REPO_OR_FOLDER [--config C] [--section.key VALUE …]`."""

from __future__ import annotations

import argparse

from unispeech_ft.commands import add_model, phone_recogniser

SUMMARY = "Compute the PER of a published model again from its hypotheses, and its references from the speech."
FOUND_WANTING = 3


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.usage = "%(prog)s [-h] REPO_OR_FOLDER [--revision R] [--config C] [--section.key VALUE ...]"
    parser.epilog = (
        "Prints `true` where the references were built again from the speech and everything holds, `self-consistent`"
        " where there was no speech to compare with, or `not true:` with the names of what does not hold (status 3):"
        " missing, unreadable, split, references, hypotheses, summary, data, card. Hypotheses are taken as published;"
        " `unispeech-ft evaluate` decodes them again."
    )
    add_model(parser, "REPO_OR_FOLDER", "run, downloaded folder")
    config = "YAML of the speech, the name of one of the package, or a run; --section.key VALUE sets its keys"
    parser.add_argument("--config", metavar="C", help=config)


def run(options: argparse.Namespace) -> int:
    """Prints the verdict; 3 where something does not hold."""
    from unispeech_ft.errors import UserError, one_line
    from unispeech_ft.hub.task_evidence import check_task_folder
    from unispeech_ft.hub.verify import check_folder, fetch
    from unispeech_ft.tasks.published import card_of

    if options.overrides and options.config is None:
        raise UserError(
            f"--{next(iter(options.overrides))} has no effect without --config", remedy="name the YAML as well"
        )
    folder = fetch(options.model, options.revision)
    card = card_of(folder)
    if card is not None and options.config is not None:
        raise UserError(f"--config has no effect on a model of {card.task}", remedy="leave it out")
    verdict = check_folder(folder) if card is None else check_task_folder(folder, card)
    if options.config is not None:
        from unispeech_ft.hub.rebuild import check_data
        from unispeech_ft.tasks.ctc_phoneme.config import load_config

        config = load_config(phone_recogniser(options.config), {"dry_run": False, **options.overrides}, first_seed=True)
        verdict = check_data(folder, verdict, config)
    names = dict.fromkeys(fault.name for fault in verdict.faults)
    held = "self-consistent" if options.config is None else "true"
    print(f"not true: {', '.join(names)}" if names else held)
    for fault in verdict.faults:
        print(f"  {fault.name}: {one_line(fault.found)}")
    for text in verdict.unchecked:
        print(f"  not checked: {text}")
    return FOUND_WANTING if names else 0
