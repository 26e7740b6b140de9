"""Audio classification as a task: cross-entropy of a label a clip."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

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
from unispeech_ft.training.planned import drawn_layers, parameters_that_run, planned_updates
from unispeech_ft.training.schedule import is_frozen
from unispeech_ft.training.task import Score, SummedLoss, Task, UpdateShare

if TYPE_CHECKING:
    from accelerate import Accelerator


def identity(config: ClassifierConfig, clips: Clips) -> str:
    """Identifies data, labels, batches, seed and model of a run."""
    sections = [config.model, config.batch, config.mask, config.audio_classification]
    said = [section.model_dump(mode="json") for section in sections]
    train = clips.splits["train"]
    normalised = [config.data.normalize, config.data.normalize_eps]
    return identity_of(config.seed, *said, normalised, train.ids, train.labels, train.num_samples.tolist())


class AudioClassificationTask(Task[Batch]):
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
        self.config, self.network, self.accelerator = config, built.model, accelerator
        self.identity = identity(config, clips)
        self.classes = clips.classes
        train, batch = clips.splits["train"], config.batch
        rows = {name: row for row, name in enumerate(self.classes)}
        labels = [[rows[label]] for label in train.labels]
        self.plan = BatchPlan(train.num_samples, batch.seconds_per_update, batch.seconds_per_micro_batch, config.seed)
        width = built.model.config.hidden_size
        self.training_set = TrainingSet(features["train"].clip, labels, width, config.mask, config.seed)
        self.validation = clips.splits.get("validation")
        self.features = features
        self.can_score = self.validation is not None

    def updates(self, first: int, last: int, state: Mapping[str, Any] | None) -> Iterator[UpdateShare[Batch]]:
        return planned_updates(
            self.plan,
            self.training_set,
            first,
            last,
            self.accelerator,
            seconds_per_pass=self.config.training.seconds_per_pass,
            num_workers=self.config.data.num_workers,
        )

    def _is_frozen(self, update: int) -> bool:
        return is_frozen(update, self.config.schedule)

    def _layers(self, update: int) -> list[int] | None:
        return drawn_layers(self.network, self.config.seed, update, self.config.model.layerdrop)

    def loss(self, update: int, micro_batch: Batch) -> SummedLoss:
        """Σ cross-entropy of one micro-batch."""
        with self.accelerator.autocast():
            logits = classify(
                self.network, micro_batch.row, self._layers(update), encoder_trains=not self._is_frozen(update)
            )
        loss = nn.functional.cross_entropy(logits, micro_batch.labels, reduction="sum")
        return SummedLoss(loss, len(micro_batch.num_labels))

    def trained_parameters(self, update: int) -> list[nn.Parameter]:
        """The head alone while the encoder is frozen, else all but the conv extractor and the layers left out."""
        if self._is_frozen(update):
            return [p for name, p in self.network.named_parameters() if name.startswith(HEAD)]
        return parameters_that_run(self.network, self._layers(update))

    def score(self) -> Score:
        if self.validation is None:
            raise ValueError("there is no validation split")
        found = evaluate_clips(
            self.network, self.validation, self.features["validation"], self.classes, self.accelerator
        )
        values = {"accuracy": found.accuracy, "seconds": round(found.seconds, 3)}
        return Score(values, 1 - found.accuracy, f"validation accuracy {100 * found.accuracy:.2f} %")
