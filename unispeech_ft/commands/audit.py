"""`unispeech-ft audit CONFIG [--json] [--section.key VALUE …]`."""

from __future__ import annotations

import argparse

SUMMARY = "Find what would spoil a run, in labels, splits and recordings, before any GPU time."
FOUND_WANTING = 3


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.usage = "%(prog)s [-h] CONFIG [--json] [--section.key VALUE ...]"
    parser.epilog = (
        "Ends with status 3 where something would spoil the result. Published lists can be audited without audio: leave"
        " data.root null."
    )
    parser.add_argument("config", metavar="CONFIG", help="YAML that names speech and labels, or a run")
    parser.add_argument("--json", action="store_true", help="print findings and figures, speaker by speaker, as JSON")


def run(options: argparse.Namespace) -> int:
    """Prints the page or the JSON; 3 where a finding is serious."""
    import json
    from dataclasses import asdict

    from unispeech_ft.audit.findings import format_audit
    from unispeech_ft.audit.run import audit
    from unispeech_ft.tasks.ctc_phoneme.config import load_config

    config = load_config(options.config, {**options.overrides, "dry_run": True}, first_seed=True)
    found = audit(config)
    if options.json:
        print(json.dumps({"serious": found.serious, **asdict(found)}, ensure_ascii=False, indent=2))
    else:
        print(format_audit(found))
    return FOUND_WANTING if found.serious else 0
