"""Audio classification as a task: cross-entropy of a label a clip."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import nn

from unispeech_ft.data.batch_plan import BatchPlan
from unispeech_ft.data.collate import Batch, TrainingSet
from unispeech_ft.data.utterances import Split
from unispeech_ft.models.build import BuiltModel
from unispeech_ft.models.feature_cache import ComputedFeatures, FeatureStore
from unispeech_ft.tasks.audio_classification.config import ClassifierConfig
from unispeech_ft.tasks.audio_classification.data import Clips
from unispeech_ft.tasks.audio_classification.evaluate import classify, evaluate_clips
from unispeech_ft.tasks.audio_classification.model import HEAD
from unispeech_ft.training.checkpoint import identity_of
from unispeech_ft.training.planned import FineTuning
from unispeech_ft.training.task import Score, SummedLoss

if TYPE_CHECKING:
    from accelerate import Accelerator


def identity(config: ClassifierConfig, clips: Clips) -> str:
    """Identifies data, labels, batches, seed and model of a run."""
    sections = [config.model, config.batch, config.mask, config.audio_classification]
    said = [section.model_dump(mode="json") for section in sections]
    train = clips.splits["train"]
    normalised = [config.data.normalize, config.data.normalize_eps]
    return identity_of(config.seed, *said, normalised, train.ids, train.labels, train.num_samples.tolist())


class AudioClassificationTask(FineTuning):
    """Fine-tunes an encoder and a stock classifier with cross-entropy.

    Args:
        features: of the training split and, where there is one, of validation.
    """

    def __init__(
        self,
        config: ClassifierConfig,
        built: BuiltModel,
        clips: Clips,
        features: Mapping[Split, FeatureStore | ComputedFeatures],
        accelerator: Accelerator,
    ) -> None:
        train, batch = clips.splits["train"], config.batch
        rows = {name: row for row, name in enumerate(clips.classes)}
        labels = [[rows[label]] for label in train.labels]
        plan = BatchPlan(train.num_samples, batch.seconds_per_update, batch.seconds_per_micro_batch, config.seed)
        width = built.model.config.hidden_size
        training_set = TrainingSet(features["train"].clip, labels, width, config.mask, config.seed)
        super().__init__(config, built.model, HEAD, plan, training_set, accelerator, train.ids)
        self.identity = identity(config, clips)
        self.classes, self.features = clips.classes, features
        self.validation = clips.splits.get("validation")
        self.can_score = self.validation is not None

    def loss(self, update: int, micro_batch: Batch) -> SummedLoss:
        """Σ cross-entropy of one micro-batch."""
        with self.accelerator.autocast():
            trains = not self.is_frozen(update)
            logits = classify(self.network, micro_batch.row, self.layers(update), encoder_trains=trains)
        loss = nn.functional.cross_entropy(logits, micro_batch.labels, reduction="sum")
        return SummedLoss(loss, len(micro_batch.num_labels))

    def score(self) -> Score:
        if self.validation is None:
            raise ValueError("there is no validation split")
        found = evaluate_clips(
            self.network, self.validation, self.features["validation"], self.classes, self.accelerator
        )
        values = {"accuracy": found.accuracy, "seconds": round(found.seconds, 3)}
        return Score(values, 1 - found.accuracy, f"validation accuracy {100 * found.accuracy:.2f} %")
