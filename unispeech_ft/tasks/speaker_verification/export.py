"""What a speaker verification leaves: scored trials and a model folder."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from unispeech_ft.data.augmentation import AugmentedAudio
from unispeech_ft.data.labelled import Clips
from unispeech_ft.data.utterances import Split
from unispeech_ft.files import write_text
from unispeech_ft.hub.task_card import TaskCard
from unispeech_ft.hub.task_evidence import leave_model
from unispeech_ft.models.build import BuiltModel
from unispeech_ft.models.feature_cache import ComputedFeatures, FeatureStore
from unispeech_ft.scoring.report.figures import draw_curve, task_curves
from unispeech_ft.scoring.report.task_page import TaskReport, write_task_report
from unispeech_ft.scoring.task_scores import TRIALS
from unispeech_ft.scoring.verification import det_points
from unispeech_ft.tasks.speaker_verification.config import SpeakerConfig
from unispeech_ft.tasks.speaker_verification.evaluate import (
    Scored,
    Scorer,
    Summary,
    embed,
    fit_scorer,
    of_each_speaker,
    result_line,
    summarize,
)
from unispeech_ft.tasks.speaker_verification.model import load_speaker_model
from unispeech_ft.tasks.speaker_verification.trials import Trials, check_trials, pairs_of_speakers, read_trials
from unispeech_ft.training.checkpoint import load_best
from unispeech_ft.training.loop import METRICS

if TYPE_CHECKING:
    from accelerate import Accelerator


CARD = TaskCard(
    task="speaker_verification",
    config=SpeakerConfig,
    summary=Summary,
    figure="eer",
    line=result_line,
    title="Speaker verification",
    trained_on="clips of single speakers",
    tags=("speech", "speaker-verification", "unispeech"),
    library="unispeech_ft",
    pipeline=None,
    use="unispeech-ft verify-speakers MODEL a.wav b.wav",
    load=load_speaker_model,
)


def open_trials(config: SpeakerConfig, clips: Clips) -> dict[Split, Trials]:
    """The trials of validation and test, before anything is trained.

    Raises:
        UserError: a list cannot be used, or a split has trials of one kind alone.
    """
    own = config.speaker_verification
    found: dict[Split, Trials] = {}
    for split, part in clips.splits.items():
        if split == "test" and own.trials is not None:
            found[split] = read_trials(Path(own.trials).expanduser(), part.ids)
        elif split != "train":
            found[split] = pairs_of_speakers(part.labels, own.max_trials, config.seed)
            check_trials(found[split], f"{split} split")
    return found


def _scorer(
    config: SpeakerConfig,
    clips: Clips,
    built: BuiltModel,
    store: FeatureStore | ComputedFeatures,
    accelerator: Accelerator,
) -> Scorer:
    own, train = config.speaker_verification, clips.splits["train"]
    copies = len(train.audio.changes) if isinstance(train.audio, AugmentedAudio) else 1
    indices = of_each_speaker(train.labels, len(train) // copies)
    vectors = embed(built.model, train, store, accelerator, indices)
    return fit_scorer(vectors, pairs_of_speakers(vectors.speakers, own.max_trials, config.seed), own.norm_top)


def _write_scored(folder: Path, scored: Scored, summary: Summary) -> None:
    """Writes `trials.jsonl` (enrol, test, speakers, target, score, log likelihood ratio) and `summary.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    ids, names = scored.vectors.ids, scored.vectors.speakers
    columns = zip(
        scored.trials.pairs.tolist(), scored.trials.targets.tolist(), scored.scores, scored.ratios, strict=True
    )
    lines = [
        {
            "enrol": ids[a],
            "test": ids[b],
            "speakers": [names[a], names[b]],
            "target": target,
            "score": float(s),
            "llr": round(float(r), 6),
        }
        for (a, b), target, s, r in columns
    ]
    write_text(folder / TRIALS, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    write_text(folder / "summary.json", json.dumps(asdict(summary), ensure_ascii=False, indent=2) + "\n")


def _report(summary: Summary, scored: Scored, output: Path) -> TaskReport:
    points = sorted(det_points(scored.errors))
    det = draw_curve(
        [(100 * false_alarm, miss) for false_alarm, miss in points],
        "",
        percent=True,
        said="DET curve: misses (%) over false alarms (%); where both are equal is the EER",
        last=100.0,
        axis="false alarms, %",
    )
    figures = [
        ("Trials", f"{summary.trials:,}"),
        ("of one speaker", f"{summary.targets:,}"),
        ("Speakers", str(summary.speakers)),
        ("Clips", f"{summary.clips:,}"),
        ("Scores", summary.scoring),
        ("EER of plain cosines", f"{100 * summary.eer_cosine:.2f} %"),
        ("minDCF, target prior 0.01", f"{summary.min_dcf_001:.3f}"),
        ("minDCF, target prior 0.05", f"{summary.min_dcf_005:.3f}"),
        ("Cllr, calibrated on training speakers", f"{summary.cllr:.3f}"),
    ]
    return TaskReport(
        f"Speaker verification: {summary.split}",
        f"EER {100 * summary.eer:.2f} %",
        f"{result_line(summary)}. At the EER as many pairs of one speaker are rejected as pairs of two are accepted;"
        " lower is better.",
        figures,
        [*task_curves(output / METRICS, "eer", "Validation EER"), det],
    )


def score_and_export(
    config: SpeakerConfig,
    clips: Clips,
    trials: Mapping[Split, Trials],
    built: BuiltModel,
    features: Mapping[Split, FeatureStore | ComputedFeatures],
    accelerator: Accelerator,
) -> list[Summary]:
    """Scores validation and test with the best weights, writes results and model folder, and prints the outcome.

    Returns:
        The summaries; on other processes than the first, none.
    """
    output, top = Path(config.output_dir), config.speaker_verification.norm_top
    load_best(output, built.model)
    scorer = _scorer(config, clips, built, features["train"], accelerator)
    summaries: dict[str, Summary] = {}
    for split, pairs in trials.items():
        started = time.perf_counter()
        vectors = embed(built.model, clips.splits[split], features[split], accelerator)
        if accelerator.is_main_process:
            scored = Scored(vectors, pairs, scorer.scores(vectors, pairs), scorer.ratios(vectors, pairs))
            used = 0 if scorer.cohort is None else min(top, len(scorer.cohort))
            summaries[split] = summarize(scored, used, model=str(output / "model"), split=split, started=started)
            _write_scored(output / "eval" / split, scored, summaries[split])
            write_task_report(output / "eval" / split / "report.html", _report(summaries[split], scored, output))
            accelerator.print(result_line(summaries[split]))
    if accelerator.is_main_process:
        if summaries:
            by_validation = summaries.get("validation", summaries.get("test"))
            built.model.config.head["threshold"] = float(np.float32(by_validation.threshold)) if by_validation else None
        leave_model(CARD, config, summaries.values(), built)
    accelerator.wait_for_everyone()
    return list(summaries.values())
