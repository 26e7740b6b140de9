"""Phoneme CTC as a task: its micro-batches, its loss, what it trains, how it scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from unispeech_ft.config.labelled import AdapterConfig, AugmentationConfig
from unispeech_ft.config.sections import HeadConfig
from unispeech_ft.data.batch_plan import BatchPlan
from unispeech_ft.data.collate import Batch, TrainingSet
from unispeech_ft.data.labels import LabelledSplit
from unispeech_ft.data.utterances import Split
from unispeech_ft.models.build import BuiltModel
from unispeech_ft.models.families import CONDITIONING
from unispeech_ft.models.feature_cache import ComputedFeatures, FeatureStore, open_features
from unispeech_ft.models.forward import ctc_logits, ctc_loss_sum
from unispeech_ft.models.front_end import FrontEnd
from unispeech_ft.phonemes.tokenizer import PhoneTokenizer
from unispeech_ft.tasks.ctc_phoneme.config import CtcPhonemeConfig, LossConfig
from unispeech_ft.tasks.ctc_phoneme.evaluate import Evaluation, evaluate_split, warnings_about
from unispeech_ft.tasks.ctc_phoneme.losses import (
    CONSISTENCY,
    ENTROPY,
    FEATURES,
    INTERMEDIATE,
    View,
    added_to_ctc,
    block_logits,
    certainty,
    consistency,
    features_loss,
    label_posteriors,
    total,
)
from unispeech_ft.training.checkpoint import identity_of
from unispeech_ft.training.planned import FineTuning
from unispeech_ft.training.task import Score, SummedLoss

if TYPE_CHECKING:
    from accelerate import Accelerator
    from transformers import PreTrainedModel


def identity(config: CtcPhonemeConfig, train: LabelledSplit) -> str:
    """Identifies data, labels, batches, seed and model of a run."""
    sections = [config.model, config.batch, config.mask, config.phonemes]
    said = [section.identified() for section in sections]
    normalised = [config.data.normalize, config.data.normalize_eps]
    # Said only where something is added, so that earlier runs go on.
    defaults = (LossConfig(), AugmentationConfig(), HeadConfig(), AdapterConfig())
    given = zip((config.loss, config.augmentation, config.head, config.adapter), defaults, strict=True)
    added: list[Any] = [section.identified() for section, default in given if section != default]
    added += [] if config.training.ema_decay is None else [config.training.ema_decay]
    return identity_of(config.seed, *said, normalised, train.ids, train.phones, train.num_samples.tolist(), *added)


def plan_for(config: CtcPhonemeConfig, train: LabelledSplit) -> BatchPlan:
    """The batch plan of a training split."""
    batch = config.batch
    return BatchPlan(train.num_samples, batch.seconds_per_update, batch.seconds_per_micro_batch, config.seed)


@dataclass(frozen=True)
class SplitFeatures:
    """A labelled split with its features."""

    labelled: LabelledSplit
    store: FeatureStore | ComputedFeatures


def split_features(
    labelled: LabelledSplit, front_end: FrontEnd, config: CtcPhonemeConfig, accelerator: Accelerator
) -> SplitFeatures:
    """The features of a split; see `models.feature_cache.open_features`."""
    audio, rows, cache = labelled.audio, labelled.rows, config.data.cache_folder
    return SplitFeatures(
        labelled, open_features(audio, rows, front_end, cache, config.training, accelerator, labelled.split)
    )


def all_features(
    splits: Mapping[Split, LabelledSplit], front_end: FrontEnd, config: CtcPhonemeConfig, accelerator: Accelerator
) -> dict[Split, SplitFeatures]:
    """The features of every split; of validation those that a run scores (`evaluation.max_utterances`)."""
    chosen = dict(splits)
    if "validation" in chosen:
        chosen["validation"] = chosen["validation"].sample(config.evaluation.max_utterances, config.seed)
    return {split: split_features(labelled, front_end, config, accelerator) for split, labelled in chosen.items()}


class CtcPhonemeTask(FineTuning):
    """Fine-tunes the encoder and a head of phones with CTC; `ctc_phoneme_task` makes it from labelled features.

    Args:
        network: `…ForCTC`.
        plan: the batch plan.
        training_set: the clips that the plan speaks of.
        validate: scores the validation split; None where there is none.
        inventory: the phones of the head, for warnings.
        ids: the names of the clips.
    """

    def __init__(
        self,
        config: CtcPhonemeConfig,
        network: PreTrainedModel,
        plan: BatchPlan,
        training_set: TrainingSet,
        accelerator: Accelerator,
        *,
        identity: str = "",
        validate: Callable[[], Evaluation] | None = None,
        inventory: Sequence[str] = (),
        ids: Sequence[str] = (),
    ) -> None:
        views = 2 if training_set.two_views else 1
        super().__init__(config, network, ("lm_head.",), plan, training_set, accelerator, ids, views)
        self.config, self.identity, self.added = config, identity, added_to_ctc(config.loss)
        self.num_sums = len(self.added) and 1 + len(self.added)
        self.validate, self.inventory, self.can_score = validate, inventory, validate is not None

    def loss(self, update: int, micro_batch: Batch) -> SummedLoss:
        """Σ CTC of one micro-batch, and once the encoder trains what `loss` adds to it. While frozen, nothing of the
        encoder is kept for a backward pass."""
        if self.is_frozen(update) or not self.added:
            with self.accelerator.autocast():
                trains = not self.is_frozen(update)
                logits = ctc_logits(self.network, micro_batch.row, layers=self.layers(update), encoder_trains=trains)
            loss = self._ctc(logits, micro_batch)
            sums = torch.stack([loss.detach(), *[loss.new_zeros(())] * len(self.added)]) if self.added else None
            return SummedLoss(loss, len(micro_batch.num_labels), sums)
        blocks = self.config.loss.intermediate_layers
        with self.accelerator.autocast():
            views = [block_logits(self.network, row, blocks, self.layers(update)) for row in micro_batch.views]
        ctc = torch.stack([self._ctc(view.last, micro_batch) for view in views]).mean()
        parts = {}
        if blocks:
            found = [self._ctc(logits, micro_batch) for view in views for logits in view.inner]
            parts[INTERMEDIATE] = torch.stack(found).mean()
        if len(views) > 1:
            parts[CONSISTENCY] = consistency(views[0].last, views[1].last)
        if ENTROPY in self.added:
            parts[ENTROPY] = torch.stack([certainty(view.last) for view in views]).mean()
        if FEATURES in self.added:
            parts[FEATURES] = torch.stack([self._features(view, micro_batch) for view in views]).mean()
        return SummedLoss(
            total(ctc, parts, self.config.loss),
            len(micro_batch.num_labels),
            torch.stack([ctc.detach(), *(parts[name].detach() for name in self.added)]),
        )

    def trained_parameters(self, update: int) -> list[nn.Parameter]:
        """As all that fine-tune, without the linear layer of a self-conditioned model where no layer that runs has
        it."""
        conditioning, layers = getattr(self.network, CONDITIONING, None), self.layers(update)
        if self.is_frozen(update) or conditioning is None or layers is None:
            return super().trained_parameters(update)
        runs = any(layer - 1 in layers for layer in self.config.loss.conditioned_layers)
        return self.trainable.running(layers, () if runs else (conditioning,))

    def _ctc(self, logits: Tensor, batch: Batch) -> Tensor:
        blank = self.network.config.pad_token_id
        return ctc_loss_sum(logits, batch.row.layout, batch.labels, batch.num_labels, blank)

    def _features(self, view: View, batch: Batch) -> Tensor:
        head: Any = self.network.articulation
        posteriors = label_posteriors(view.last, partial(self._ctc, batch=batch))
        assert view.features is not None
        return features_loss(view.features, posteriors, head.present, head.absent)

    def figures(self, update: int, sums: Tensor, weight: Tensor) -> Mapping[str, Tensor]:
        """CTC of the last layer, and what was added to it, a clip."""
        return dict(zip(("ctc_loss", *self.added), sums / weight, strict=True)) if self.added else {}

    def score(self) -> Score:
        if self.validate is None:
            raise ValueError("there is no validation split")
        found = self.validate()
        values = {"per": found.per, "blank_share": found.blank_share, "seconds": round(found.seconds, 3)}
        return Score(
            values, found.per, f"validation PER {100 * found.per:.2f} %", warnings_about(found, self.inventory)
        )


def ctc_phoneme_task(
    config: CtcPhonemeConfig,
    built: BuiltModel,
    tokenizer: PhoneTokenizer,
    features: Mapping[Split, SplitFeatures],
    accelerator: Accelerator,
) -> CtcPhonemeTask:
    """The task of a run, from labelled features and a model.

    Args:
        features: of the training split and, where there is one, of validation.
    """
    train, validation = features["train"], features.get("validation")
    labels = [tokenizer.encode(phones) for phones in train.labelled.phones]
    validate = None
    if validation is not None:
        validate = partial(
            evaluate_split, built.model, tokenizer, validation.labelled, validation.store, accelerator, timed=False
        )
    return CtcPhonemeTask(
        config,
        built.model,
        plan_for(config, train.labelled),
        TrainingSet(
            train.store.clip,
            labels,
            built.model.config.hidden_size,
            config.mask,
            config.seed,
            two_views=config.loss.consistency_weight > 0,
        ),
        accelerator,
        identity=identity(config, train.labelled),
        validate=validate,
        inventory=tokenizer.phones,
        ids=train.labelled.ids,
    )
