"""Runs that differ in nothing but their seed, reported together."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unispeech_ft.config.sections import RunConfig


def summarize_seeds(
    configs: Sequence[RunConfig], summaries: Sequence[Sequence[Any]], figure: str = "per"
) -> dict[str, Any]:
    """What `summary.json` of several seeds holds: for each split a figure of each, their mean and standard deviation.

    Args:
        configs: of the runs, in order.
        summaries: of each run's splits.
        figure: the name of a fraction in them.

    Returns:
        `seeds`, `runs` (folders), and `splits`: by name, the figure (fractions, in the order of the seeds), `mean` and
        `sd` (of a sample, divisor n - 1; None for a single seed). A figure unknown in one run is unknown in all.
    """
    splits: dict[str, dict[str, Any]] = {}
    for name in dict.fromkeys(str(summary.split) for run in summaries for summary in run):
        found = [getattr(summary, figure) for run in summaries for summary in run if summary.split == name]
        known = [value for value in found if value is not None]
        if len(known) == len(configs):
            spread = statistics.stdev(known) if len(known) > 1 else None
            splits[name] = {figure: known, "mean": statistics.fmean(known), "sd": spread}
        else:
            splits[name] = {figure: None, "mean": None, "sd": None}
    return {
        "seeds": [config.seed for config in configs],
        "runs": [config.output_dir for config in configs],
        "splits": splits,
    }


def seed_lines(summary: dict[str, Any], figure: str = "per", name: str = "PER") -> list[str]:
    """The outcome for people, a line a split."""
    lines = []
    for place, split in summary["splits"].items():
        if split["mean"] is None:
            lines.append(f"{place}: no {name} in some of the runs, so no mean")
            continue
        each = ", ".join(f"{100 * per:.2f}" for per in split[figure])
        spread = "" if split["sd"] is None else f" ± {100 * split['sd']:.2f} (mean ± standard deviation)"
        seeds = ", ".join(map(str, summary["seeds"]))
        lines.append(f"{place} {name} {100 * split['mean']:.2f}{spread} %, seeds {seeds}: {each}")
    return lines


def report_seeds(
    configs: Sequence[RunConfig], summaries: Sequence[Sequence[Any]], figure: str = "per", name: str = "PER"
) -> None:
    """Writes `summary.json` beside the runs of several seeds, and prints it.

    Args:
        figure: the name of a fraction in the summaries.
        name: of it, for people.
    """
    summary = summarize_seeds(configs, summaries, figure)
    path = Path(configs[0].output_dir).parent / "summary.json"
    path.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    print("\n".join([*seed_lines(summary, figure, name), f"seeds: {path}"]))
