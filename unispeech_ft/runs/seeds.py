"""Runs that differ in nothing but their seed, reported together."""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from unispeech_ft.config.reading import ConfigFile, Run, read_configs
from unispeech_ft.config.sections import RunConfig
from unispeech_ft.runs.directory import reserved


def summarize_seeds(
    configs: Sequence[RunConfig], summaries: Sequence[Sequence[Any]], figure: str = "per"
) -> dict[str, Any]:
    """What `summary.json` of several seeds holds: for each split a figure of each, their mean and standard deviation.

    Args:
        configs: of the runs, in order.
        summaries: of each run's splits.
        figure: the name of a figure in them.

    Returns:
        `seeds`, `runs` (folders), and `splits`: by name, the figure (in the order of the seeds), `mean` and
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


def seed_lines(summary: dict[str, Any], figure: str = "per", name: str = "PER", unit: str = "%") -> list[str]:
    """The outcome for people, a line a split."""
    scale = 100 if unit == "%" else 1
    lines = []
    for place, split in summary["splits"].items():
        if split["mean"] is None:
            lines.append(f"{place}: no {name} in some of the runs, so no mean")
            continue
        each = ", ".join(f"{scale * value:.2f}" for value in split[figure])
        spread = "" if split["sd"] is None else f" ± {scale * split['sd']:.2f} (mean ± standard deviation)"
        seeds = ", ".join(map(str, summary["seeds"]))
        lines.append(f"{place} {name} {scale * split['mean']:.2f}{spread} {unit}, seeds {seeds}: {each}")
    return lines


def run_each(
    file: ConfigFile[Run],
    run: Callable[..., Sequence[Any]],
    figure: str = "per",
    name: str = "PER",
    unit: str = "%",
) -> None:
    """What recipes do: a run of each seed that the command line asks for.

    Several leave `summary.json` beside their runs, and its lines on the terminal.

    Args:
        file: of the recipe.
        run: makes one run of a configuration and is told by `last` whether it is the last; returns the summaries of
            the splits that it scored, on the first process alone.
        figure: the name of a figure in the summaries.
        name: of it, for people.
        unit: of it, for people; what is said in per cent is a fraction in the summaries.

    Raises:
        UserError: a fault of the configuration, or of a run.
    """
    configs = read_configs(file, sys.argv[1:])
    summaries = []
    for config in configs:
        with reserved(config):
            summaries.append(run(config, last=config is configs[-1]))
    if len(configs) > 1 and all(summaries):
        summary = summarize_seeds(configs, summaries, figure)
        path = Path(configs[0].output_dir).parent / "summary.json"
        path.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
        print("\n".join([*seed_lines(summary, figure, name, unit), f"seeds: {path}"]))
