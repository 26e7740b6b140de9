"""Phoneme CTC as a task: its micro-batches, its loss, what it trains, how it scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader

from unispeech_ft.data.batch_plan import BatchPlan, passes
from unispeech_ft.data.collate import Batch, MicroBatchStream, TrainingSet
from unispeech_ft.data.labels import LabelledSplit
from unispeech_ft.data.utterances import Split
from unispeech_ft.models.build import BuiltModel
from unispeech_ft.models.families import backbone, shares_position_bias
from unispeech_ft.models.feature_cache import ComputedFeatures, FeatureStore, cache_features, store_size_bytes
from unispeech_ft.models.forward import ctc_loss_sum, encode, head
from unispeech_ft.models.front_end import FrontEnd
from unispeech_ft.phonemes.tokenizer import PhoneTokenizer
from unispeech_ft.randomness import kept_layers
from unispeech_ft.tasks.ctc_phoneme.config import CtcPhonemeConfig
from unispeech_ft.tasks.ctc_phoneme.evaluate import Evaluation, evaluate_split, warnings_about
from unispeech_ft.training.checkpoint import identity_of
from unispeech_ft.training.schedule import is_frozen
from unispeech_ft.training.task import Score, SummedLoss, Task, UpdateShare

if TYPE_CHECKING:
    from accelerate import Accelerator
    from transformers import PreTrainedModel


def identity(config: CtcPhonemeConfig, train: LabelledSplit) -> str:
    """Identifies data, labels, batches, seed and model of a run."""
    sections = [config.model, config.batch, config.mask, config.phonemes]
    said = [section.model_dump(mode="json") for section in sections]
    normalised = [config.data.normalize, config.data.normalize_eps]
    return identity_of(config.seed, *said, normalised, train.ids, train.phones, train.num_samples.tolist())


def plan_for(config: CtcPhonemeConfig, train: LabelledSplit) -> BatchPlan:
    """The batch plan of a training split."""
    batch = config.batch
    return BatchPlan(train.num_samples, batch.seconds_per_update, batch.seconds_per_micro_batch, config.seed)


@dataclass(frozen=True)
class SplitFeatures:
    """A labelled split with its features."""

    labelled: LabelledSplit
    store: FeatureStore | ComputedFeatures


def in_its_precision(front_end: FrontEnd, bf16_features: bool, accelerator: Accelerator) -> FrontEnd:
    """The front end as a run uses it: in bf16 where encoder and settings have it, else in 32 bits."""
    in_bf16 = bf16_features and accelerator.mixed_precision == "bf16"
    return replace(front_end, dtype=torch.bfloat16 if in_bf16 else torch.float32)


def split_features(
    labelled: LabelledSplit, front_end: FrontEnd, config: CtcPhonemeConfig, accelerator: Accelerator
) -> SplitFeatures:
    """The features of a split from the cache, computed by the first process where they are missing; without
    `training.cache_features` each time that they are asked for."""
    front_end = in_its_precision(front_end, config.training.bf16_features, accelerator)
    if not config.training.cache_features:
        return SplitFeatures(labelled, ComputedFeatures(front_end, labelled.audio, labelled.rows))
    cache = config.data.cache_folder
    dtype = np.dtype(np.float32 if accelerator.mixed_precision == "no" else np.float16)
    with accelerator.main_process_first():
        size = store_size_bytes(front_end, labelled.num_samples.tolist(), dtype) / 2**20
        accelerator.print(f"features of {labelled.split}: {size:.0f} MiB on disk in {cache / 'features'}")
        label = f"features of {labelled.split}" if accelerator.is_main_process else ""
        store = cache_features(front_end, labelled.audio, labelled.rows, cache, dtype=dtype, label=label)
    return SplitFeatures(labelled, store)


def all_features(
    splits: Mapping[Split, LabelledSplit], front_end: FrontEnd, config: CtcPhonemeConfig, accelerator: Accelerator
) -> dict[Split, SplitFeatures]:
    """The features of every split; of validation those that a run scores (`evaluation.max_utterances`)."""
    chosen = dict(splits)
    if "validation" in chosen:
        chosen["validation"] = chosen["validation"].sample(config.evaluation.max_utterances, config.seed)
    return {split: split_features(labelled, front_end, config, accelerator) for split, labelled in chosen.items()}


class CtcPhonemeTask(Task[Batch]):
    """Fine-tunes the encoder and a head of phones with CTC; `ctc_phoneme_task` makes it from labelled features.

    Args:
        network: `…ForCTC`.
        plan: the batch plan.
        training_set: the clips that the plan speaks of.
        validate: scores the validation split; None where there is none.
        inventory: the phones of the head, for warnings.
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
    ) -> None:
        self.config, self.network, self.accelerator = config, network, accelerator
        self.plan, self.training_set, self.identity = plan, training_set, identity
        self.validate, self.inventory, self.can_score = validate, inventory, validate is not None

    def updates(self, first: int, last: int, state: Mapping[str, Any] | None) -> Iterator[UpdateShare[Batch]]:
        rank, world = self.accelerator.process_index, self.accelerator.num_processes
        seconds = self.config.training.seconds_per_pass
        stream = MicroBatchStream(self.plan, self.training_set, first, last, rank, world, seconds)
        on_gpu = self.accelerator.device.type == "cuda"
        workers = self.config.data.num_workers if on_gpu else 0
        batches = iter(DataLoader(stream, batch_size=None, num_workers=workers, pin_memory=on_gpu))
        for update in self.plan.updates(first, last):
            mine = islice(batches, len(passes(update.share(rank, world), seconds)))
            yield UpdateShare(update.number, mine, update.num_sentences, update.padded_s)

    def _is_frozen(self, update: int) -> bool:
        return is_frozen(update, self.config.schedule)

    def _kept_layers(self, update: int) -> list[int] | None:
        num_layers = len(backbone(self.network).encoder.layers)
        keep_first = shares_position_bias(self.network.config)
        return kept_layers(self.config.seed, update, num_layers, self.config.model.layerdrop, keep_first=keep_first)

    def loss(self, update: int, micro_batch: Batch) -> SummedLoss:
        """Σ CTC of one micro-batch. While frozen, nothing of the encoder is kept for a backward pass."""
        with self.accelerator.autocast():
            with torch.set_grad_enabled(not self._is_frozen(update)):
                hidden = encode(self.network, micro_batch.row, layers=self._kept_layers(update))
            logits = head(self.network, hidden)
        blank = self.network.config.pad_token_id
        loss = ctc_loss_sum(logits, micro_batch.row.layout, micro_batch.labels, micro_batch.num_labels, blank)
        return SummedLoss(loss, len(micro_batch.num_labels))

    def trained_parameters(self, update: int) -> list[nn.Parameter]:
        """The head alone while the encoder is frozen, else all but the conv extractor and the layers left out."""
        if self._is_frozen(update):
            return list(self.network.lm_head.parameters())
        layers = backbone(self.network).encoder.layers
        kept = self._kept_layers(update)
        skipped = set() if kept is None else set(range(len(layers))) - set(kept)
        left_out = {id(parameter) for index in skipped for parameter in layers[index].parameters()}
        return [p for p in self.network.parameters() if p.requires_grad and id(p) not in left_out]

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
        TrainingSet(train.store.clip, labels, built.model.config.hidden_size, config.mask, config.seed),
        accelerator,
        identity=identity(config, train.labelled),
        validate=validate,
        inventory=tokenizer.phones,
    )
