"""Fine-tunes a classifier of audio clips: words, speakers, languages, a label a clip.

    accelerate launch recipes/audio_classification.py --config configs/audio_classification/folder.yaml --data.root DIR

The stages, each a function to read next: clips are listed (a folder for each class, or a manifest with a column of
labels) and decoded once; the frozen front end's features are computed once for each clip; the task is trained; the best
model is scored on the test split and exported for `pipeline("audio-classification")`.
"""

from __future__ import annotations

from unispeech_ft.launching import before_torch_loads

if __name__ == "__main__":
    before_torch_loads()

from unispeech_ft.data.labelled import describe_clips, open_clips
from unispeech_ft.errors import run_command
from unispeech_ft.kernels.install import place
from unispeech_ft.runs.directory import open_run
from unispeech_ft.runs.dry_run import disk_lines
from unispeech_ft.runs.seeds import run_each
from unispeech_ft.tasks.audio_classification.config import FILE, ClassifierConfig
from unispeech_ft.tasks.audio_classification.evaluate import Summary
from unispeech_ft.tasks.audio_classification.export import score_and_export
from unispeech_ft.tasks.audio_classification.model import build_classifier
from unispeech_ft.tasks.audio_classification.task import AudioClassificationTask, label_source, open_stores
from unispeech_ft.training import launch
from unispeech_ft.training.averaging import check_validation
from unispeech_ft.training.sweep import fit


def main() -> None:
    run_each(FILE, run, "accuracy", "accuracy")


def run(config: ClassifierConfig, *, last: bool = True) -> list[Summary]:
    """One run, and whether it is the last; returns the summaries of its scored splits, on the first process alone."""
    accelerator = launch.start(config.tracking.trackers, config.output_dir)
    clips = open_clips(config.data, label_source(config), launch.turns_of(accelerator))
    said = describe_clips(clips)
    clips = clips.augmented(config.augmentation, config.seed)
    kept_in = None if config.probe.enabled else accelerator.mixed_precision  # a probe keeps no features
    said += disk_lines(config, clips.num_samples, kept_in)
    accelerator.print("\n".join(said))
    check_validation(config.training, probe=config.probe.enabled, can_score="validation" in clips.splits)
    if config.dry_run:
        accelerator.print("dry run: nothing was trained and nothing written but the caches")
        return []

    built = build_classifier(config, clips.classes)
    place(built.model, accelerator.device, config.model, config.training)
    features = open_stores(config, built, clips, accelerator)
    task = AudioClassificationTask(config, built, clips, features, accelerator)
    checkpoint = open_run(config, task.identity, clips.left_out, accelerator)
    fit(task, config, config.probe, accelerator, checkpoint)
    summaries = score_and_export(config, clips, built, features, accelerator)
    launch.finish(accelerator, last=last)
    return summaries


if __name__ == "__main__":
    run_command(main)
