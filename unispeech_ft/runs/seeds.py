"""Runs that differ in nothing but their seed, reported together."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unispeech_ft.config.sections import RunConfig
from unispeech_ft.scoring import Summary


def summarize_seeds(configs: Sequence[RunConfig], summaries: Sequence[Sequence[Summary]]) -> dict[str, Any]:
    """What `summary.json` of several seeds holds: for each split the PERs, their mean and standard deviation.

    Args:
        configs: of the runs, in order.
        summaries: of each run's splits.

    Returns:
        `seeds`, `runs` (folders), and `splits`: by name, `per` (fractions, in the order of the seeds), `mean` and `sd`
        (of a sample, divisor n - 1; None for a single seed). A PER that is unknown in one run is unknown in all.
    """
    splits: dict[str, dict[str, Any]] = {}
    for name in dict.fromkeys(str(summary.split) for run in summaries for summary in run):
        found = [summary.per for run in summaries for summary in run if summary.split == name]
        known = [per for per in found if per is not None]
        if len(known) == len(configs):
            spread = statistics.stdev(known) if len(known) > 1 else None
            splits[name] = {"per": known, "mean": statistics.fmean(known), "sd": spread}
        else:
            splits[name] = {"per": None, "mean": None, "sd": None}
    return {
        "seeds": [config.seed for config in configs],
        "runs": [config.output_dir for config in configs],
        "splits": splits,
    }


def seed_lines(summary: dict[str, Any]) -> list[str]:
    """The outcome for people, a line a split."""
    lines = []
    for name, split in summary["splits"].items():
        if split["mean"] is None:
            lines.append(f"{name}: no PER in some of the runs, so no mean")
            continue
        each = ", ".join(f"{100 * per:.2f}" for per in split["per"])
        spread = "" if split["sd"] is None else f" ± {100 * split['sd']:.2f} (mean ± standard deviation)"
        seeds = ", ".join(map(str, summary["seeds"]))
        lines.append(f"{name} PER {100 * split['mean']:.2f}{spread} %, seeds {seeds}: {each}")
    return lines


def report_seeds(configs: Sequence[RunConfig], summaries: Sequence[Sequence[Summary]]) -> None:
    """Writes `summary.json` beside the runs of several seeds, and prints it."""
    summary = summarize_seeds(configs, summaries)
    path = Path(configs[0].output_dir).parent / "summary.json"
    path.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    print("\n".join([*seed_lines(summary), f"seeds: {path}"]))
