"""Trains a speaker verification: one vector for each clip, near for one speaker, far for two.

    accelerate launch recipes/speaker_verification.py --config configs/speaker_verification/frozen.yaml --data.root DIR

The stages, each a function to read next: clips are listed (a folder for each speaker, or a manifest with a column of
speakers) and decoded once; changed copies join them; the frozen front end's features are computed once for each; the
task is trained; the best model is scored on trials of other speakers and exported for `unispeech-ft verify-speakers`.
"""

from __future__ import annotations

from unispeech_ft.launching import before_torch_loads

if __name__ == "__main__":
    before_torch_loads()

from unispeech_ft.data.labelled import describe_clips, open_clips
from unispeech_ft.errors import run_command
from unispeech_ft.kernels.install import place
from unispeech_ft.models.feature_cache import open_features
from unispeech_ft.runs.directory import open_run
from unispeech_ft.runs.dry_run import disk_lines
from unispeech_ft.runs.seeds import run_each
from unispeech_ft.tasks.speaker_verification.config import FILE, SpeakerConfig
from unispeech_ft.tasks.speaker_verification.evaluate import Summary
from unispeech_ft.tasks.speaker_verification.export import open_trials, score_and_export
from unispeech_ft.tasks.speaker_verification.model import build_speaker_model
from unispeech_ft.tasks.speaker_verification.task import SpeakerVerificationTask, label_source
from unispeech_ft.training import launch
from unispeech_ft.training.averaging import check_validation
from unispeech_ft.training.sweep import fit


def main() -> None:
    run_each(FILE, run, "eer", "EER")


def run(config: SpeakerConfig, *, last: bool = True) -> list[Summary]:
    """One run, and whether it is the last; returns the summaries of its scored splits, on the first process alone."""
    accelerator = launch.start(config.tracking.trackers, config.output_dir)
    clips = open_clips(config.data, label_source(config), launch.turns_of(accelerator))
    said = describe_clips(clips)
    clips = clips.augmented(config.augmentation, config.seed)
    said += disk_lines(config, clips.num_samples, accelerator.mixed_precision)
    accelerator.print("\n".join(said))
    trials = open_trials(config, clips)
    check_validation(config.training, probe=config.probe.enabled, can_score="validation" in clips.splits)
    if config.dry_run:
        accelerator.print("dry run: nothing was trained and nothing written but the caches")
        return []

    built = build_speaker_model(config, clips.classes)
    place(built.model, accelerator.device, config.model, config.training)
    features = {
        split: open_features(
            part.audio, part.rows, built.front_end, config.data.cache_folder, config.training, accelerator, split
        )
        for split, part in clips.splits.items()
    }
    task = SpeakerVerificationTask(config, built, clips, features, accelerator)
    checkpoint = open_run(config, task.identity, clips.left_out, accelerator)
    fit(task, config, config.probe, accelerator, checkpoint)
    summaries = score_and_export(config, clips, trials, built, features, accelerator)
    launch.finish(accelerator, last=last)
    return summaries


if __name__ == "__main__":
    run_command(main)
