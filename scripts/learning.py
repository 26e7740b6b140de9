"""What each way of learning more from the same speech brings, alone and together.

    python scripts/learning.py --real ../shared/data/speech

Three corpora: 10 minutes of synthetic Kyrgyz and of synthetic Spanish, tested on voices that no training heard, and,
with --real, one man's recordings of Spanish (cv_tsv/es.tsv), tested on other sentences of his and on other people. Each
arm has as many updates as today's recipe, and, where an update of it takes longer, once more as many as fit into the
same time; with several seeds each. Writes docs/results/learning.md. Results that lie in --output already are kept, so
an interrupted run goes on. --dry runs everything with a few updates on minutes of speech.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from miniature import (
    DRY_HOURS,
    DRY_UPDATES,
    FINETUNE,
    REPOSITORY,
    TUNING,
    TUNING_HOURS,
    run,
    run_logged,
    training_manifest,
)

from unispeech_ft.errors import UserError, run_command
from unispeech_ft.runs.compare import compare_runs
from unispeech_ft.scoring.feature_distance import feature_errors
from unispeech_ft.scoring.summary import read_hypotheses
from unispeech_ft.testing.corpus import make_corpus

MANIFEST = REPOSITORY / "configs" / "ctc_phoneme" / "manifest.yaml"
SPEAKER = "es_cajal_m1"
# A file of a run: the processor's seconds.
CPU_S = "cpu_s"
# An update that takes so much longer than today's gets an arm of fewer updates beside it.
COSTLIER = 1.15
MORE_HOURS = {"train_hours": 0.5, "dev_hours": 0.01, "test_hours": 0.01}


# Of configs/ctc_phoneme/manifest.yaml, and what that recipe was before.
CONFORMER: dict[str, Any] = yaml.safe_load(MANIFEST.read_text(encoding="utf-8"))["model"]["config"]
EARLIER = {
    "model.config": json.dumps(yaml.safe_load(TUNING.read_text(encoding="utf-8"))["model"]["config"]),
    "model.activation_dropout": "0.1",
    "data.normalize": "true",
    "augmentation.speeds": "[]",
    "training.ema_decay": "null",
}


@dataclass(frozen=True)
class Arm:
    """One row of the table: what it is called, its keys, and whether it learns from speech without labels as well."""

    title: str
    changes: Mapping[str, str]
    self_trains: bool = False


_INNER = {"loss.intermediate_layers": "[2]"}
_CONDITIONED = {**_INNER, "loss.self_conditioned": "true"}
_VIEWS = {"loss.consistency_weight": "0.2"}
_ENTROPY = {"loss.entropy_weight": "0.05"}
_SPEEDS = {"augmentation.speeds": "[0.9, 1.0, 1.1]"}
_AVERAGE = {"training.ema_decay": "0.99"}
_BEST = {"training.average_best": "5"}
_CONFORMER = {"model.config": json.dumps(CONFORMER), "model.activation_dropout": "0.0"}
_VOICES = {"augmentation.speeds": "[0.85, 1.0, 1.18]", "training.ema_decay": "0.995"}
ARMS = {
    "today": Arm("today's recipe", {}),
    "intermediate": Arm("CTC of an inner layer", _INNER),
    "self_conditioned": Arm("self-conditioned CTC", _CONDITIONED),
    "consistency": Arm("two masked views (CR-CTC)", _VIEWS),
    "consistency_masks": Arm("the same, masks twice as wide", {**_VIEWS, "mask.time_length": "10"}),
    "entropy": Arm("label smoothing", _ENTROPY),
    "speeds": Arm("three speeds", _SPEEDS),
    "average": Arm("averaged weights", _AVERAGE),
    "average_best": Arm("the mean of the five best", _BEST),
    "self_training": Arm("self-training, one round", {}, self_trains=True),
    "together": Arm(
        "an inner layer, two views, speeds and averaged weights", {**_INNER, **_VIEWS, **_SPEEDS, **_AVERAGE}
    ),
    "conformer": Arm("a conformer on filter banks", _CONFORMER),
    "conformer_together": Arm("the conformer, three speeds farther apart, averaged weights", {**_CONFORMER, **_VOICES}),
}


class Corpus(NamedTuple):
    """What is trained and tested on.

    Attributes:
        title: for people.
        config: today's recipe.
        data: its keys that name the speech.
        others: keys that name further test speech, of other people; None where the test split has them.
        unlabelled: recordings without labels, of training voices; none where there are none.
    """

    title: str
    config: Path
    data: Mapping[str, str]
    others: Mapping[str, str] | None = None
    unlabelled: Sequence[Path] = ()


class Result(NamedTuple):
    """A run: its folder, PER and PFER rate on the test split, updates, the processor's seconds, PER on other people."""

    folder: Path
    per: float
    pfer: float | None
    updates: int
    cpu_s: float | None
    others: float | None


def synthetic(language: str, speech: Path, dry: bool) -> Corpus:
    """Ten minutes of espeak-ng's speech, and half an hour of the same voices without labels, made where missing."""
    more = make_corpus(speech / f"{language}-unlabelled", [language], seed=303, **(DRY_HOURS if dry else MORE_HOURS))
    listed = training_manifest(more / language).read_text(encoding="utf-8").splitlines()[1:]
    unlabelled = [more / language / name for name in listed]
    root = make_corpus(speech / language, [language], seed=202, **(DRY_HOURS if dry else TUNING_HOURS))
    titles = {"ky": "10 minutes of synthetic Kyrgyz", "es": "10 minutes of synthetic Spanish"}
    return Corpus(titles[language], TUNING, {"data.root": str(root), "data.language": language}, None, unlabelled)


def real(folder: Path, output: Path) -> Corpus:
    """One man's sentences to train and test on, divided by the rule for sentences, and those of other people to test.

    Raises:
        UserError: the list is not there, or lacks the man.
    """
    source = folder / "cv_tsv" / "es.tsv"
    try:
        lines = source.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UserError(f"{source} cannot be read ({error.strerror})", remedy="name the folder in --real") from None
    rows = list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))
    lists: dict[str, list[str]] = {"man": [], "others": []}
    for row in rows:
        part = "man" if row["client_id"] == SPEAKER else "others"
        lists[part].append(f"{(source.parent / row['path']).resolve()}\t{row['sentence']}\t{row['client_id']}\n")
    if not lists["man"] or not lists["others"]:
        raise UserError(f"{source} lists no {SPEAKER}, or nobody else", remedy="name another folder in --real")
    output.mkdir(parents=True, exist_ok=True)
    for part, found in lists.items():
        (output / f"{part}.tsv").write_text("path\tsentence\tspeaker\n" + "".join(found), encoding="utf-8")
    shared = {**EARLIER, "data.root": str(folder.resolve()), "data.language": "es", "data.max_duration_s": "15"}
    return Corpus(
        "Real recordings of one man, Spanish, about 11 minutes",
        MANIFEST,
        {**shared, "data.train": str(output / "man.tsv"), "data.hold_out": "sentence"},
        {"data.train": "null", "data.hold_out": "null", "data.test": str(output / "others.tsv")},
    )


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


def self_trained(corpus: Corpus, shared: Mapping[str, str], folder: Path) -> Result:
    """The first round of self-training on a corpus, made where it is missing; its round 0 is today's recipe."""
    first = folder.with_name(f"{folder.name}-self") / "round-1"
    if result(first) is None:
        given = {**corpus.data, **shared}
        words = [word for key, value in given.items() for word in (f"--{key}", value)]
        command = [sys.executable, "-m", "unispeech_ft.cli", "self-train", str(corpus.config), *words]
        command += ["--output_dir", str(folder), "--unlabelled", *map(str, corpus.unlabelled)]
        run_logged(command, folder.with_name(f"{folder.name}.log"))
    found = result(first)
    assert found is not None
    return found


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
    """The rows of a corpus: each arm at equal updates, and below it, where it is costlier, at equal time."""
    lines = [
        f"## {corpus.title}",
        "",
        "| arm | updates | PER, each seed | mean | fewer errors | points from today's (paired) | PFER | others' PER |",
        "|---|---|---|---|---|---|---|---|",
    ]
    today = equal_updates["today"]
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
    for arm in arms:
        title, changes, self_trains = ARMS[arm].title, ARMS[arm].changes, ARMS[arm].self_trains
        if self_trains and not corpus.unlabelled:
            continue
        for seed in seeds:
            given, folder = {**shared, "seed": str(seed)}, output / f"{arm}-{seed}"
            found = self_trained(corpus, given, folder) if self_trains else score(corpus, changes, given, folder)
            equal_updates.setdefault(arm, []).append(found)
            print(f"{corpus.title}: {title}, seed {seed}: {100 * found.per:.2f} %", flush=True)
        today = equal_updates["today"]
        longer = cost(equal_updates[arm], today)
        if self_trains or longer is None or longer < COSTLIER:
            continue
        updates = max(1, round(today[0].updates / longer))
        for seed in seeds:
            folder = output / f"{arm}-{seed}-equal-time"
            before = result(folder)
            updates = before.updates if before else updates  # one that is there stays, whatever it cost
            fewer = {"schedule.updates": str(updates), "seed": str(seed)}
            equal_time.setdefault(arm, []).append(score(corpus, changes, {**shared, **fewer}, folder))
    return table(corpus, equal_updates, equal_time)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speech", type=Path, default=Path("data/learning"), help="folder of the synthetic corpora")
    parser.add_argument("--real", type=Path, help="folder that holds cv_tsv/es.tsv; without it, synthetic speech alone")
    parser.add_argument("--output", type=Path, default=Path("runs/learning"))
    parser.add_argument("--page", type=Path, default=Path("docs/results/learning.md"))
    parser.add_argument("--corpora", nargs="+", choices=["ky", "es", "real"], default=["ky", "es", "real"])
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[1337, 1, 2])
    parser.add_argument("--dry", action="store_true", help="a few updates on little speech")
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    speech, output = arguments.speech.absolute(), arguments.output.absolute()
    arms = ["today", *(arm for arm in ARMS if arm in arguments.arms and arm != "today")]
    if arguments.dry:  # what a model hears after a few updates is nothing to train on
        arms = [arm for arm in arms if not ARMS[arm].self_trains]
    shared = {"data.cache_dir": str(output / "cache"), "tracking.trackers": "[]"}
    if arguments.dry:
        shared |= {"schedule.updates": str(DRY_UPDATES), "schedule.warmup": "1"}
    tables: list[str] = []
    for name in arguments.corpora:
        if name == "real" and arguments.real is None:
            print("real recordings are left out: name their folder in --real", flush=True)
            continue
        corpus = real(arguments.real, output / "lists") if name == "real" else synthetic(name, speech, arguments.dry)
        tables += measure(corpus, arms, arguments.seeds, shared, output / name)
    command = f"python scripts/{Path(__file__).name} {' '.join(sys.argv[1:])}".strip()
    arguments.page.parent.mkdir(parents=True, exist_ok=True)
    arguments.page.write_text(page(tables, arguments.seeds, command, arguments.dry), encoding="utf-8")
    print(f"table: {arguments.page}")


if __name__ == "__main__":
    run_command(main)
