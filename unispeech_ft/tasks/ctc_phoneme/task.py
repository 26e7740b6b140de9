"""The stages of a phoneme CTC fine-tuning, from a configuration to a task that `loop.train` runs."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from unispeech_ft.config.sections import Config, TrainingConfig
from unispeech_ft.data.batch_plan import BatchPlan
from unispeech_ft.data.collate import TrainingSet
from unispeech_ft.data.labels import (
    LabelledSplit,
    check_bad_fraction,
    drop_infeasible,
    label_split,
    summarize_rejected,
)
from unispeech_ft.data.prepare import PreparedAudio, listed_audio, prepare_audio
from unispeech_ft.data.sources import list_utterances
from unispeech_ft.data.sources.published import list_folder, read_dictionary
from unispeech_ft.data.utterances import SPLITS, Corpus, Rejected, Split
from unispeech_ft.errors import UserError
from unispeech_ft.models.build import BuiltModel, read_model_config
from unispeech_ft.models.families import minimum_frames, num_frames
from unispeech_ft.models.front_end import ComputedFeatures, FeatureStore, FrontEnd, cache_features, store_size_bytes
from unispeech_ft.phonemes.g2p import G2P
from unispeech_ft.phonemes.notation import phone_map
from unispeech_ft.phonemes.tokenizer import UNUSED, PhoneTokenizer, inventory
from unispeech_ft.runs.environment import available_cores, check_processes
from unispeech_ft.scoring.beam import Search
from unispeech_ft.tasks.ctc_phoneme.evaluate import Evaluation, evaluate_split
from unispeech_ft.training.loop import Task

if TYPE_CHECKING:
    from accelerate import Accelerator
    from transformers import PreTrainedConfig

# Processes may wait this long for the first one to decode the audio.
PATIENCE = timedelta(hours=12)


@dataclass(frozen=True)
class SpeechData:
    """The labelled speech of a run.

    Attributes:
        splits: usable utterances by split.
        left_out: all others, with the reason.
        notes: lines for people: what was left out, how parts were set aside.
    """

    corpus: Corpus
    splits: dict[Split, LabelledSplit]
    left_out: list[Rejected]
    notes: list[str]


def start(config: Config) -> Accelerator:
    """The accelerator of this process. Precision and devices are what `accelerate` was told.

    Raises:
        UserError: fewer processes run than were asked for.
    """
    from accelerate import Accelerator, InitProcessGroupKwargs

    try:
        accelerator = Accelerator(
            # Without a GPU accelerate overlooks torchrun's processes unless it is told that this is a CPU.
            cpu=not torch.accelerator.is_available(),
            log_with=list(config.tracking.trackers) or None,
            project_dir=config.output_dir,
            kwargs_handlers=[InitProcessGroupKwargs(timeout=PATIENCE)],
        )
    except ValueError as error:
        raise UserError(
            f"accelerate refuses: {str(error).splitlines()[0]}", remedy="see tracking.trackers and accelerate config"
        ) from None
    check_processes(dict(os.environ), accelerator.num_processes)
    if accelerator.device.type == "cpu":
        # accelerate's launcher sets one thread where nothing else was said.
        local = int(os.environ.get("LOCAL_WORLD_SIZE", accelerator.num_processes))
        torch.set_num_threads(max(1, available_cores() // local))
    return accelerator


def finish(accelerator: Accelerator, *, last: bool = True) -> None:
    """Ends the trackers of a run; after the last run of a process, its process group as well."""
    if last:
        accelerator.end_training()
        return
    for tracker in accelerator.trackers:
        tracker.finish()


def model_frames(config: Config) -> PreTrainedConfig | None:
    """Configuration of the base model; None for a dry run where it cannot be reached."""
    try:
        return read_model_config(config.model)
    except UserError:
        if config.dry_run and not config.model.from_scratch:
            return None
        raise


def _audio(corpus: Corpus, split: Split, config: Config, accelerator: Accelerator) -> PreparedAudio:
    if corpus.listed_samples is not None:
        return listed_audio(corpus, split)
    cache_dir = Path(config.data.cache_dir).expanduser()
    return prepare_audio(
        corpus, split, cache_dir, num_workers=config.data.num_workers, show_progress=accelerator.is_main_process
    )


def open_data(
    config: Config, accelerator: Accelerator, model: PreTrainedConfig | None, wanted: Sequence[Split] = SPLITS
) -> SpeechData:
    """Lists, decodes and labels the speech; the first process does the work, the others read its result.

    Args:
        wanted: the splits to open; the first of them must not be empty.

    Raises:
        UserError: no clips, too many bad ones, or a fault of source, language or lexicon.
    """
    corpus = list_utterances(config.data, published_labels=config.phonemes.labels == "published")
    if config.phonemes.labels in ("espeak", "lexicon"):
        G2P.from_config(config.phonemes, config.data.language)
    cache_dir = Path(config.data.cache_dir).expanduser()
    splits: dict[Split, LabelledSplit] = {}
    left_out: list[Rejected] = []
    notes = list(corpus.notes)
    for split in wanted:
        listed = len(corpus.splits[split]) + sum(item.split == split for item in corpus.rejected)
        if not corpus.splits[split]:
            check_bad_fraction([item for item in corpus.rejected if item.split == split], listed, split, 0.0)
            if split == wanted[0]:
                raise UserError(
                    f"no clips found for {split}", remedy=f"check data.root, data.language and data.{split}"
                )
            continue
        with accelerator.main_process_first():
            audio = _audio(corpus, split, config, accelerator)
            labelled, rejected = label_split(corpus, split, audio, config, cache_dir)
        if model is not None and split == "train":
            labelled, infeasible = drop_infeasible(labelled, lambda count: num_frames(model, count), minimum_frames)
            rejected += infeasible
        notes += summarize_rejected(rejected, listed, split)
        check_bad_fraction(rejected, listed, split, config.data.max_bad_fraction)
        left_out += rejected
        if len(labelled):
            splits[split] = labelled
    if wanted[0] not in splits:
        raise UserError(f"no utterance of {wanted[0]} is left", remedy="; ".join(notes) or "check the data")
    if corpus.published_split and left_out:
        corpus = replace(corpus, published_split=False)
    return SpeechData(corpus, splits, left_out, notes)


def published_head(config: Config) -> PhoneTokenizer:
    """The head of the published dictionary, in the order in which the published models were trained.

    Raises:
        UserError: the lists have no dictionary.
    """
    mapping = phone_map(config.phonemes.map)
    dictionary = read_dictionary(list_folder(config.data.splits, str(config.data.language)))
    rows = [row if row.startswith(UNUSED) else " ".join(mapping(row)) for row in dictionary]
    return PhoneTokenizer.from_inventory(rows, config.phonemes.head_layout)


def head_for(data: SpeechData, config: Config) -> PhoneTokenizer:
    """The head's rows: the published dictionary where its labels are used, else the phones of the training split."""
    if config.phonemes.labels == "published":
        return published_head(config)
    return PhoneTokenizer.from_inventory(inventory(data.splits["train"].phones), config.phonemes.head_layout)


def phones_only_outside_training(data: SpeechData) -> dict[str, list[str]]:
    """Phones of validation and test that training lacks; they stay in the references and count as errors."""
    known = set(inventory(data.splits["train"].phones))
    others = {split: sorted(set(inventory(labelled.phones)) - known) for split, labelled in data.splits.items()}
    return {split: phones for split, phones in others.items() if phones}


@dataclass(frozen=True)
class SplitFeatures:
    """A labelled split with its features."""

    labelled: LabelledSplit
    store: FeatureStore | ComputedFeatures

    def evaluate(
        self,
        built: BuiltModel,
        tokenizer: PhoneTokenizer,
        accelerator: Accelerator,
        search: Search | None = None,
        *,
        timed: bool = True,
    ) -> Evaluation:
        """Scores the split with the model as it is now, greedily or with a search; see `evaluate_split`."""
        clips, frames = self.store.clip, self.store.num_frames
        return evaluate_split(built.model, tokenizer, self.labelled, clips, frames, accelerator, search, timed=timed)


def feature_dtype(accelerator: Accelerator) -> np.dtype:
    """32 bits where the encoder computes in 32 bits, else 16."""
    return np.dtype(np.float32 if accelerator.mixed_precision == "no" else np.float16)


def in_its_precision(front_end: FrontEnd, settings: TrainingConfig, accelerator: Accelerator) -> FrontEnd:
    """The front end as a run uses it: in bf16 where encoder and settings have it, else in 32 bits."""
    in_bf16 = settings.bf16_features and accelerator.mixed_precision == "bf16"
    return replace(front_end, dtype=torch.bfloat16 if in_bf16 else torch.float32)


def split_features(
    labelled: LabelledSplit, front_end: FrontEnd, cache_dir: Path, accelerator: Accelerator, *, cached: bool = True
) -> SplitFeatures:
    """The features of a split from the cache, computed by the first process where they are missing.

    Args:
        cached: false computes a clip's features each time they are asked for, and writes nothing.
    """
    if not cached:
        return SplitFeatures(labelled, ComputedFeatures(front_end, labelled.audio, labelled.rows))
    dtype = feature_dtype(accelerator)
    with accelerator.main_process_first():
        if accelerator.is_main_process:
            size = store_size_bytes(front_end, labelled.num_samples.tolist(), dtype) / 2**20
            accelerator.print(f"features of {labelled.split}: {size:.0f} MiB on disk in {cache_dir / 'features'}")
        label = f"features of {labelled.split}" if accelerator.is_main_process else ""
        store = cache_features(front_end, labelled.audio, labelled.rows, cache_dir, dtype=dtype, label=label)
    return SplitFeatures(labelled, store)


def validation_sample(labelled: LabelledSplit, config: Config) -> LabelledSplit:
    """What a run scores of the validation split: at most `evaluation.max_utterances`, chosen by the seed alone."""
    limit = config.evaluation.max_utterances
    if limit is None or limit >= len(labelled):
        return labelled
    random = np.random.default_rng([config.seed, 6])
    return labelled.subset(sorted(random.choice(len(labelled), limit, replace=False).tolist()))


def all_features(
    data: SpeechData, front_end: FrontEnd, config: Config, accelerator: Accelerator
) -> dict[Split, SplitFeatures]:
    """The features of every split; of validation those of `validation_sample`."""
    splits = dict(data.splits)
    if "validation" in splits:
        splits["validation"] = validation_sample(splits["validation"], config)
    front_end = in_its_precision(front_end, config.training, accelerator)
    cache_dir = Path(config.data.cache_dir).expanduser()
    cached = config.training.cache_features
    return {
        split: split_features(labelled, front_end, cache_dir, accelerator, cached=cached)
        for split, labelled in splits.items()
    }


def identity(config: Config, train: LabelledSplit) -> str:
    """Identifies data, labels, batches, seed and model of a run; only its own checkpoints continue it."""
    sections = [config.model, config.batch, config.mask, config.phonemes]
    said: Sequence[object] = [config.seed, *(section.model_dump(mode="json") for section in sections)]
    digest = hashlib.sha256(json.dumps([said, train.ids, train.phones, train.num_samples.tolist()]).encode())
    return digest.hexdigest()


def ctc_task(
    config: Config,
    built: BuiltModel,
    tokenizer: PhoneTokenizer,
    features: Mapping[Split, SplitFeatures],
    accelerator: Accelerator,
) -> Task:
    """What `loop.train` needs, from labelled features and a model."""
    train, validation = features["train"], features.get("validation")
    labelled = train.labelled
    return Task(
        model=built.model,
        plan=plan_for(config, labelled),
        training_set=TrainingSet(
            train.store.clip,
            [tokenizer.encode(phones) for phones in labelled.phones],
            built.model.config.hidden_size,
            config.mask,
            config.seed,
        ),
        validate=None
        if validation is None
        else partial(validation.evaluate, built, tokenizer, accelerator, timed=False),
        inventory=tokenizer.phones,
        identity=identity(config, labelled),
    )


def plan_for(config: Config, train: LabelledSplit) -> BatchPlan:
    """The batch plan of a training split."""
    batch = config.batch
    return BatchPlan(train.num_samples, batch.seconds_per_update, batch.seconds_per_sub_batch, config.seed)
