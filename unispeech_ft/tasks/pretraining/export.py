"""What a pre-training says before it starts, and the folder that it leaves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from unispeech_ft.data.audio import SAMPLE_RATE_HZ
from unispeech_ft.data.streaming import Pieces
from unispeech_ft.data.targets import open_targets
from unispeech_ft.models.saving import save_model, waveform_extractor
from unispeech_ft.phonemes.tokenizer import PhoneTokenizer
from unispeech_ft.runs.room import room_lines
from unispeech_ft.tasks.pretraining.config import PretrainingConfig
from unispeech_ft.tasks.pretraining.model import PretrainingModel
from unispeech_ft.tasks.pretraining.speech import LabelledSpeech, layout_of, plan_for
from unispeech_ft.tasks.pretraining.unispeech_objective import update_temperature
from unispeech_ft.training.checkpoint import Progress

if TYPE_CHECKING:
    from accelerate import Accelerator
    from transformers import PreTrainedConfig


def objective_line(config: PretrainingConfig) -> str:
    """What is trained, in words."""
    objective, mixing = config.objective, config.mixing
    if objective.kind != "unispeech":
        layers = "the last layer" if objective.layers is None else f"layers {', '.join(map(str, objective.layers))}"
        said = f"objective: classes of masked frames, predicted from {layers}"
        said += f" + {objective.penalty_weight:g} · penalty on the extractor"
        if objective.kind == "sat":
            said += f" + {objective.utterance_weight:g} · utterance-wise contrastive"
            said += f" + {objective.diversity_weight:g} · diversity"
        return said + (f"; {100 * mixing.prob:g} % of the clips are mixed" if mixing.prob else "")
    if objective.alpha == 1:
        return f"objective: CTC alone, {100 * objective.replacement:g} % of the frames replaced by their latents"
    if objective.alpha == 0:
        return f"objective: the contrastive task alone, {objective.negatives} negatives"
    return (
        f"objective: {objective.alpha:g} · CTC ({100 * objective.replacement:g} % of the frames replaced by their"
        f" latents) + {1 - objective.alpha:g} · contrastive ({objective.negatives} negatives)"
    )


def describe(
    config: PretrainingConfig,
    speech: LabelledSpeech | None,
    pieces: Pieces | None,
    tokenizer: PhoneTokenizer | None,
    shape: PreTrainedConfig,
    accelerator: Accelerator,
) -> None:
    """Prints what there is and what would be trained on it."""
    say, layout = accelerator.print, layout_of(config)
    if speech is not None:
        for line in speech.notes:
            say(line)
        hours = float(speech.num_samples.sum()) / SAMPLE_RATE_HZ / 3600
        say(f"labelled: {len(speech.num_samples)} clips, {hours:.2f} h")
        epoch = sum(len(update) for update in plan_for(config, speech).epoch(0))
        say(f"  {epoch} micro-batches an epoch")
    if pieces is not None:
        say(f"unlabelled: {pieces.source} {pieces.root}, {layout.num_streams} streams, {len(pieces.files)} file(s)")
    if config.unlabelled.targets is not None:
        targets = open_targets(config.unlabelled.targets)
        targets.check()
        say(
            f"targets: {targets.num_classes} classes of {targets.num_recordings} recordings, {targets.made['features']}"
        )
    if tokenizer is not None:
        say(f"inventory: {len(tokenizer.phones)} phones: {' '.join(tokenizer.phones)}")
    say(objective_line(config))
    batch = config.batch
    say(
        f"updates: {config.schedule.updates}, each of {layout.count} micro-batches of at most"
        f" {batch.seconds_per_micro_batch:g} padded s, {100 * layout.unlabelled_share:g} % of them unlabelled"
    )
    if layout.count < accelerator.num_processes:
        shared = f"{accelerator.num_processes} processes share {layout.count} micro-batches"
        say(f"warning: {shared}; some have nothing to do")
    if config.objective.kind == "sat" or (config.objective.kind == "unispeech" and config.objective.alpha < 1):
        first, last = (update_temperature(update, config) for update in (0, config.schedule.updates - 1))
        say(f"Gumbel temperature: {first:.3g} at the start, {last:.3g} at the end")
    from unispeech_ft.models.prediction import AutoModelForPreTraining

    with torch.device("meta"):
        network: Any = AutoModelForPreTraining.from_config(shape)
    count = sum(int(parameter.numel()) for parameter in network.parameters())
    say(f"model: {type(network).__name__}, {count / 1e6:.1f} M parameters")
    for line in room_lines(config, shape, count, [] if speech is None else speech.num_samples.tolist(), None):
        say(line)


def _card(config: PretrainingConfig, built: PretrainingModel, progress: Progress) -> str:
    speech = []
    if config.data.root is not None:
        speech.append(
            f"labelled speech ({', '.join(config.data.languages or [config.data.language or 'one language'])})"
        )
    if config.unlabelled.root is not None:
        speech.append(f"unlabelled speech ({config.unlabelled.source})")
    name = type(built.network).__name__
    ours = "" if config.objective.kind != "masked_prediction" else "\n`import unispeech_ft.models.prediction` names it."
    return (
        f"---\nlibrary_name: transformers\ntags: [speech, {config.objective.kind}, pre-training]\n---\n\n"
        f"# A pre-trained {name.removesuffix('ForPreTraining')}\n\n"
        f"Pre-trained with unispeech_ft for {progress.updates} updates on {' and '.join(speech)}.\n"
        f"{objective_line(config)}.\n\n"
        "It recognises nothing by itself: fine-tune it, for example with\n"
        "`recipes/ctc_phoneme.py --model.base THIS_FOLDER`. `AutoModelForPreTraining` loads all its weights\n"
        f"({name}).{ours} The whole configuration stands in `config.yaml` of its run.\n"
    )


def export(config: PretrainingConfig, built: PretrainingModel, progress: Progress, accelerator: Accelerator) -> None:
    """Writes the model folder of a finished run; on the first process."""
    if accelerator.is_main_process:
        folder = Path(config.output_dir) / "model"
        extractor = waveform_extractor(built.network.config, built.normalize, built.eps)
        card, layerdrop = _card(config, built, progress), config.model.layerdrop
        save_model(folder, built.network, extractor, built.tokenizer, layerdrop=layerdrop, card=card)
        accelerator.print(f"model: {folder}")
    accelerator.wait_for_everyone()
