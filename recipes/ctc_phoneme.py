"""Fine-tunes a phone recogniser with CTC.

    accelerate launch recipes/ctc_phoneme.py --config configs/ctc_phoneme/demo.yaml [--section.key VALUE …]

The stages, each a function to read next: speech is listed, decoded once and labelled; the phones of the training
split become the rows of the head; the frozen front end's features are computed once for each clip; the task is
trained; the best model is exported and scored on the test split. `--seed "[1, 2, 3]"` makes three such runs.
"""

from __future__ import annotations

from unispeech_ft.launching import before_torch_loads

if __name__ == "__main__":
    before_torch_loads()

from unispeech_ft.data.speech import describe_speech, make_tokenizer, open_speech
from unispeech_ft.errors import fitted, run_command
from unispeech_ft.hub.push import check_hub, push_if_asked
from unispeech_ft.models.build import frame_counter
from unispeech_ft.runs.directory import open_run
from unispeech_ft.runs.dry_run import planned_lines
from unispeech_ft.runs.seeds import run_each
from unispeech_ft.scoring import Summary
from unispeech_ft.tasks.ctc_phoneme.config import FILE, CtcPhonemeConfig
from unispeech_ft.tasks.ctc_phoneme.losses import check_losses
from unispeech_ft.tasks.ctc_phoneme.model import build_recogniser
from unispeech_ft.tasks.ctc_phoneme.results import score_and_export
from unispeech_ft.tasks.ctc_phoneme.task import all_features, ctc_phoneme_task, identity
from unispeech_ft.tasks.ctc_phoneme.zero_shot import zero_shot_floor
from unispeech_ft.training import launch
from unispeech_ft.training.averaging import check_validation
from unispeech_ft.training.sweep import fit


def main() -> None:
    run_each(FILE, run)


def run(config: CtcPhonemeConfig, *, last: bool = True) -> list[Summary]:
    """One run, and whether it is the last; returns the summaries of its scored splits, on the first process alone."""
    check_hub(config.hub)
    accelerator = launch.start(config.tracking.trackers, config.output_dir)
    num_frames = frame_counter(config.model, dry_run=config.dry_run)
    turns = launch.turns_of(accelerator)
    speech = open_speech(config.data, config.phonemes, num_frames=num_frames, turns=turns)
    tokenizer = make_tokenizer(speech, config.data, config.phonemes)
    splits, copied = speech.splits_to_train_on(config.augmentation, config.seed, config.data, num_frames)
    lines = describe_speech(speech, tokenizer) + copied
    lines += planned_lines(config, splits, accelerator.mixed_precision)
    accelerator.print(fitted(lines))
    check_losses(config, tokenizer, reached=num_frames is not None)
    check_validation(config.training, probe=config.probe.enabled, can_score="validation" in splits)
    if config.dry_run:
        accelerator.print("dry run: nothing was trained and nothing written but the caches")
        return []

    built = build_recogniser(config, tokenizer, accelerator)
    checkpoint = open_run(config, identity(config, splits["train"]), speech.left_out, accelerator)
    features = all_features(splits, built.front_end, config, accelerator)
    task = ctc_phoneme_task(config, built, tokenizer, features, accelerator)
    zero_shot = zero_shot_floor(config, speech, built, tokenizer, features, accelerator)
    fit(task, config, config.probe, accelerator, checkpoint)
    summaries = score_and_export(config, speech, built, tokenizer, features, accelerator, zero_shot)
    launch.finish(accelerator, last=last)
    push_if_asked(config, accelerator.is_main_process)
    return summaries


if __name__ == "__main__":
    run_command(main)
