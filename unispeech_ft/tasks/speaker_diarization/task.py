"""Speaker diarization as a task: permutation-free training on simulated conversations, scored by DER."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from unispeech_ft.data.batch_plan import BatchPlan
from unispeech_ft.data.collate import Batch, TrainingSet
from unispeech_ft.data.simulate import Conversations
from unispeech_ft.data.sources.labelled import LabelSource
from unispeech_ft.data.utterances import Split
from unispeech_ft.models.build import BuiltModel
from unispeech_ft.models.families import frame_grid
from unispeech_ft.models.feature_cache import ComputedFeatures, FeatureStore
from unispeech_ft.models.masked_norm import noted_statistics, num_statistics, take_statistics
from unispeech_ft.tasks.speaker_diarization.config import DiarizationConfig
from unispeech_ft.tasks.speaker_diarization.evaluate import best_settings, hear_all
from unispeech_ft.tasks.speaker_diarization.model import HEAD, hear
from unispeech_ft.training.planned import FineTuning, identity_of_run
from unispeech_ft.training.task import Score, SummedLoss

if TYPE_CHECKING:
    from accelerate import Accelerator


def label_source(config: DiarizationConfig) -> LabelSource:
    """Where the speakers of a run stand."""
    own = config.speaker_diarization
    return LabelSource(own.label_column, "speaker_diarization.label_column", own.held_out, speakers=True)


def frame_centres_s(network: Any, num_frames: int) -> np.ndarray:
    """`[T]`, the middle of each frame."""
    grid = frame_grid(network.config)
    return np.asarray(grid.offset_s + (np.arange(num_frames) + 0.5) * grid.step_s)


def labels_of(conversations: Conversations, row: int, centres_s: np.ndarray, speakers: Sequence[str]) -> list[int]:
    """The voices of a conversation as rows of the training speakers (−1 for none), then a bit mask for each frame."""
    most = conversations.settings.speakers[1]
    places = {name: place for place, name in enumerate(speakers)}
    voices = [places[name] for name in conversations.voices(row)]
    bits = conversations.activity(row, centres_s, most) @ (1 << np.arange(most))
    return [*voices, *[-1] * (most - len(voices)), *bits.tolist()]


def unpack(labels: Tensor, num_labels: Sequence[int], local_speakers: int) -> tuple[Tensor, Tensor]:
    """Labels of clips one after another (`labels_of`) → activity `[N, P]` and voices `[B, P]`."""
    parts = labels.split(list(num_labels))
    bits = torch.cat([part[local_speakers:] for part in parts])
    masks = 2 ** torch.arange(local_speakers, device=labels.device)
    active = (bits[:, None] & masks) > 0
    return active.float(), torch.stack([part[:local_speakers] for part in parts])


class SpeakerDiarizationTask(FineTuning):
    """Trains a diarization head, and the encoder from `schedule.freeze_encoder_updates` on.

    Args:
        conversations: of training and of the scored splits.
        features: of them.
        speakers: names of the training speakers.
    """

    def __init__(
        self,
        config: DiarizationConfig,
        built: BuiltModel,
        conversations: Mapping[Split, Conversations],
        features: Mapping[Split, FeatureStore | ComputedFeatures],
        speakers: Sequence[str],
        accelerator: Accelerator,
    ) -> None:
        train, batch = conversations["train"], config.batch
        centres_s = frame_centres_s(built.model, built.front_end.num_frames(int(train.num_samples[0])))
        labels = [labels_of(train, row, centres_s, speakers) for row in range(len(train))]
        plan = BatchPlan(train.num_samples, batch.seconds_per_update, batch.seconds_per_micro_batch, config.seed)
        width = built.model.config.hidden_size
        training_set = TrainingSet(features["train"].clip, labels, width, config.mask, config.seed)
        ids = [train.name(row) for row in range(len(train))]
        super().__init__(config, built.model, HEAD, plan, training_set, accelerator, ids)
        self.identity = identity_of_run(config, [config.speaker_diarization], train.key)
        self.own, self.num_sums = config.speaker_diarization, num_statistics(built.model)
        self.validation, self.features = conversations.get("validation"), features
        self.most = config.simulation.speakers[1]
        self.can_score = self.validation is not None

    def loss(self, update: int, micro_batch: Batch) -> SummedLoss:
        """Σ over the conversations of a micro-batch."""
        with self.accelerator.autocast():
            said = hear(self.network, micro_batch.row, encoder_trains=not self.is_frozen(update))
        active, voices = unpack(micro_batch.labels, micro_batch.num_labels, self.most)
        head: Any = self.network.head
        loss = head.loss(said, active, voices, micro_batch.row.num_frames, self.own.speaker_loss)
        return SummedLoss(loss, len(micro_batch.num_labels), noted_statistics(self.network))

    def absorb(self, sums: Tensor) -> None:
        take_statistics(self.network, sums)

    def score(self) -> Score:
        if self.validation is None:
            raise ValueError("there is no validation split")
        heard = hear_all(self.network, self.validation, self.features["validation"], self.accelerator)
        found = best_settings(heard, self.own)
        rate = found.errors.rate if found.errors.rate is not None else float("nan")
        return Score({"der": rate}, rate, f"validation DER {100 * rate:.2f} %")
