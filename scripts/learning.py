"""What each way of learning more from the same speech brings, alone and together.

    python scripts/learning.py --real ../shared/data/speech

Three corpora: 10 minutes of synthetic Kyrgyz and of synthetic Spanish, tested on voices that no training heard, and,
with --real, one man's recordings of Spanish (cv_tsv/es.tsv), tested on other sentences of his and on other people. Each
arm has as many updates as today's recipe, and, where an update of it takes longer, once more as many as fit into the
same time; with several seeds each. Writes their tables, --page. Results that lie in --output already are kept, so
an interrupted run goes on. --dry runs everything with a few updates on minutes of speech.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from learning_arms import ARMS, Arm
from learning_corpora import EARLIER, Corpus, real, synthetic, without_labels
from miniature import DRY_UPDATES, FINETUNE, make_speech, pretrained, run, run_logged

from unispeech_ft.errors import run_command
from unispeech_ft.runs.compare import compare_runs
from unispeech_ft.scoring.feature_distance import feature_errors
from unispeech_ft.scoring.summary import read_hypotheses

# A file of a run: the processor's seconds.
CPU_S = "cpu_s"
# An update that takes so much longer than today's gets an arm of fewer updates beside it.
COSTLIER = 1.15


class Result(NamedTuple):
    """A run: its folder, PER and PFER rate on the test split, updates, the processor's seconds, PER on other people."""

    folder: Path
    per: float
    pfer: float | None
    updates: int
    cpu_s: float | None
    others: float | None


def result(folder: Path) -> Result | None:
    """What a run left; None where it has not ended."""
    summary = folder / "eval" / "test" / "summary.json"
    if not (folder / "training.json").is_file() or not summary.is_file():
        return None
    facts = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    found = feature_errors(read_hypotheses(folder / "eval" / "test" / "hypotheses.jsonl"))
    others, spent = folder / "eval" / "others" / "summary.json", folder / CPU_S
    return Result(
        folder,
        float(json.loads(summary.read_text(encoding="utf-8"))["per"]),
        None if found is None else found.rate,
        facts["updates"],
        float(spent.read_text(encoding="utf-8")) if spent.is_file() else None,
        float(json.loads(others.read_text(encoding="utf-8"))["per"]) if others.is_file() else None,
    )


def children_cpu_s() -> float:
    """Seconds that the processor has spent on programs started from here; a busy machine changes them little."""
    spent = os.times()
    return spent.children_user + spent.children_system


def score(corpus: Corpus, changes: Mapping[str, str], shared: Mapping[str, str], folder: Path) -> Result:
    """The run of an arm on a corpus, made where it is missing."""
    if result(folder) is None:
        begun: dict[str, object] = {"resume": "auto"} if folder.exists() else {}
        given: dict[str, object] = {**corpus.data, **shared, **changes, **begun, "output_dir": folder}
        before = children_cpu_s()
        run(FINETUNE, corpus.config, given, folder.with_name(f"{folder.name}.log"))
        if not begun:
            (folder / CPU_S).write_text(f"{children_cpu_s() - before:.2f}", encoding="utf-8")
    if corpus.others and not (folder / "eval" / "others" / "summary.json").is_file():
        speech = {key: value for key, value in corpus.data.items() if key.startswith("data.") and key not in EARLIER}
        words = [word for key, value in {**speech, **corpus.others}.items() for word in (f"--{key}", value)]
        command = [sys.executable, "-m", "unispeech_ft.cli", "evaluate", str(folder / "model"), "--split", "test"]
        command += ["--config", str(folder / "config.yaml"), "--output", str(folder / "eval" / "others"), *words]
        run_logged(command, folder.with_name(f"{folder.name}-others.log"))
    found = result(folder)
    assert found is not None
    return found


def self_trained(
    corpus: Corpus, changes: Mapping[str, str], shared: Mapping[str, str], unlabelled: Sequence[Path], folder: Path
) -> Result:
    """The first round of self-training of an arm on a corpus, made where it is missing; round 0 is the plain arm."""
    first = folder.with_name(f"{folder.name}-self") / "round-1"
    if result(first) is None:
        given = {**corpus.data, **shared, **changes}
        words = [word for key, value in given.items() for word in (f"--{key}", value)]
        command = [sys.executable, "-m", "unispeech_ft.cli", "self-train", str(corpus.config), *words]
        command += ["--output_dir", str(folder), "--unlabelled", *map(str, unlabelled)]
        run_logged(command, folder.with_name(f"{folder.name}.log"))
    found = result(first)
    assert found is not None
    return found


def scored(arm: Arm, corpus: Corpus, shared: Mapping[str, str], folder: Path) -> Result:
    """The run of an arm with a seed; what it starts from is made where it is missing."""
    changes, unlabelled = dict(arm.changes), corpus.unlabelled
    if arm.base is not None and corpus.pretraining is not None:
        make_speech(corpus.pretraining, dry=False)
        common: dict[str, object] = {key: shared[key] for key in ("data.cache_dir", "tracking.trackers")}
        output = folder.parent / "pretraining"
        base = pretrained(arm.base, int(shared["seed"]), corpus.pretraining, output, common)
        changes |= {"model.from_scratch": "false", "model.config": "null", "model.base": str(base)}
        unlabelled = without_labels(corpus.pretraining / "pretraining" / "ky")
    if arm.self_trains:
        return self_trained(corpus, changes, shared, unlabelled, folder)
    return score(corpus, changes, shared, folder)


def cost(found: Sequence[Result], today: Sequence[Result]) -> float | None:
    """How much longer an update of an arm takes than today's; None where runs were interrupted and nobody knows."""
    ratios = [
        (one.cpu_s / one.updates) / (other.cpu_s / other.updates)
        for one, other in zip(found, today, strict=True)
        if one.cpu_s and other.cpu_s
    ]
    return statistics.median(ratios) if ratios else None


def apart(found: Sequence[Result], today: Sequence[Result]) -> str:
    """How far an arm lies from today's recipe with each seed, with the interval of the paired bootstrap."""
    said = []
    for one, other in zip(found, today, strict=True):
        comparison, _ = compare_runs(other.folder, one.folder)
        low, high = comparison.difference_ci95
        said.append(f"{100 * comparison.difference:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})")
    return ", ".join(said)


def row(title: str, found: Sequence[Result], today: Sequence[Result]) -> str:
    """A line of the table."""
    mean = statistics.fmean(item.per for item in found)
    before = statistics.fmean(item.per for item in today)
    pfers = [item.pfer for item in found if item.pfer is not None]
    others = [item.others for item in found if item.others is not None]
    fewer = 100 * (1 - mean / before) if before else 0.0
    cells = [
        title,
        f"{found[0].updates:,}",
        ", ".join(f"{100 * item.per:.1f} %" for item in found),
        f"{100 * mean:.1f} %",
        "–" if found is today else f"{fewer:+.0f} %",
        "–" if found is today else apart(found, today),
        f"{100 * statistics.fmean(pfers):.1f} %" if pfers else "–",
        f"{100 * statistics.fmean(others):.1f} %" if others else "–",
    ]
    return f"| {' | '.join(cells)} |"


def table(
    corpus: Corpus, equal_updates: Mapping[str, Sequence[Result]], equal_time: Mapping[str, Sequence[Result]]
) -> list[str]:
    """The rows of a corpus, the one that others are compared to first: each arm at equal updates, and below it, where
    it is costlier, at equal time."""
    lines = [
        f"## {corpus.title}",
        "",
        "| arm | updates | PER, each seed | mean | fewer errors | points from first (paired) | PFER | others' PER |",
        "|---|---|---|---|---|---|---|---|",
    ]
    today = next(iter(equal_updates.values()))
    for arm, found in equal_updates.items():
        lines.append(row(ARMS[arm].title, found, today))
        if arm in equal_time:
            lines.append(row(f"{ARMS[arm].title}, equal time", equal_time[arm], today))
    return [*lines, ""]


def page(tables: Sequence[str], seeds: Sequence[int], command: str, dry: bool) -> str:
    """The page that the results make, whatever they are."""
    lines = [
        "# Learning more from the same speech",
        "",
        "Each row is today's recipe with one thing changed, the last with several. Self-training hears half an"
        " hour of the training voices without labels and trains twice. **Synthetic speech is espeak-ng's and says"
        " nothing about human speech**; the real recordings are of one man, and few. PFER is the distance in"
        " articulatory features, as a share of the reference's segments. Where the paired interval holds 0, nothing"
        " is shown for that seed.",
        "",
        *tables,
        f"Seeds: {', '.join(map(str, seeds))}. An arm at equal time has as many updates as fit into the processor's"
        f" time of today's recipe, where an update of it takes {100 * (COSTLIER - 1):.0f} % longer or more. Others' PER"
        " is that of the recordings in the same list that are not his.",
        "",
        f"Made by `{command}`" + (" as a dry run: the figures mean nothing." if dry else "."),
    ]
    return "\n".join(lines) + "\n"


def measure(
    corpus: Corpus, arms: Sequence[str], seeds: Sequence[int], shared: Mapping[str, str], output: Path
) -> list[str]:
    """Runs the arms on a corpus; the rows of its table."""
    equal_updates: dict[str, list[Result]] = {}
    equal_time: dict[str, list[Result]] = {}
    for name in arms:
        arm = ARMS[name]
        lacking = (arm.self_trains, corpus.unlabelled), (arm.base, corpus.pretraining)
        if any(needed and not there for needed, there in lacking):
            continue
        for seed in seeds:
            given, folder = {**shared, "seed": str(seed)}, output / f"{name}-{seed}"
            found = scored(arm, corpus, given, folder)
            equal_updates.setdefault(name, []).append(found)
            print(f"{corpus.title}: {arm.title}, seed {seed}: {100 * found.per:.2f} %", flush=True)
        today = next(iter(equal_updates.values()))
        longer = cost(equal_updates[name], today)
        if arm.self_trains or arm.base or longer is None or longer < COSTLIER:
            continue
        updates = max(1, round(today[0].updates / longer))
        for seed in seeds:
            folder = output / f"{name}-{seed}-equal-time"
            before = result(folder)
            updates = before.updates if before else updates  # one that is there stays, whatever it cost
            fewer = {"schedule.updates": str(updates), "seed": str(seed)}
            equal_time.setdefault(name, []).append(scored(arm, corpus, {**shared, **fewer}, folder))
    return table(corpus, equal_updates, equal_time)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speech", type=Path, default=Path("data/learning"), help="folder of the synthetic corpora")
    parser.add_argument("--real", type=Path, help="folder that holds cv_tsv/es.tsv; without it, synthetic speech alone")
    parser.add_argument("--output", type=Path, default=Path("runs/learning"))
    parser.add_argument("--page", type=Path, default=Path("runs/learning/tables.md"), help="what is written")
    parser.add_argument("--corpora", nargs="+", choices=["ky", "es", "real"], default=["ky", "es", "real"])
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS))
    parser.add_argument("--first", choices=list(ARMS), default="today", help="the arm that others are compared to")
    parser.add_argument("--updates", type=int, help="of each training, instead of the YAML's")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1337, 1, 2])
    parser.add_argument("--dry", action="store_true", help="a few updates on little speech")
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    speech, output = arguments.speech.absolute(), arguments.output.absolute()
    arms = [arguments.first, *(arm for arm in ARMS if arm in arguments.arms and arm != arguments.first)]
    if arguments.dry:  # what a model hears after a few updates is nothing to train on, and pre-training takes minutes
        arms = [arm for arm in arms if not (ARMS[arm].self_trains or ARMS[arm].base)]
    shared = {"data.cache_dir": str(output / "cache"), "tracking.trackers": "[]"}
    if arguments.dry:
        shared |= {"schedule.updates": str(DRY_UPDATES), "schedule.warmup": "1"}
    elif arguments.updates:
        shared |= {"schedule.updates": str(arguments.updates), "schedule.warmup": "100"}
    tables: list[str] = []
    for name in arguments.corpora:
        if name == "real" and arguments.real is None:
            print("real recordings are left out: name their folder in --real", flush=True)
            continue
        corpus = real(arguments.real, output / "lists") if name == "real" else synthetic(name, speech, arguments.dry)
        folder = output / (f"{name}-{arguments.updates}" if arguments.updates else name)
        tables += measure(corpus, arms, arguments.seeds, shared, folder)
    command = f"python scripts/{Path(__file__).name} {' '.join(sys.argv[1:])}".strip()
    arguments.page.parent.mkdir(parents=True, exist_ok=True)
    arguments.page.write_text(page(tables, arguments.seeds, command, arguments.dry), encoding="utf-8")
    print(f"table: {arguments.page}")


if __name__ == "__main__":
    run_command(main)
