"""Speech separation as a task: permutation-free training on simulated mixtures, scored by SI-SDRi."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from unispeech_ft.data.batch_plan import BatchPlan
from unispeech_ft.data.collate import Batch
from unispeech_ft.data.sources.labelled import LabelSource
from unispeech_ft.data.utterances import Split
from unispeech_ft.models.build import BuiltModel
from unispeech_ft.models.feature_cache import ComputedFeatures, FeatureStore
from unispeech_ft.tasks.speech_separation.config import SeparationConfig
from unispeech_ft.tasks.speech_separation.evaluate import improvements
from unispeech_ft.tasks.speech_separation.mixtures import MixtureBatch, Mixtures, MixtureSet
from unispeech_ft.tasks.speech_separation.model import (
    HEAD,
    masks_of,
    separation_loss,
    sounds_of,
    spectra,
    to_unit_power,
    waveform_loss,
)
from unispeech_ft.training.planned import FineTuning, identity_of_run
from unispeech_ft.training.task import Score, SummedLoss

if TYPE_CHECKING:
    from accelerate import Accelerator


def label_source(config: SeparationConfig) -> LabelSource:
    """Where the speakers of a run stand."""
    own = config.speech_separation
    return LabelSource(own.label_column, "speech_separation.label_column", own.held_out, speakers=True)


class SpeechSeparationTask(FineTuning):
    """Trains a separation head, and the encoder from `schedule.freeze_encoder_updates` on.

    Args:
        mixtures: of training and of the scored splits.
        features: of them.
    """

    def __init__(
        self,
        config: SeparationConfig,
        built: BuiltModel,
        mixtures: Mapping[Split, Mixtures],
        features: Mapping[Split, FeatureStore | ComputedFeatures],
        accelerator: Accelerator,
    ) -> None:
        train, batch = mixtures["train"], config.batch
        plan = BatchPlan(train.num_samples, batch.seconds_per_update, batch.seconds_per_micro_batch, config.seed)
        no_labels: list[list[int]] = [[]] * len(train)
        width = built.model.config.hidden_size
        training_set = MixtureSet(features["train"].clip, no_labels, width, config.mask, config.seed, mixtures=train)
        ids = [train.name(row) for row in range(len(train))]
        super().__init__(config, built.model, HEAD, plan, training_set, accelerator, ids)
        self.identity = identity_of_run(config, [config.speech_separation], train.key)
        self.own = config.speech_separation
        self.validation, self.features = mixtures["validation"], features
        self.can_score = True

    def loss(self, update: int, micro_batch: Batch) -> SummedLoss:
        """Σ over the mixtures of a micro-batch."""
        assert isinstance(micro_batch, MixtureBatch)
        scaled, _ = to_unit_power(micro_batch.sounds.float())
        found = spectra(scaled, self.own.window, self.own.hop)
        mixed, sources = found[:, 0], found[:, 1:]
        trains = not self.is_frozen(update)
        with self.accelerator.autocast():
            masks = masks_of(self.network, micro_batch.row, mixed.abs(), encoder_trains=trains)
        if self.own.loss == "si_sdr":
            sounds = sounds_of(masks * mixed[:, None], self.own.window, self.own.hop, scaled.shape[-1])
            return SummedLoss(waveform_loss(sounds, scaled[:, 1:]), len(mixed))
        return SummedLoss(separation_loss(masks, mixed, sources, logs=self.own.loss == "log_magnitudes"), len(mixed))

    def score(self) -> Score:
        store = self.features["validation"]
        found = float(np.mean(improvements(self.network, self.validation, store, self.accelerator)))
        return Score({"si_sdri_db": found}, -found, f"validation SI-SDRi {found:.2f} dB")
