"""A stock `…ForSequenceClassification` from a configuration, a pre-trained model or random weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from unispeech_ft.errors import UserError
from unispeech_ft.models.build import (
    BuiltModel,
    base_folder,
    read_model_config,
    regularise,
    stock_front_end,
)
from unispeech_ft.models.families import backbone, reads_waveforms
from unispeech_ft.models.filter_bank import start_as_filter_bank
from unispeech_ft.models.loader import load_network
from unispeech_ft.tasks.audio_classification.config import ClassifierConfig

HEAD = ("projector.", "classifier.", "layer_weights")


def build_classifier(run: ClassifierConfig, classes: Sequence[str]) -> BuiltModel:
    """The model with a row of its head for each class.

    Raises:
        UserError: the base model cannot be found or loaded, or Transformers has no classifier of its family.
    """
    from transformers import AutoModelForAudioClassification as Classifier

    model = run.model
    config = read_model_config(model)
    if type(config) not in Classifier._model_mapping:
        raise UserError(
            f"model.base: Transformers has no audio classifier of type {config.model_type!r}",
            remedy="use unispeech, unispeech-sat, wavlm, wav2vec2 or hubert",
        )
    regularise(config, model, run.mask)
    config.num_labels = len(classes)
    config.id2label = dict(enumerate(classes))
    several = run.audio_classification.separator is not None
    config.problem_type = "multi_label_classification" if several else "single_label_classification"
    config.label2id = {name: row for row, name in enumerate(classes)}
    config.use_weighted_layer_sum = config.use_weighted_layer_sum or run.probe.enabled
    if config.use_weighted_layer_sum:
        if model.layerdrop > 0:
            raise UserError(f"model.layerdrop is {model.layerdrop}", remedy="set it to 0: this head reads all layers")
        # Else Transformers 5 sums what the last layer gives before the encoder's own norm, unlike 4 and SUPERB.
        config.tie_last_hidden_states = True
    torch.manual_seed(run.seed)
    options = {"ignore_mismatched_sizes": True}
    network: Any
    if model.from_scratch:
        network, fresh = Classifier.from_config(config).float(), len(classes)
        if reads_waveforms(config):
            start_as_filter_bank(backbone(network).feature_extractor)
    else:
        network, missing = load_network(
            Classifier, str(model.base), config, heads=HEAD, revision=model.revision, options=options
        )
        fresh = len(classes) if missing else 0
    if run.probe.enabled:
        torch.manual_seed(run.seed)
        torch.nn.init.zeros_(network.layer_weights)
        network.projector.reset_parameters()
        network.classifier.reset_parameters()
        fresh = len(classes)
    network.config.layerdrop = 0.0
    if model.gradient_checkpointing:
        network.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    if reads_waveforms(config):
        backbone(network).feature_extractor._freeze_parameters()
    folder: Path | None = base_folder(model)
    return BuiltModel(network, stock_front_end(network, run.data, folder), len(classes) - fresh, fresh)
