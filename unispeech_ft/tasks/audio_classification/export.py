"""What a classification leaves: scored splits and a model folder for `pipeline("audio-classification")`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from transformers import AutoModelForAudioClassification

from unispeech_ft.data.labelled import Clips, LabelledClips
from unispeech_ft.data.utterances import Split
from unispeech_ft.hub.task_card import TaskCard
from unispeech_ft.hub.task_evidence import leave_model
from unispeech_ft.models.build import BuiltModel
from unispeech_ft.models.feature_cache import ComputedFeatures, FeatureStore
from unispeech_ft.scoring.report.data import Recordings
from unispeech_ft.scoring.report.figures import task_curves
from unispeech_ft.scoring.report.task_page import TaskReport, write_task_report
from unispeech_ft.scoring.summary import write_results
from unispeech_ft.scoring.timing import PhoneTime
from unispeech_ft.tasks.audio_classification.config import ClassifierConfig
from unispeech_ft.tasks.audio_classification.evaluate import (
    Evaluation,
    Summary,
    classify,
    classify_means,
    evaluate_clips,
    result_line,
    summarize,
)
from unispeech_ft.training.checkpoint import load_best
from unispeech_ft.training.loop import METRICS

if TYPE_CHECKING:
    from accelerate import Accelerator


CARD = TaskCard(
    task="audio_classification",
    config=ClassifierConfig,
    summary=Summary,
    figure="accuracy",
    line=result_line,
    title="Audio classification",
    trained_on="labelled clips",
    tags=("speech", "audio-classification", "unispeech"),
    library="transformers",
    pipeline="audio-classification",
    use="""python -c 'from transformers import pipeline
print(pipeline("audio-classification", model="MODEL")("clip.wav"))'""",
    load=AutoModelForAudioClassification.from_pretrained,
)


def _report(summary: Summary, found: Evaluation, clips: LabelledClips, output: Path) -> TaskReport:
    places = dict(zip(clips.ids, clips.rows, strict=True))
    times = {item.id: [PhoneTime(0.0, float(item.duration_s or 0.0), 1.0)] for item in found.scores}
    figures = [("Clips", f"{summary.clips:,}"), ("Classes", str(len(summary.classes)))]
    figures += [("Average recall", f"{100 * summary.uar:.2f} %")]
    figures += [] if summary.f1 is None else [("F1 of labels", f"{100 * summary.f1:.2f} %")]
    figures += [(f"Recall of {name}", f"{100 * value:.1f} %") for name, value in summary.recalls.items()]
    return TaskReport(
        f"Audio classification: {summary.split}",
        f"accuracy {100 * summary.accuracy:.2f} %",
        f"{result_line(summary)}. Accuracy is the share of clips that were recognised; higher is better.",
        figures,
        task_curves(output / METRICS, "accuracy", "Validation accuracy"),
        found.scores if summary.f1 is None else (),
        Recordings(times, lambda name: clips.audio.waveform(places[name])),
    )


def score_and_export(
    config: ClassifierConfig,
    clips: Clips,
    built: BuiltModel,
    features: Mapping[Split, FeatureStore | ComputedFeatures],
    accelerator: Accelerator,
) -> list[Summary]:
    """Scores validation and test with the best weights, writes results and model folder, and prints the outcome.

    Returns:
        The summaries; on other processes than the first, none.
    """
    output = Path(config.output_dir)
    load_best(output, built.model)
    separator, classes = clips.separator, clips.classes
    logits_of = classify_means if config.probe.enabled else classify
    summaries: dict[str, Summary] = {}
    for split, store in features.items():
        if split == "train":
            continue
        part = clips.splits[split]
        found = evaluate_clips(built.model, part, store, classes, accelerator, separator, logits_of=logits_of)
        if accelerator.is_main_process:
            summaries[split] = summarize(found, classes, model=str(output / "model"), split=split, separator=separator)
            write_results(output / "eval" / split, found.scores, summaries[split])
            report = _report(summaries[split], found, clips.splits[split], output)
            write_task_report(output / "eval" / split / "report.html", report)
            accelerator.print(result_line(summaries[split]))
    if accelerator.is_main_process:
        leave_model(CARD, config, summaries.values(), built)
    accelerator.wait_for_everyone()
    return list(summaries.values())
