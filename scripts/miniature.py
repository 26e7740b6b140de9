"""The paper's claim in miniature: does pre-training on another language help 10 minutes of Kyrgyz?

    python scripts/miniature.py

Makes two synthetic corpora (English with labels and Kyrgyz without; 10 minutes of Kyrgyz with labels, other sentences),
pre-trains, fine-tunes five arms with the same budget, and writes docs/results/miniature.md. Results that lie in
--output already are kept, so an interrupted run goes on, and --arms makes some arms only. --dry runs everything with
a few updates on minutes of speech.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from unispeech_ft.data.utterances import SYNTHETIC_MARK
from unispeech_ft.errors import UserError, run_command
from unispeech_ft.runs.compare import compare_runs
from unispeech_ft.testing.corpus import make_corpus

REPOSITORY = Path(__file__).resolve().parents[1]
PRETRAIN = REPOSITORY / "recipes" / "pretrain.py"
FINETUNE = REPOSITORY / "recipes" / "ctc_phoneme.py"
STAGE_1 = REPOSITORY / "configs" / "pretrain" / "miniature.yaml"
STAGE_2 = REPOSITORY / "configs" / "pretrain" / "miniature_stage_2.yaml"
TUNING = REPOSITORY / "configs" / "pretrain" / "miniature_tuning.yaml"

PRETRAINING_HOURS = {"train_hours": 1.0, "dev_hours": 0.06, "test_hours": 0.01}
TUNING_HOURS = {"train_hours": 1 / 6, "dev_hours": 0.06, "test_hours": 0.15}
DRY_HOURS = {"train_hours": 0.01, "dev_hours": 0.004, "test_hours": 0.004}
DRY_UPDATES = 3


@dataclass(frozen=True)
class Arm:
    """One row of the table.

    Attributes:
        title: what it is called in the paper.
        changes: of the stage-1 configuration; None starts from random weights.
        stage_2: continue on Kyrgyz without labels.
        published: PER on Kyrgyz with 1 hour of labels in the paper's Table 1; None where it has no such row.
    """

    title: str
    changes: dict[str, str] | None
    stage_2: bool
    published: float | None


ARMS = {
    "scratch": Arm("from scratch", None, False, None),
    "ctc_transfer": Arm("CTC-Transfer", {"objective.alpha": "1", "objective.replacement": "0"}, False, 12.9),
    "contrastive": Arm("contrastive only", {"objective.alpha": "0"}, False, 13.7),
    "unispeech": Arm("UniSpeech", {}, False, 11.4),
    "unispeech_plus": Arm("UniSpeech+", {}, True, 6.8),
}


def run(script: Path, config: Path, overrides: dict[str, object], log: Path) -> None:
    """Runs a recipe in a process of its own; its words go to a file."""
    words = ["--config", str(config)] + [word for key, value in overrides.items() for word in (f"--{key}", str(value))]
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w", encoding="utf-8") as file:
        done = subprocess.run([sys.executable, str(script), *words], stdout=file, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        last = log.read_text(encoding="utf-8").strip().splitlines()[-1:]
        raise UserError(f"{script.name} ended with {done.returncode} ({' '.join(last)})", remedy=f"see {log}")


def training_manifest(language: Path) -> Path:
    """A manifest of the training clips of a language without their sentences, beside its tables."""
    with (language / "train.tsv").open(encoding="utf-8", newline="") as file:
        rows = [row["path"] for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)]
    manifest = language / "unlabelled.tsv"
    manifest.write_text("path\n" + "".join(f"clips/{path}\n" for path in rows), encoding="utf-8")
    return manifest


def make_speech(folder: Path, dry: bool) -> None:
    """Both corpora; other seeds, so other sentences."""
    make_corpus(folder / "pretraining", ["en", "ky"], seed=101, **(DRY_HOURS if dry else PRETRAINING_HOURS))
    make_corpus(folder / "tuning", ["ky"], seed=202, **(DRY_HOURS if dry else TUNING_HOURS))
    for name in ("pretraining", "tuning"):
        if not (folder / name / SYNTHETIC_MARK).is_file():
            raise UserError(f"{folder / name} is not marked as synthetic", remedy="remove it and start again")


def pretrained(arm: str, seed: int, speech: Path, output: Path, shared: dict[str, object]) -> Path | None:
    """The model folder that an arm's fine-tuning starts from, made where it is missing."""
    recipe = ARMS[arm]
    if recipe.changes is None:
        return None
    stage_1 = output / f"{'unispeech' if recipe.stage_2 else arm}-pretraining-{seed}"
    common = {**shared, "seed": seed}
    if not (stage_1 / "model" / "config.json").is_file():
        labelled = {"data.root": speech / "pretraining", "output_dir": stage_1, **recipe.changes}
        run(PRETRAIN, STAGE_1, common | labelled, output / "logs" / f"{stage_1.name}.log")
    if not recipe.stage_2:
        return stage_1 / "model"
    stage_2 = output / f"{arm}-pretraining-{seed}"
    if not (stage_2 / "model" / "config.json").is_file():
        manifest = training_manifest(speech / "pretraining" / "ky")
        unlabelled = {"unlabelled.root": manifest, "model.base": stage_1 / "model", "output_dir": stage_2}
        run(PRETRAIN, STAGE_2, common | unlabelled, output / "logs" / f"{stage_2.name}.log")
    return stage_2 / "model"


def score(arm: str, seed: int, speech: Path, output: Path, shared: dict[str, object]) -> dict[str, object]:
    """The test summary of an arm, made where it is missing."""
    tuned = output / f"{arm}-{seed}"
    summary = tuned / "eval" / "test" / "summary.json"
    if not summary.is_file():
        base = pretrained(arm, seed, speech, output, shared)
        start = {} if base is None else {"model.from_scratch": "false", "model.config": "null", "model.base": base}
        overrides = {**shared, **start, "seed": seed, "data.root": speech / "tuning", "output_dir": tuned}
        run(FINETUNE, TUNING, overrides, output / "logs" / f"{tuned.name}.log")
    said: dict[str, object] = json.loads(summary.read_text(encoding="utf-8"))
    return said


def from_scratch_on(arm: str, seeds: list[int], output: Path) -> str:
    """How far an arm lies from the one from scratch, with the interval of the paired bootstrap, for each seed."""
    said = []
    for seed in seeds:
        found, _ = compare_runs(output / f"scratch-{seed}", output / f"{arm}-{seed}")
        low, high = found.difference_ci95
        said.append(f"{100 * found.difference:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})")
    return ", ".join(said)


def table(
    results: dict[str, list[dict[str, object]]],
    differences: dict[str, str],
    seeds: list[int],
    command: str,
    dry: bool,
) -> str:
    """The page that the results make, whatever they are."""
    lines = [
        "# The paper's claim in miniature",
        "",
        "Five models of 1.3 M parameters, fine-tuned with the same budget on 10 minutes of Kyrgyz with labels. **All"
        " speech is synthetic** (espeak-ng): the figures show what the code does, and say nothing about human speech.",
        "",
        "| arm | PER | 95 % interval | points from scratch (paired) | the paper's PER, Kyrgyz, human speech, 1 h |",
        "|---|---|---|---|---|",
    ]
    for arm, summaries in results.items():
        pers = [f"{100 * float(item['per']):.1f} %" for item in summaries]  # type: ignore[arg-type]
        bounds = [item["per_ci95"] for item in summaries]
        intervals = [f"{100 * low:.1f}–{100 * high:.1f}" for low, high in bounds]  # type: ignore[misc]
        published = ARMS[arm].published
        theirs = "–" if published is None else f"{published}"
        row = (ARMS[arm].title, ", ".join(pers), ", ".join(intervals), differences.get(arm, "–"), theirs)
        lines.append(f"| {' | '.join(row)} |")
    first = next(iter(results.values()))[0]
    mean = {arm: sum(float(item["per"]) for item in rows) / len(rows) for arm, rows in results.items()}  # type: ignore[arg-type]
    ours = " < ".join(ARMS[arm].title for arm in sorted(mean, key=mean.__getitem__))
    listed = [arm for arm in results if ARMS[arm].published is not None]
    theirs = " < ".join(ARMS[arm].title for arm in sorted(listed, key=lambda arm: ARMS[arm].published or 0.0))
    lines += [
        "",
        f"Order here, best first: {ours}.  ",
        f"Order in the paper: {theirs}.",
        "",
        f"Seeds: {', '.join(map(str, seeds))}. Test: {first['utterances']} utterances, {first['reference_phones']}"
        " phones, voices and sentence frames that no training heard; intervals are bootstrapped by"
        f" {first['bootstrap_unit']}. Where the paired interval holds 0, nothing is shown.",
        "",
        "- from scratch: random weights, with the filter bank that all arms share as frozen extractor.",
        "- CTC-Transfer, contrastive only, UniSpeech: pre-trained on one hour of English, with its labels except for"
        " the contrastive task alone.",
        "- UniSpeech+: UniSpeech, continued with the contrastive task alone on one hour of Kyrgyz without labels,"
        " spoken by training voices.",
        "",
        f"Made by `{command}` with `configs/pretrain/miniature*.yaml`"
        + (" as a dry run: the figures mean nothing." if dry else "."),
    ]
    return "\n".join(lines) + "\n"


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speech", type=Path, default=Path("data/miniature"), help="folder of the corpora")
    parser.add_argument("--output", type=Path, default=Path("runs/miniature"))
    parser.add_argument("--page", type=Path, default=Path("docs/results/miniature.md"))
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[1337])
    parser.add_argument("--dry", action="store_true", help="a few updates on little speech")
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    speech, output = arguments.speech.absolute(), arguments.output.absolute()
    make_speech(speech, arguments.dry)
    shared: dict[str, object] = {"data.cache_dir": output / "cache"}
    if arguments.dry:
        shared |= {"schedule.updates": DRY_UPDATES, "schedule.warmup": 1}
    results: dict[str, list[dict[str, object]]] = {}
    for arm in arguments.arms:
        for seed in arguments.seeds:
            started = time.perf_counter()
            summary = score(arm, seed, speech, output, shared)
            results.setdefault(arm, []).append(summary)
            took = time.perf_counter() - started
            print(f"{ARMS[arm].title}, seed {seed}: PER {100 * float(summary['per']):.2f} %, {took:.0f} s", flush=True)  # type: ignore[arg-type]
    if set(arguments.arms) == set(ARMS):
        command = "python scripts/miniature.py" + (
            "" if arguments.seeds == [1337] else f" --seeds {' '.join(map(str, arguments.seeds))}"
        )
        arguments.page.parent.mkdir(parents=True, exist_ok=True)
        others = [arm for arm in ARMS if arm != "scratch"]
        differences = {arm: from_scratch_on(arm, arguments.seeds, output) for arm in others}
        page = table(results, differences, arguments.seeds, command, arguments.dry)
        arguments.page.write_text(page, encoding="utf-8")
        print(f"table: {arguments.page}")


if __name__ == "__main__":
    run_command(main)
