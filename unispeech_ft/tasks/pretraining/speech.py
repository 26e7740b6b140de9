"""The speech of a pre-training: labelled, of one or several languages, and unlabelled streams."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

import numpy as np
import numpy.typing as npt

from unispeech_ft.config.sections import PhonemesConfig
from unispeech_ft.data.audio import Waveform
from unispeech_ft.data.batch_plan import BatchPlan
from unispeech_ft.data.labels import LabelledSplit
from unispeech_ft.data.speech import FrameCount, Turns, open_speech
from unispeech_ft.data.streaming import Pieces
from unispeech_ft.data.utterances import Rejected
from unispeech_ft.phonemes.tokenizer import PhoneTokenizer, inventory
from unispeech_ft.tasks.pretraining.config import PretrainingConfig, labelled_languages, named
from unispeech_ft.tasks.pretraining.layout import UpdateLayout


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

    @property
    def waveforms(self) -> Waveforms:
        """The training clips of all languages, language after language."""
        return Waveforms(self.train, [0, *accumulate(len(split) for split in self.train)][:-1])


@dataclass(frozen=True)
class Waveforms:
    """Index among the clips of several splits → waveform `[S]`; `starts` are the indices of each split's first clip."""

    splits: Sequence[LabelledSplit]
    starts: Sequence[int]

    def __call__(self, index: int) -> Waveform:
        number = bisect_right(self.starts, index) - 1
        split = self.splits[number]
        return split.audio.waveform(split.rows[index - self.starts[number]])


def _named(split: LabelledSplit, language: str, config: PretrainingConfig) -> LabelledSplit:
    if config.objective.inventory == "shared":
        return split
    return replace(split, phones=[[f"{language}:{phone}" for phone in phones] for phones in split.phones])


def open_labelled(config: PretrainingConfig, num_frames: FrameCount, turns: Turns) -> LabelledSpeech | None:
    """Lists, decodes and labels the speech of every language; None where none is configured.

    Args:
        num_frames: samples → frames of the model.

    Raises:
        UserError: see `data.speech.open_speech`.
    """
    languages = labelled_languages(config.data)
    if not languages:
        return None
    speech = LabelledSpeech([], {}, [], [])
    for language, data in languages:
        own = {key: named(value, language) for key, value in config.phonemes.model_dump().items()}
        phonemes = PhonemesConfig(**own)
        opened = open_speech(data, phonemes, num_frames=num_frames, wanted=("train", "validation"), turns=turns)
        speech.train.append(_named(opened.splits["train"], language, config))
        if "validation" in opened.splits:
            sample = opened.splits["validation"].sample(config.evaluation.max_utterances, config.seed)
            speech.validation[language] = _named(sample, language, config)
        speech.left_out.extend(opened.left_out)
        speech.notes.extend(opened.notes)
    return speech


def make_tokenizer(speech: LabelledSpeech | None, config: PretrainingConfig) -> PhoneTokenizer | None:
    """The rows of the CTC head: the phones of all training splits; None where the CTC branch does not run."""
    if speech is None or config.objective.alpha == 0:
        return None
    return PhoneTokenizer.from_inventory(inventory(speech.phones), config.phonemes.head_layout)


def layout_of(config: PretrainingConfig) -> UpdateLayout:
    """The layout of the run's updates."""
    return UpdateLayout(config.micro_batches_per_update, config.unlabelled_share)


def pieces_of(config: PretrainingConfig) -> Pieces | None:
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
        config.batch.seconds_per_micro_batch,
        config.seed,
        unlabelled.targets,
    )
    return pieces if pieces.files else None


def plan_for(config: PretrainingConfig, speech: LabelledSpeech) -> BatchPlan:
    """The micro-batches of the labelled speech; how many make an update is said by the layout."""
    limit = config.batch.seconds_per_micro_batch
    return BatchPlan(speech.num_samples, limit, limit, config.seed)
