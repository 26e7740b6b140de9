"""Trains a speaker diarization: who speaks when.

    accelerate launch recipes/speaker_diarization.py --config configs/speaker_diarization/superb.yaml --data.root DIR

The stages, each a function to read next: clips of single speakers are listed and decoded once; conversations are
simulated of them, each split with its own speakers; the frozen front end's features are computed once for each
conversation; the task is trained; the best model is scored on simulated conversations, and on real recordings where
they are named, and exported for `unispeech-ft diarize`.
"""

from __future__ import annotations

from unispeech_ft.launching import before_torch_loads

if __name__ == "__main__":
    before_torch_loads()

from unispeech_ft.data.labelled import describe_clips, open_clips
from unispeech_ft.data.simulate import describe_conversations, simulate
from unispeech_ft.errors import run_command
from unispeech_ft.kernels.install import place
from unispeech_ft.models.feature_cache import open_features
from unispeech_ft.runs.directory import open_run
from unispeech_ft.runs.dry_run import disk_lines
from unispeech_ft.runs.seeds import run_each
from unispeech_ft.tasks.speaker_diarization.config import FILE, DiarizationConfig
from unispeech_ft.tasks.speaker_diarization.evaluate import Summary
from unispeech_ft.tasks.speaker_diarization.export import open_recordings, score_and_export
from unispeech_ft.tasks.speaker_diarization.model import build_diarization
from unispeech_ft.tasks.speaker_diarization.task import SpeakerDiarizationTask, label_source
from unispeech_ft.training import launch
from unispeech_ft.training.sweep import fit


def main() -> None:
    run_each(FILE, run, "der", "DER")


def run(config: DiarizationConfig, *, last: bool = True) -> list[Summary]:
    """One run, and whether it is the last; returns the summaries of what it scored, on the first process alone."""
    accelerator = launch.start(config.tracking.trackers, config.output_dir)
    recordings = open_recordings(config)
    clips = open_clips(config.data, label_source(config), launch.turns_of(accelerator))
    clips = clips.augmented(config.augmentation, config.seed)
    held_out = "speaker_diarization.held_out"
    conversations = simulate(clips, config.simulation, config.augmentation, config.seed, held_out)
    samples = [count for part in conversations.values() for count in part.num_samples.tolist()]
    said = [*describe_clips(clips), *describe_conversations(conversations)]
    accelerator.print("\n".join([*said, *disk_lines(config, samples, accelerator.mixed_precision)]))
    if config.dry_run:
        accelerator.print("dry run: nothing was trained and nothing written but the caches")
        return []

    built = build_diarization(config, clips.classes)
    place(built.model, accelerator.device, config.model, config.training)
    cache, training = config.data.cache_folder, config.training
    features = {
        split: open_features(part, range(len(part)), built.front_end, cache, training, accelerator, split)
        for split, part in conversations.items()
    }
    task = SpeakerDiarizationTask(config, built, conversations, features, clips.classes, accelerator)
    checkpoint = open_run(config, task.identity, clips.left_out, accelerator)
    fit(task, config, config.probe, accelerator, checkpoint)
    summaries = score_and_export(config, conversations, recordings, built, features, accelerator)
    launch.finish(accelerator, last=last)
    return summaries


if __name__ == "__main__":
    run_command(main)
