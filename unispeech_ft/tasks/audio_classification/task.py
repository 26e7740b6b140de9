"""Audio classification as a task: cross-entropy of a label a clip."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from unispeech_ft.data.audio import SAMPLE_RATE_HZ
from unispeech_ft.data.batch_plan import BatchPlan
from unispeech_ft.data.collate import Batch, TrainingSet
from unispeech_ft.data.labelled import Clips
from unispeech_ft.data.sources.labelled import LabelSource, labels_of
from unispeech_ft.data.utterances import Split
from unispeech_ft.models.build import BuiltModel
from unispeech_ft.models.feature_cache import ComputedFeatures, FeatureStore, open_features
from unispeech_ft.models.layer_means import open_layer_means
from unispeech_ft.tasks.audio_classification.config import ClassifierConfig
from unispeech_ft.tasks.audio_classification.evaluate import classify, classify_means, evaluate_clips, uar
from unispeech_ft.tasks.audio_classification.model import HEAD
from unispeech_ft.training.planned import FineTuning, identity_of_run
from unispeech_ft.training.task import Score, SummedLoss

if TYPE_CHECKING:
    from accelerate import Accelerator


def open_stores(
    config: ClassifierConfig, built: BuiltModel, clips: Clips, accelerator: Accelerator
) -> dict[Split, FeatureStore | ComputedFeatures]:
    """What the network takes of the clips of every split: features, or of a probe the means of all layers."""
    cache = config.data.cache_folder
    found: dict[Split, FeatureStore | ComputedFeatures] = {}
    for split, part in clips.splits.items():
        if config.probe.enabled:
            found[split] = open_layer_means(built.front_end, part.audio, part.rows, cache, accelerator, split)
        else:
            found[split] = open_features(
                part.audio, part.rows, built.front_end, cache, config.training, accelerator, split
            )
    return found


def label_source(config: ClassifierConfig) -> LabelSource:
    """Where the labels of a run stand."""
    settings = config.audio_classification
    return LabelSource(
        settings.label_column, "audio_classification.label_column", settings.held_out, separator=settings.separator
    )


def balanced(labels: Sequence[str], classes: Sequence[str]) -> Tensor:
    """`[K]`, a weight for each class with which all classes weigh the same and a clip 1 in the mean."""
    counts = Counter(labels)
    return torch.tensor([len(labels) / (len(classes) * counts[name]) for name in classes])


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
        separator = config.audio_classification.separator
        rows = {name: row for row, name in enumerate(clips.classes)}
        labels = [[rows[name] for name in labels_of(label, separator)] for label in train.labels]
        crop_s = config.audio_classification.crop_s
        crop = None if crop_s is None else round(crop_s * SAMPLE_RATE_HZ)
        num_samples = train.num_samples if crop is None else np.minimum(train.num_samples, crop)
        plan = BatchPlan(num_samples, batch.seconds_per_update, batch.seconds_per_micro_batch, config.seed)
        width = built.model.config.hidden_size
        crop_frames = None if crop is None else built.front_end.num_frames(crop)
        training_set = TrainingSet(features["train"].clip, labels, width, config.mask, config.seed, crop_frames)
        super().__init__(config, built.model, HEAD, plan, training_set, accelerator, train.ids)
        said = (train.ids, train.labels, train.num_samples.tolist())
        self.identity = identity_of_run(config, [config.audio_classification, config.augmentation], *said)
        self.classes, self.features, self.separator = list(rows), features, separator
        self.of_means = config.probe.enabled
        self.validation = clips.splits.get("validation")
        self.can_score = self.validation is not None
        even = config.audio_classification.class_weights == "none"
        self.class_weights = (
            None
            if even
            else balanced([name for label in train.labels for name in labels_of(label, separator)], list(rows)).to(
                accelerator.device
            )
        )

    def loss(self, update: int, micro_batch: Batch) -> SummedLoss:
        """Σ cross-entropy of one micro-batch."""
        with self.accelerator.autocast():
            if self.of_means:
                logits = classify_means(self.network, micro_batch.row)
            else:
                trains = not self.is_frozen(update)
                logits = classify(self.network, micro_batch.row, self.layers(update), encoder_trains=trains)
        if self.separator is None:
            loss = nn.functional.cross_entropy(logits, micro_batch.labels, self.class_weights, reduction="sum")
        else:
            wanted = torch.zeros_like(logits)
            counts = torch.tensor(micro_batch.num_labels, device=logits.device)
            wanted[torch.arange(len(counts), device=logits.device).repeat_interleave(counts), micro_batch.labels] = 1
            loss = nn.functional.binary_cross_entropy_with_logits(
                logits, wanted, pos_weight=self.class_weights, reduction="sum"
            )
        return SummedLoss(loss, len(micro_batch.num_labels))

    def score(self) -> Score:
        if self.validation is None:
            raise ValueError("there is no validation split")
        found = evaluate_clips(
            self.network,
            self.validation,
            self.features["validation"],
            self.classes,
            self.accelerator,
            self.separator,
            logits_of=classify_means if self.of_means else classify,
        )
        values = {"accuracy": found.accuracy, "uar": uar(found.scores), "seconds": round(found.seconds, 3)}
        return Score(values, 1 - found.accuracy, f"validation accuracy {100 * found.accuracy:.2f} %")
