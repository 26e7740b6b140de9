"""What a pre-training says before it starts, and the folder that it leaves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from unispeech_ft.data.streaming import Pieces
from unispeech_ft.phonemes.tokenizer import PhoneTokenizer
from unispeech_ft.runs.directory import open_folder
from unispeech_ft.tasks.pretraining.config import PretrainConfig
from unispeech_ft.tasks.pretraining.loop import temperature_line
from unispeech_ft.tasks.pretraining.model import PretrainingModel
from unispeech_ft.tasks.pretraining.task import LabelledSpeech, identity, plan_for, slots_of
from unispeech_ft.training.checkpoint import Progress

if TYPE_CHECKING:
    from accelerate import Accelerator
    from transformers import PreTrainedConfig


def objective_line(config: PretrainConfig) -> str:
    """What is trained, in words."""
    objective = config.objective
    if objective.alpha == 1:
        return f"objective: CTC alone, {100 * objective.replacement:g} % of the frames replaced by their latents"
    if objective.alpha == 0:
        return f"objective: the contrastive task alone, {objective.negatives} negatives"
    return (
        f"objective: {objective.alpha:g} · CTC ({100 * objective.replacement:g} % of the frames replaced by their"
        f" latents) + {1 - objective.alpha:g} · contrastive ({objective.negatives} negatives)"
    )


def describe(
    config: PretrainConfig,
    speech: LabelledSpeech | None,
    pieces: Pieces | None,
    tokenizer: PhoneTokenizer | None,
    shape: PreTrainedConfig,
    accelerator: Accelerator,
) -> None:
    """Prints what there is and what would be trained on it."""
    say, slots = accelerator.print, slots_of(config)
    if speech is not None:
        for line in speech.notes:
            say(line)
        hours = float(speech.num_samples.sum()) / 16_000 / 3600
        say(f"labelled: {len(speech.num_samples)} clips, {hours:.2f} h")
        epoch = sum(len(update) for update in plan_for(config, speech).epoch(0))
        say(f"  {epoch} sub-batches an epoch")
    if pieces is not None:
        say(f"unlabelled: {pieces.source} {pieces.root}, {slots.num_streams} streams, {len(pieces.files)} file(s)")
    if tokenizer is not None:
        say(f"inventory: {len(tokenizer.phones)} phones: {' '.join(tokenizer.phones)}")
    say(objective_line(config))
    batch = config.batch
    say(
        f"updates: {config.schedule.updates}, each of {slots.count} sub-batches of at most"
        f" {batch.seconds_per_sub_batch:g} padded s, {100 * slots.unlabelled_share:g} % of them unlabelled"
    )
    if slots.count < accelerator.num_processes:
        say(f"warning: {accelerator.num_processes} processes share {slots.count} sub-batches; some have nothing to do")
    if config.objective.alpha < 1:
        say(temperature_line(config))
    from transformers import UniSpeechForPreTraining

    with torch.device("meta"):
        count = sum(parameter.numel() for parameter in UniSpeechForPreTraining(shape).parameters())
    say(f"model: unispeech, {count / 1e6:.1f} M parameters")


def open_run(config: PretrainConfig, speech: LabelledSpeech | None, accelerator: Accelerator) -> None:
    """Makes the run directory; see `run_folder.open_folder`."""
    open_folder(config, identity(config, speech), speech.left_out if speech else [], accelerator)


def _card(config: PretrainConfig, progress: Progress) -> str:
    speech = []
    if config.data.root is not None:
        speech.append(
            f"labelled speech ({', '.join(config.data.languages or [config.data.language or 'one language'])})"
        )
    if config.unlabelled.root is not None:
        speech.append(f"unlabelled speech ({config.unlabelled.source})")
    return (
        "---\nlibrary_name: transformers\ntags: [speech, unispeech, pre-training]\n---\n\n# A pre-trained UniSpeech\n\n"
        f"Pre-trained with unispeech_ft for {progress.updates} updates on {' and '.join(speech)}.\n"
        f"{objective_line(config)}.\n\n"
        "It recognises nothing by itself: fine-tune it, for example with\n"
        "`recipes/ctc_phoneme.py --model.base THIS_FOLDER`. `UniSpeechForPreTraining.from_pretrained` loads all its\n"
        "weights. The whole configuration stands in `config.yaml` of its run.\n"
    )


def export(
    config: PretrainConfig,
    built: PretrainingModel,
    speech: LabelledSpeech | None,
    progress: Progress,
    accelerator: Accelerator,
) -> None:
    """Writes the model folder of a finished run; on the first process."""
    if accelerator.is_main_process:
        folder = Path(config.output_dir) / "model"
        built.save(folder, config.model.layerdrop, _card(config, progress))
        accelerator.print(f"model: {folder}")
    accelerator.wait_for_everyone()
