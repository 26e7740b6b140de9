"""Pre-trains a UniSpeech with the contrastive task and phoneme CTC, or a HuBERT, WavLM, ILS-SSL or UniSpeech-SAT with
masked prediction.

    accelerate launch recipes/pretrain.py --config configs/pretrain/stage_1_en.yaml [--section.key VALUE …]

The stages, each a function to read next: labelled speech is listed, decoded once and labelled; unlabelled speech is
opened as streams, with the classes of its frames where they are predicted (`unispeech-ft targets`); the phones of the
labelled speech become the rows of the CTC head; the task is trained; the model is written so that
`AutoModelForPreTraining` loads it, for `recipes/ctc_phoneme.py --model.base OUTPUT/model`.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from unispeech_ft.launching import before_torch_loads

if __name__ == "__main__":
    before_torch_loads()

from unispeech_ft.errors import run_command
from unispeech_ft.kernels.install import place
from unispeech_ft.models.families import num_frames
from unispeech_ft.runs.directory import open_run
from unispeech_ft.runs.seeds import run_each
from unispeech_ft.tasks.pretraining import speech
from unispeech_ft.tasks.pretraining.config import FILE, PretrainingConfig
from unispeech_ft.tasks.pretraining.export import describe, export
from unispeech_ft.tasks.pretraining.model import build_pretraining_model, read_pretraining_config
from unispeech_ft.tasks.pretraining.task import PretrainingTask
from unispeech_ft.training import launch
from unispeech_ft.training.loop import train


def main() -> None:
    run_each(FILE, run)


def run(config: PretrainingConfig, *, last: bool = True) -> list[Any]:
    """One run, and whether it is the last; it scores no split."""
    accelerator = launch.start(config.tracking.trackers, config.output_dir)
    shape = read_pretraining_config(config)
    labelled = speech.open_labelled(config, partial(num_frames, shape), launch.turns_of(accelerator))
    pieces = speech.pieces_of(config)
    tokenizer = speech.make_tokenizer(labelled, config)
    describe(config, labelled, pieces, tokenizer, shape, accelerator)
    if config.dry_run:
        accelerator.print("dry run: nothing was trained and nothing written but the caches")
        return []

    built = build_pretraining_model(config, tokenizer)
    place(built.network, accelerator.device, config.model, config.training)
    for note in built.notes:
        accelerator.print(note)
    task = PretrainingTask(config, built, labelled, pieces, accelerator)
    checkpoint = open_run(config, task.identity, labelled.left_out if labelled else [], accelerator)
    progress = train(task, config, accelerator, checkpoint)
    export(config, built, progress, accelerator)
    launch.finish(accelerator, last=last)
    return []


if __name__ == "__main__":
    run_command(main)
