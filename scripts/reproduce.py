"""Scores the published fine-tuned checkpoints on their test lists, and can repeat their fine-tuning.

    python scripts/reproduce.py --root cv-corpus [--languages ky fr es it] [--train] [--dry_run]

Plans first: which clips, which models, how long. What is done already is not done again, so it resumes after a stop.
Writes docs/results/<date>.md: measured PER with interval beside the published figure, which is never measured here.
"""

from __future__ import annotations

import argparse
import datetime
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unispeech_ft.config.reading import read_configs
from unispeech_ft.data.sources import list_utterances
from unispeech_ft.data.utterances import Split
from unispeech_ft.errors import UserError, UserErrors, run_command
from unispeech_ft.tasks.ctc_phoneme.config import FILE, CtcPhonemeConfig
from unispeech_ft.tasks.ctc_phoneme.results import evaluate_saved

REPOSITORY = Path(__file__).resolve().parents[1]
ORGANISATION = "microsoft"
FINE_TUNED = {
    "ky": "unispeech-1350-en-17h-ky-ft-1h",
    "fr": "unispeech-1350-en-353-fr-ft-1h",
    "es": "unispeech-1350-en-168-es-ft-1h",
    "it": "unispeech-1350-en-90-it-ft-1h",
}
# UniSpeech, Wang et al. 2021, Table 1, one-to-one, in %: row UniSpeech-L+ (the fine-tuned checkpoints; Kyrgyz's is
# listed as many-to-one, for which no figure is public), and row UniSpeech-L (fine-tuned here from the Hub's model).
PUBLISHED_FINE_TUNED = {"ky": 6.1, "fr": 6.2, "es": 4.7, "it": 6.8}
PUBLISHED_FROM_HUB = {"ky": 10.8, "fr": 13.3, "es": 10.2, "it": 14.6}
# Audio seconds a second; rough, for the plan only.
SPEED = {"evaluation": 20.0, "training": 2_000.0}

HEADER = (
    "| language | job | model | PER measured here, % (95 % interval) | utterances | test split"
    " | published, % (not measured here) | difference |\n|---|---|---|---|---|---|---|---|"
)


@dataclass(frozen=True)
class Job:
    """One row of the table: a model to score, or a fine-tuning to run and score.

    Attributes:
        summary: the file that shows that the job is done.
        published: figure of the paper in %, for the column beside.
    """

    language: str
    kind: str
    model: str
    config: CtcPhonemeConfig
    arguments: tuple[str, ...]
    summary: Path
    published: float


def make_jobs(options: argparse.Namespace) -> list[Job]:
    """The jobs of a command line, in order."""
    jobs = []
    for language in options.languages:
        yaml = options.configs / f"{language}_1h.yaml"
        shared = ("--config", str(yaml), "--data.root", str(options.root), "--data.splits", str(options.splits))
        name = FINE_TUNED[language]
        model = str(options.models / name) if options.models else f"{ORGANISATION}/{name}"
        folder = options.work / name
        jobs.append(
            Job(
                language,
                "evaluation",
                model,
                read_configs(FILE, shared)[0],
                shared,
                folder / "summary.json",
                PUBLISHED_FINE_TUNED[language],
            )
        )
        if options.train:
            run = options.work / f"{language}_1h"
            base = ("--model.base", str(options.models / "unispeech-large-1500h-cv")) if options.models else ()
            arguments = (*shared, *base, "--output_dir", str(run), *options.override)
            summary = run / "eval" / "test" / "summary.json"
            (config,) = read_configs(FILE, arguments)
            jobs.append(
                Job(
                    language,
                    "training",
                    str(config.model.base),
                    config,
                    arguments,
                    summary,
                    PUBLISHED_FROM_HUB[language],
                )
            )
    return jobs


def plan_lines(jobs: list[Job]) -> list[str]:
    """What would be done: clips, models, and roughly how long."""
    lines = []
    for job in jobs:
        split: Split = "test"
        corpus = list_utterances(job.config.data, published_labels=True)
        lacking = sum(item.split == split for item in corpus.rejected)
        hours = len(corpus.splits[split]) * 4.7 / 3600
        work = (
            hours * 3600
            if job.kind == "evaluation"
            else job.config.schedule.updates * job.config.batch.seconds_per_update
        )
        done = ", done already" if job.summary.is_file() else ""
        lines.append(
            f"{job.language} {job.kind}: {job.model}; test list {len(corpus.splits[split])} clips there,"
            f" {lacking} lacking,"
            f" about {hours:.2f} h; about {work / SPEED[job.kind] / 60:.0f} minutes{done}"
        )
    return lines


def run_job(job: Job) -> None:
    """Does a job that is not done yet."""
    if job.summary.is_file():
        return
    if job.kind == "evaluation":
        evaluate_saved(job.model, job.config, "test", job.summary.parent)
        return
    started = any((Path(job.config.output_dir) / "checkpoints").glob("update-*"))
    resume = ("--resume", "true") if started else ()
    command = [sys.executable, str(REPOSITORY / "recipes" / "ctc_phoneme.py"), *job.arguments, *resume]
    if subprocess.run(command, check=False).returncode != 0:
        raise UserError(f"{job.language}: the fine-tuning stopped", remedy="see its message above, then run this again")


def _row(job: Job) -> str:
    if not job.summary.is_file():
        return f"| {job.language} | {job.kind} | {job.model} | not measured | | | {job.published:.1f} | |"
    summary: dict[str, Any] = json.loads(job.summary.read_text(encoding="utf-8"))
    per, (low, high) = 100 * summary["per"], [100 * bound for bound in summary["per_ci95"]]
    split = "published split" if summary["published_split"] else "NOT the published split"
    split += ", synthetic speech" if summary["synthetic"] else ""
    comparable = summary["published_split"] and not summary["synthetic"]
    difference = f"{per - job.published:+.2f}" if comparable else "not comparable"
    return (
        f"| {job.language} | {job.kind} | {job.model} | {per:.2f} ({low:.2f}–{high:.2f}) | {summary['utterances']}"
        f" | {split} |"
        f" {job.published:.1f} | {difference} |"
    )


def table(jobs: list[Job], command: list[str]) -> str:
    """The page: one row a job; the published column says that it was not measured here."""
    rows = "\n".join(map(_row, jobs))
    return f"""# Reproduction of the published 1-hour results

Command: `{" ".join(command)}`

{HEADER}
{rows}

Published: UniSpeech (Wang et al. 2021), Table 1, one-to-one; row UniSpeech-L+ for the fine-tuned checkpoints, row
UniSpeech-L for models fine-tuned here from the Hub's. The Kyrgyz checkpoint is listed as many-to-one, for which no
figure is public; the one-to-one figure stands beside it. Greedy decoding of unpadded frames, scored against the
published labels.
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="Common Voice release with the languages' folders")
    parser.add_argument("--splits", type=Path, default=REPOSITORY / "data" / "unispeech_splits")
    parser.add_argument("--languages", nargs="+", choices=sorted(FINE_TUNED), default=sorted(FINE_TUNED))
    parser.add_argument("--models", type=Path, help="folder of local model folders, instead of the Hub")
    parser.add_argument("--configs", type=Path, default=REPOSITORY / "configs" / "ctc_phoneme")
    parser.add_argument("--work", type=Path, default=Path("runs/reproduce"), help="where runs and scores are kept")
    parser.add_argument("--output", type=Path, default=REPOSITORY / "docs" / "results", help="folder of the page")
    parser.add_argument("--train", action="store_true", help="fine-tune from the pre-trained models too")
    parser.add_argument("--dry_run", action="store_true", help="only plan")
    options, options.override = parser.parse_known_args()
    if options.override and not options.train:
        parser.error(f"arguments not understood: {' '.join(options.override)} (recipe overrides go with --train)")
    jobs = make_jobs(options)
    print("\n".join(plan_lines(jobs)))
    if options.dry_run:
        return 0
    page = options.output / f"{datetime.date.today().isoformat()}.md"
    faults = []
    for job in jobs:
        try:
            run_job(job)
        except UserError as error:
            faults.append(error)
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(table(jobs, ["python", *sys.argv]), encoding="utf-8")
    print(f"\n{page.read_text(encoding='utf-8')}\nwritten to {page}")
    if faults:
        raise UserErrors(faults)
    return 0


if __name__ == "__main__":
    run_command(main)
