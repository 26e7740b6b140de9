"""Fine-tunes a phoneme recogniser with CTC.

    accelerate launch recipes/ctc_phoneme.py --config configs/ctc_phoneme/demo.yaml [--section.key VALUE …]

The stages, each a function to read next: speech is listed, decoded once and labelled; the phones of the training
split become the rows of the head; the frozen front end's features are computed once for each clip; the batch plan is
made and trained; the best model is exported and scored on the test split. `--seed "[1, 2, 3]"` makes three such runs.
"""

from __future__ import annotations

import sys

from unispeech_ft.config.reading import load_configs
from unispeech_ft.config.sections import Config
from unispeech_ft.errors import run_command
from unispeech_ft.hub.push import check_hub, push_if_asked
from unispeech_ft.kernels.install import place
from unispeech_ft.models.build import build_model
from unispeech_ft.runs.directory import describe_data, open_output, score_and_export
from unispeech_ft.runs.dry_run import memory_lines, plan_lines
from unispeech_ft.runs.seeds import report_seeds
from unispeech_ft.scoring import Summary
from unispeech_ft.tasks.ctc_phoneme import task as ctc
from unispeech_ft.training.loop import train


def main() -> None:
    configs = load_configs(sys.argv[1:])
    for config in configs:
        check_hub(config)
    summaries = [run(config, last=config is configs[-1]) for config in configs]
    if len(configs) > 1 and all(summaries):
        report_seeds(configs, summaries)


def run(config: Config, *, last: bool = True) -> list[Summary]:
    """One run, and whether it is the last; returns the summaries of its scored splits, on the first process alone."""
    accelerator = ctc.start(config)
    model_config = ctc.model_frames(config)
    data = ctc.open_data(config, accelerator, model_config)
    tokenizer = ctc.head_for(data, config)
    describe_data(data, tokenizer, accelerator)
    plan = ctc.plan_for(config, data.splits["train"])
    longest = int(data.splits["train"].num_samples.max())
    for line in plan_lines(config, plan) + memory_lines(config, model_config, longest):
        accelerator.print(line)
    if config.dry_run:
        accelerator.print("dry run: nothing was trained and nothing written but the caches")
        return []

    built = build_model(config.model, config.mask, config.data, tokenizer, config.seed)
    place(built.model, accelerator.device, config.model, config.training)
    accelerator.print(f"head: {built.kept_rows} rows taken over from the base model, {built.fresh_rows} fresh")
    open_output(config, data, accelerator)
    features = ctc.all_features(data, built.front_end, config, accelerator)
    task = ctc.ctc_task(config, built, tokenizer, features, accelerator)
    train(task, config, accelerator)
    summaries = score_and_export(config, data, built, tokenizer, features, accelerator)
    ctc.finish(accelerator, last=last)
    push_if_asked(config, accelerator.is_main_process)
    return summaries


if __name__ == "__main__":
    run_command(main)
