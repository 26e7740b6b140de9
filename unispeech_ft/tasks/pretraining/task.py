"""The stages of a pre-training, from a configuration to a task that `pretraining_loop.pretrain` runs."""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from unispeech_ft.config.sections import Config
from unispeech_ft.data.audio import Waveform, normalise_waveform
from unispeech_ft.data.batch_plan import BatchPlan
from unispeech_ft.data.labels import LabelledSplit
from unispeech_ft.data.streaming import Pieces
from unispeech_ft.data.utterances import Rejected
from unispeech_ft.models.families import num_frames
from unispeech_ft.models.forward import encode
from unispeech_ft.phonemes.tokenizer import PhoneTokenizer, inventory
from unispeech_ft.tasks.ctc_phoneme import task as ctc
from unispeech_ft.tasks.ctc_phoneme.evaluate import Evaluation, FrameOutputs, OutputsOf, evaluate_split, own_frames
from unispeech_ft.tasks.pretraining.batches import LabelledClips, Shaping, pad_waveforms
from unispeech_ft.tasks.pretraining.config import LANGUAGE, PretrainConfig, labelled_languages
from unispeech_ft.tasks.pretraining.forward import ctc_branch, extract, project_up, quantise
from unispeech_ft.tasks.pretraining.loop import PretrainTask
from unispeech_ft.tasks.pretraining.model import PretrainingModel
from unispeech_ft.tasks.pretraining.slots import Slots

if TYPE_CHECKING:
    from accelerate import Accelerator
    from transformers import PreTrainedConfig, PreTrainedModel

_EVALUATION = 13


@dataclass(frozen=True)
class LabelledSpeech:
    """The labelled speech of all languages; the phones bear the language's name where inventories are separate.

    Attributes:
        train: one split for each language.
        validation: by language, those that there are.
        left_out: utterances that are not used.
        notes: lines for people.
    """

    train: list[LabelledSplit]
    validation: dict[str, LabelledSplit]
    left_out: list[Rejected]
    notes: list[str]

    @property
    def num_samples(self) -> npt.NDArray[np.int64]:
        """Samples at 16 kHz of every training clip, language after language."""
        return np.concatenate([split.num_samples for split in self.train])

    @property
    def phones(self) -> list[list[str]]:
        return [phones for split in self.train for phones in split.phones]


@dataclass(frozen=True)
class _Waveforms:
    """Place among the training clips of all languages → waveform."""

    splits: Sequence[LabelledSplit]
    starts: Sequence[int]

    def __call__(self, place: int) -> Waveform:
        number = bisect_right(self.starts, place) - 1
        split = self.splits[number]
        return split.audio.waveform(split.rows[place - self.starts[number]])


def _named(split: LabelledSplit, language: str, config: PretrainConfig) -> LabelledSplit:
    if config.objective.inventory == "shared":
        return split
    return replace(split, phones=[[f"{language}:{phone}" for phone in phones] for phones in split.phones])


def open_labelled(config: PretrainConfig, accelerator: Accelerator, model: PreTrainedConfig) -> LabelledSpeech | None:
    """Lists, decodes and labels the speech of every language; None where none is configured.

    Raises:
        UserError: see `training.ctc.open_data`.
    """
    languages = labelled_languages(config.data)
    if not languages:
        return None
    speech = LabelledSpeech([], {}, [], [])
    for language, data in languages:
        phonemes = config.phonemes
        if phonemes.lexicon:
            phonemes = phonemes.model_copy(update={"lexicon": phonemes.lexicon.replace(LANGUAGE, language)})
        own = Config(seed=config.seed, data=data, phonemes=phonemes)
        opened = ctc.open_data(own, accelerator, model, ("train", "validation"))
        speech.train.append(_named(opened.splits["train"], language, config))
        if "validation" in opened.splits:
            sample = ctc.validation_sample(opened.splits["validation"], config)
            speech.validation[language] = _named(sample, language, config)
        speech.left_out.extend(opened.left_out)
        speech.notes.extend(opened.notes)
    return speech


def head_for(speech: LabelledSpeech | None, config: PretrainConfig) -> PhoneTokenizer | None:
    """The rows of the CTC head: the phones of all training splits; None where the CTC branch does not run."""
    if speech is None or config.objective.alpha == 0:
        return None
    return PhoneTokenizer.from_inventory(inventory(speech.phones), config.phonemes.head_layout)


def slots_of(config: PretrainConfig) -> Slots:
    """The layout of the run's updates."""
    return Slots(config.sub_batches_per_update, config.unlabelled_share)


def pieces_of(config: PretrainConfig) -> Pieces | None:
    """What the unlabelled streams read; None where there is no unlabelled speech.

    Raises:
        UserError: there is nothing in its place.
    """
    unlabelled = config.unlabelled
    if unlabelled.root is None or config.unlabelled_share == 0:
        return None
    pieces = Pieces(
        unlabelled.source,
        unlabelled.root,
        unlabelled.audio_column,
        unlabelled.min_duration_s,
        unlabelled.max_duration_s,
        unlabelled.window_s,
        config.batch.seconds_per_sub_batch,
        config.seed,
    )
    return pieces if pieces.files else None


def plan_for(config: PretrainConfig, speech: LabelledSpeech) -> BatchPlan:
    """The sub-batches of the labelled speech; how many make an update is said by the slots."""
    limit = config.batch.seconds_per_sub_batch
    return BatchPlan(speech.num_samples, limit, limit, config.seed)


def identity(config: PretrainConfig, speech: LabelledSpeech | None) -> str:
    """Identifies data, labels, batches, seed, objective and model; only its own checkpoints continue a run."""
    sections = [config.model, config.objective, config.batch, config.mask, config.phonemes, config.unlabelled]
    said: list[object] = [config.seed, config.data.normalize, *(item.model_dump(mode="json") for item in sections)]
    if speech is not None:
        said += [[split.ids for split in speech.train], speech.phones, speech.num_samples.tolist()]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def _ctc_outputs(share: float, seed: int) -> OutputsOf:
    """The CTC branch as the original evaluates it: part of the frames replaced by their latents, best codes chosen."""

    @torch.no_grad()
    def outputs(model: PreTrainedModel, clips: Sequence[Waveform], autocast: Any) -> list[FrameOutputs]:
        frames = [num_frames(model.config, len(clip)) for clip in clips]
        with autocast:
            features = extract(model, pad_waveforms(clips).to(model.device), 0.0)
            hidden = encode(model, features, torch.tensor(frames, device=model.device))
            random = np.random.default_rng([seed, _EVALUATION, len(clips), sum(frames)])
            replaced = torch.from_numpy(random.random(hidden.shape[:2]) < share).to(model.device)
            projected = None
            if share > 0:
                latents = model.unispeech.feature_projection.layer_norm(features)
                chosen = quantise(model, latents.flatten(0, 1), None, 1.0)
                projected = project_up(model, chosen.vectors).view_as(hidden)
            logits = ctc_branch(model, hidden, projected, replaced)
        return own_frames(logits, frames)

    return outputs


def _scored(evaluations: Mapping[str, Evaluation]) -> dict[str, Any]:
    """PER of the CTC branch over all languages, and of each where there are several."""
    scores = [item for evaluation in evaluations.values() for item in evaluation.scores]
    blanks = [evaluation.blank_share or 0.0 for evaluation in evaluations.values()]
    seconds = sum(evaluation.seconds for evaluation in evaluations.values())
    values = {"per": Evaluation(scores, None, 0.0).per, "blank_share": float(np.mean(blanks)), "seconds": seconds}
    if len(evaluations) > 1:
        values |= {f"per_{language}": evaluation.per for language, evaluation in evaluations.items()}
    return values


def validation_of(
    config: PretrainConfig, speech: LabelledSpeech | None, built: PretrainingModel, accelerator: Accelerator
) -> Callable[[], Mapping[str, Any]] | None:
    """Scores the CTC branch on the validation splits; None where it does not run or there are none."""
    tokenizer = built.tokenizer
    if speech is None or not speech.validation or tokenizer is None or config.objective.alpha == 0:
        return None
    outputs_of = _ctc_outputs(config.objective.replacement, config.seed)

    def waveform(split: LabelledSplit, place: int) -> Waveform:
        clip = split.audio.waveform(split.rows[place])
        return normalise_waveform(clip, built.eps) if built.normalize else clip

    def validate() -> Mapping[str, Any]:
        evaluations = {}
        for language, split in speech.validation.items():
            frames = np.array([num_frames(built.network.config, count) for count in split.num_samples.tolist()])
            clips = partial(waveform, split)
            evaluations[language] = evaluate_split(
                built.network, tokenizer, split, clips, frames, accelerator, outputs_of=outputs_of, timed=False
            )
        return _scored(evaluations)

    return validate


def pretraining_task(
    config: PretrainConfig,
    built: PretrainingModel,
    speech: LabelledSpeech | None,
    pieces: Pieces | None,
    accelerator: Accelerator,
) -> PretrainTask:
    """What `pretraining_loop.pretrain` needs, from the speech and a model."""
    labelled = None
    if speech is not None:
        starts = [0, *accumulate(len(split) for split in speech.train)][:-1]
        labels = None
        if built.tokenizer is not None and config.objective.alpha > 0:
            labels = [built.tokenizer.encode(phones) for phones in speech.phones]
        labelled = LabelledClips(plan_for(config, speech), _Waveforms(speech.train, starts), labels)
    shape = built.network.config
    shaping = Shaping(
        partial(num_frames, shape),
        shape.hidden_size,
        config.mask,
        built.eps if built.normalize else None,
        config.objective.negatives,
        config.objective.replacement,
        config.seed,
    )
    return PretrainTask(
        built.network,
        slots_of(config),
        shaping,
        labelled,
        pieces,
        validation_of(config, speech, built, accelerator),
        identity(config, speech),
    )
