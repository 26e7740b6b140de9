"""Speaker verification as a task: a margin loss over the training speakers, scored by EER on others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from unispeech_ft.data.audio import SAMPLE_RATE_HZ
from unispeech_ft.data.batch_plan import BatchPlan
from unispeech_ft.data.collate import Batch, TrainingSet
from unispeech_ft.data.labelled import Clips
from unispeech_ft.data.sources.labelled import LabelSource
from unispeech_ft.data.utterances import Split
from unispeech_ft.models.build import BuiltModel
from unispeech_ft.models.feature_cache import ComputedFeatures, FeatureStore
from unispeech_ft.models.masked_norm import noted_statistics, num_statistics, take_statistics
from unispeech_ft.tasks.speaker_verification.config import SpeakerConfig
from unispeech_ft.tasks.speaker_verification.evaluate import embed, plain_eer
from unispeech_ft.tasks.speaker_verification.loss import margin_at
from unispeech_ft.tasks.speaker_verification.model import HEAD, speaker_vectors
from unispeech_ft.tasks.speaker_verification.trials import pairs_of_speakers
from unispeech_ft.training.planned import FineTuning, identity_of_run
from unispeech_ft.training.task import Score, SummedLoss

if TYPE_CHECKING:
    from accelerate import Accelerator


def label_source(config: SpeakerConfig) -> LabelSource:
    """Where the speakers of a run stand."""
    own = config.speaker_verification
    return LabelSource(own.label_column, "speaker_verification.label_column", own.held_out, speakers=True)


class SpeakerVerificationTask(FineTuning):
    """Trains a speaker head, and the encoder from `schedule.freeze_encoder_updates` on.

    Args:
        features: of the training split and, where there is one, of validation.
    """

    def __init__(
        self,
        config: SpeakerConfig,
        built: BuiltModel,
        clips: Clips,
        features: Mapping[Split, FeatureStore | ComputedFeatures],
        accelerator: Accelerator,
    ) -> None:
        train, batch, own = clips.splits["train"], config.batch, config.speaker_verification
        rows = {name: row for row, name in enumerate(clips.classes)}
        labels = [[rows[label]] for label in train.labels]
        crop = round(own.crop_s * SAMPLE_RATE_HZ)
        num_samples = np.minimum(train.num_samples, crop)
        plan = BatchPlan(num_samples, batch.seconds_per_update, batch.seconds_per_micro_batch, config.seed)
        training_set = TrainingSet(
            features["train"].clip,
            labels,
            built.model.config.hidden_size,
            config.mask,
            config.seed,
            built.front_end.num_frames(crop),
        )
        super().__init__(config, built.model, HEAD, plan, training_set, accelerator, train.ids)
        said = (train.ids, train.labels, train.num_samples.tolist())
        self.identity = identity_of_run(config, [config.speaker_verification, config.augmentation], *said)
        self.own, self.num_sums = own, num_statistics(built.model)
        self.validation, self.features = clips.splits.get("validation"), features
        self.can_score = self.validation is not None

    def loss(self, update: int, micro_batch: Batch) -> SummedLoss:
        """Σ margin loss of one micro-batch."""
        with self.accelerator.autocast():
            vectors = speaker_vectors(self.network, micro_batch.row, encoder_trains=not self.is_frozen(update))
        margin = margin_at(update, self.own.margin_from, self.own.margin_until, self.own.margin)
        head: Any = self.network.head
        loss = head.speakers(vectors, micro_batch.labels, margin)
        return SummedLoss(loss, len(micro_batch.num_labels), noted_statistics(self.network))

    def absorb(self, sums: Tensor) -> None:
        take_statistics(self.network, sums)

    def score(self) -> Score:
        if self.validation is None:
            raise ValueError("there is no validation split")
        found = embed(self.network, self.validation, self.features["validation"], self.accelerator)
        error = plain_eer(found, pairs_of_speakers(found.speakers, self.own.max_trials, self.run.seed))
        return Score({"eer": error}, error, f"validation EER {100 * error:.2f} %")
