"""Pre-trains a UniSpeech model with the contrastive task, phoneme CTC, or both.

    accelerate launch recipes/pretrain_unispeech.py --config configs/pretrain/stage_1_en.yaml [--section.key VALUE …]

The stages, each a function to read next: labelled speech is listed, decoded once and labelled; unlabelled speech is
opened as streams; the phones of the labelled speech become the rows of the CTC head; updates of a fixed number of
sub-batches are trained; the model is written as Transformers' `UniSpeechForPreTraining`, with its tokenizer, for
`recipes/ctc_phoneme.py --model.base OUTPUT/model`.
"""

from __future__ import annotations

import sys

from unispeech_ft.errors import run_command
from unispeech_ft.kernels.install import place
from unispeech_ft.tasks.ctc_phoneme import task as ctc
from unispeech_ft.tasks.pretraining import task as pretraining
from unispeech_ft.tasks.pretraining.config import load_pretrain_config
from unispeech_ft.tasks.pretraining.export import describe, export, open_run
from unispeech_ft.tasks.pretraining.loop import pretrain
from unispeech_ft.tasks.pretraining.model import build_pretraining_model, read_pretraining_config


def main() -> None:
    config = load_pretrain_config(sys.argv[1:])
    accelerator = ctc.start(config)
    shape = read_pretraining_config(config.model)
    speech = pretraining.open_labelled(config, accelerator, shape)
    pieces = pretraining.pieces_of(config)
    tokenizer = pretraining.head_for(speech, config)
    describe(config, speech, pieces, tokenizer, shape, accelerator)
    if config.dry_run:
        accelerator.print("dry run: nothing was trained and nothing written but the caches")
        return

    built = build_pretraining_model(config, tokenizer)
    place(built.network, accelerator.device, config.model, config.training)
    for note in built.notes:
        accelerator.print(note)
    open_run(config, speech, accelerator)
    task = pretraining.pretraining_task(config, built, speech, pieces, accelerator)
    progress = pretrain(task, config, accelerator)
    export(config, built, speech, progress, accelerator)
    accelerator.end_training()


if __name__ == "__main__":
    run_command(main)
