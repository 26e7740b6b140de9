"""`unispeech-ft superb MODEL --data TASK=PLACE …`."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from unispeech_ft.config.sections import RunConfig

SUMMARY = "Probe a frozen encoder on the tasks of SUPERB whose data is at hand."


class Room(NamedTuple):
    """A task of SUPERB: the recipe that probes it, the YAML in the recipe's folder, and the figure of its summary."""

    recipe: str
    yaml: str
    figure: str


TASKS = {
    "ks": Room("audio_classification", "superb_ks.yaml", "accuracy"),
    "ic": Room("audio_classification", "superb_ic.yaml", "accuracy"),
    "er": Room("audio_classification", "superb_er.yaml", "accuracy"),
    "sid": Room("audio_classification", "superb_sid.yaml", "accuracy"),
    "pr": Room("ctc_phoneme", "superb.yaml", "per"),
    "asv": Room("speaker_verification", "superb.yaml", "eer"),
    "sd": Room("speaker_diarization", "superb.yaml", "der"),
}


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.usage = "%(prog)s [-h] MODEL --data TASK=PLACE [TASK=PLACE ...] [--output DIR] [--section.key VALUE ...]"
    parser.epilog = (
        f"TASK is one of {', '.join(TASKS)}. PLACE is a YAML of the task's recipe with probe.enabled, or else data for"
        " the one in configs/: a manifest beside its audio, or a folder. --section.key VALUE sets a key of every task."
        " Each run lies in DIR/TASK. Published figures stand beside those of a published model, on SUPERB's own data."
    )
    parser.add_argument("model", metavar="MODEL", help="model folder, packaged:NAME, or Hub id")
    parser.add_argument("--data", metavar="TASK=PLACE", nargs="+", required=True, help="what to probe, on what")
    parser.add_argument("--output", metavar="DIR", type=Path, help="default: runs/superb/NAME of the model")


def run(options: argparse.Namespace) -> None:
    """Reads every configuration, then probes one task after the other, and prints one table."""
    import json
    from importlib import import_module

    from unispeech_ft.errors import UserError, raise_all
    from unispeech_ft.runs.directory import reserved
    from unispeech_ft.training.sweep import SWEEP

    output = options.output or Path("runs/superb") / Path(options.model.replace(":", "/")).name
    configs: dict[str, RunConfig] = {}
    faults: list[UserError] = []
    for words in options.data:
        task, _, place = words.partition("=")
        if task not in TASKS or not place or task in configs:
            remedy = f"write TASK=PLACE once for each of {', '.join(TASKS)}"
            faults.append(UserError(f"--data {words} cannot be used", remedy=remedy))
            continue
        try:
            configs[task] = _config(task, place, {"model.base": options.model, **options.overrides}, output)
        except UserError as error:
            faults += getattr(error, "errors", [error])
    raise_all(faults)
    rows = []
    for task, config in configs.items():
        print(f"== {task}")
        with reserved(config):
            summaries = import_module(f"unispeech_ft.recipes.{TASKS[task].recipe}").run(config, last=False)
        chosen = json.loads((Path(config.output_dir) / SWEEP).read_text(encoding="utf-8"))["chosen_lr"]
        rows.append((task, f"{chosen:g}", _measured(summaries, TASKS[task].figure)))
    print("\n".join(["", *table(options.model, rows)]))


def _config(task: str, place: str, overrides: Mapping[str, object], output: Path) -> RunConfig:
    from importlib import import_module

    from unispeech_ft.config.reading import read_config
    from unispeech_ft.errors import UserError
    from unispeech_ft.runs.shipped import FOLDER, config_file

    path = Path(place).expanduser()
    if path.suffix in (".yaml", ".yml"):
        yaml = config_file(place)
    else:
        if not path.exists():
            raise UserError(
                f"--data {task}={place}: no such file or folder", remedy="name a YAML, a manifest or a folder"
            )
        yaml = FOLDER / TASKS[task].recipe / TASKS[task].yaml
        data = {"data.root": str(path)} if path.is_dir() else {"data.root": str(path.parent), "data.train": str(path)}
        overrides = data | dict(overrides)
    file = import_module(f"unispeech_ft.tasks.{TASKS[task].recipe}.config").FILE
    config: Any = read_config(file, yaml, {**overrides, "output_dir": str(output / task)})
    if not config.probe.enabled:
        raise UserError(f"--data {task}={place} is no probe", remedy="set probe.enabled true in it")
    return config  # type: ignore[no-any-return]


def _measured(summaries: list[Any], figure: str) -> str:
    """The figure of the test split with its interval, in %."""
    [summary] = [item for item in summaries if item.split == "test"] or [None]
    value = getattr(summary, figure, None)
    if value is None:
        return "no test split"
    ends = getattr(summary, f"{figure}_ci95")
    return f"{100 * value:.2f}" + (f" ({100 * ends[0]:.2f}–{100 * ends[1]:.2f})" if ends else "")


def published(model: str) -> dict[str, str]:
    """The published figures of a model by task, in %; none where none are."""
    import unispeech_ft.scoring

    text = Path(unispeech_ft.scoring.__file__).with_name("superb.tsv").read_text(encoding="utf-8")
    head, *rows = [line.split("\t") for line in text.splitlines() if not line.startswith("#")]
    return next((dict(zip(head, row, strict=True)) for row in rows if row[0] == model), {})


def table(model: str, rows: list[tuple[str, str, str]]) -> list[str]:
    """One line a task: the rate that validation chose, what was measured, and the published figure where there is one.

    Args:
        rows: task, rate, and figure of the test split.
    """
    known = published(model)
    lines = [["task", "figure", "rate", "measured here, %"]]
    lines += [[task, TASKS[task].figure, rate, found] for task, rate, found in rows]
    if known:
        beside = ["published, not measured here, %", *(known[task] for task, *_ in rows)]
        lines = [[*line, cell] for line, cell in zip(lines, beside, strict=True)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    said = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return [*said, *(["published figures are of SUPERB's own data; on other data they say nothing"] if known else [])]
