"""Trains a speech separation: two people who speak at once, each alone.

    accelerate launch recipes/speech_separation.py --config configs/speech_separation/superb.yaml --data.root DIR

The stages, each a function to read next: clips of single speakers are listed and decoded once; mixtures are simulated
of them and kept, each split with its own speakers; the frozen front end's features are computed once for each mixture;
the task is trained; the best model is scored on mixtures of unseen speakers, and exported for `unispeech-ft separate`.
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
from unispeech_ft.runs.seeds import run_each
from unispeech_ft.tasks.speech_separation.config import FILE, SeparationConfig
from unispeech_ft.tasks.speech_separation.evaluate import Summary
from unispeech_ft.tasks.speech_separation.export import score_and_export
from unispeech_ft.tasks.speech_separation.mixtures import open_mixtures
from unispeech_ft.tasks.speech_separation.model import build_separation
from unispeech_ft.tasks.speech_separation.task import SpeechSeparationTask, label_source
from unispeech_ft.training import launch
from unispeech_ft.training.sweep import fit


def main() -> None:
    run_each(FILE, run, "si_sdri_db", "SI-SDRi", unit="dB")


def run(config: SeparationConfig, *, last: bool = True) -> list[Summary]:
    """One run, and whether it is the last; returns the summaries of what it scored, on the first process alone."""
    accelerator = launch.start(config.tracking.trackers, config.output_dir)
    clips = open_clips(config.data, label_source(config), launch.turns_of(accelerator))
    clips = clips.augmented(config.augmentation, config.seed)
    held_out = "speech_separation.held_out"
    conversations = simulate(clips, config.simulation, config.augmentation, config.seed, held_out)
    accelerator.print("\n".join([*describe_clips(clips), *describe_conversations(conversations)]))
    if config.dry_run:
        accelerator.print("dry run: nothing was trained and nothing written but the caches")
        return []

    built = build_separation(config)
    place(built.model, accelerator.device, config.model, config.training)
    cache, training = config.data.cache_folder, config.training
    mixtures = {split: open_mixtures(part, cache, accelerator) for split, part in conversations.items()}
    features = {
        split: open_features(part, range(len(part)), built.front_end, cache, training, accelerator, split)
        for split, part in mixtures.items()
    }
    task = SpeechSeparationTask(config, built, mixtures, features, accelerator)
    checkpoint = open_run(config, task.identity, clips.left_out, accelerator)
    fit(task, config, config.probe, accelerator, checkpoint)
    summaries = score_and_export(config, mixtures, built, features, accelerator)
    launch.finish(accelerator, last=last)
    return summaries


if __name__ == "__main__":
    run_command(main)
