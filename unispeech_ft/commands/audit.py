"""`unispeech-ft audit CONFIG [--json] [--section.key VALUE …]`."""

from __future__ import annotations

import argparse

from unispeech_ft.commands import phone_recogniser

SUMMARY = "Find what would spoil a run, in labels, splits and recordings, before any GPU time."
FOUND_WANTING = 3


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.usage = "%(prog)s [-h] CONFIG [--json] [--section.key VALUE ...]"
    parser.epilog = (
        "Ends with status 3 where something would spoil the result. Published lists can be audited without audio: leave"
        " data.root null."
    )
    parser.add_argument(
        "config", metavar="CONFIG", help="YAML of speech and labels, the name of one of the package, or a run"
    )
    parser.add_argument("--json", action="store_true", help="print findings and figures, speaker by speaker, as JSON")


def run(options: argparse.Namespace) -> int:
    """Prints the page or the JSON; 3 where a finding is serious."""
    import json
    from dataclasses import asdict

    from unispeech_ft.audit.findings import figure_lines, format_audit
    from unispeech_ft.audit.labelled import audit_labelled
    from unispeech_ft.audit.labelled import figure_lines as figure_lines_of_clips
    from unispeech_ft.audit.run import audit
    from unispeech_ft.errors import fitted
    from unispeech_ft.runs.shipped import config_file
    from unispeech_ft.tasks.ctc_phoneme.config import load_config
    from unispeech_ft.tasks.published import labelled_run

    overrides = {**options.overrides, "dry_run": True}
    labelled = labelled_run(config_file(options.config), overrides)
    if labelled is not None:
        found, describe = audit_labelled(*labelled), figure_lines_of_clips
    else:
        found, describe = audit(load_config(phone_recogniser(options.config), overrides, first_seed=True)), figure_lines
    if options.json:
        print(json.dumps({"serious": found.serious, **asdict(found)}, ensure_ascii=False, indent=2))
    else:
        print(fitted(format_audit(found, describe).splitlines()))
    return FOUND_WANTING if found.serious else 0
