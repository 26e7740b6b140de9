"""Opening a corpus: its utterances listed, decoded once, labelled, and what cannot be used left out by name."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

from unispeech_ft.config.labelled import AugmentationConfig
from unispeech_ft.config.sections import DataConfig, PhonemesConfig
from unispeech_ft.data.further import further_speech, joined
from unispeech_ft.data.labels import (
    LabelledSplit,
    check_bad_fraction,
    drop_infeasible,
    label_split,
    summarize_rejected,
    with_copies,
)
from unispeech_ft.data.prepare import PreparedAudio, listed_audio, prepare_audio
from unispeech_ft.data.sources import list_utterances
from unispeech_ft.data.sources.published import list_folder, read_dictionary
from unispeech_ft.data.utterances import SPLITS, Corpus, Rejected, Split, Utterance
from unispeech_ft.errors import UserError
from unispeech_ft.phonemes.columns import check_column
from unispeech_ft.phonemes.g2p import G2P
from unispeech_ft.phonemes.notation import phone_map
from unispeech_ft.phonemes.tokenizer import UNUSED, PhoneTokenizer, inventory

FrameCount = Callable[[int], int]


@dataclass(frozen=True)
class Speech:
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

    def __repr__(self) -> str:
        splits = ", ".join(f"{name}: {len(split)} clips" for name, split in self.splits.items())
        return f"Speech({splits}; {len(self.left_out)} left out)"

    def splits_to_train_on(
        self, augmentation: AugmentationConfig, seed: int, data: DataConfig, num_frames: FrameCount | None
    ) -> tuple[dict[Split, LabelledSplit], list[str]]:
        """The splits with changed copies of the training clips (`labels.with_copies`), and lines for people on them."""
        train = self.splits["train"]
        copied, rejected = with_copies(train, augmentation, seed, longest_s=data.max_duration_s, num_frames=num_frames)
        if copied is train:
            return self.splits, []
        lines = [f"train: {len(copied) - len(train)} changed copies beside its {len(train)} clips, together"]
        lines[0] += f" {copied.hours:.2f} h"
        if rejected:
            lines.append(f"  {len(rejected)} copies left out: too long, or too short for their phones")
        return {**self.splits, "train": copied}, lines


@dataclass(frozen=True)
class Turns:
    """How several processes share a cache; by default there is one process.

    Attributes:
        first: a context that the first process passes alone, before the others.
        show_progress: whether this process draws progress bars.
    """

    first: Callable[[], AbstractContextManager[None]] = nullcontext
    show_progress: bool = True


def open_audio(corpus: Corpus, split: Split, data: DataConfig, *, show_progress: bool = True) -> PreparedAudio:
    """The decoded audio of a split; of lists without a release, its lengths alone."""
    if corpus.listed_samples is not None:
        return listed_audio(corpus, split)
    return prepare_audio(
        corpus,
        split,
        data.cache_folder,
        num_workers=data.num_workers,
        show_progress=show_progress,
        channel=data.channel,
    )


def list_corpus(data: DataConfig, phonemes: PhonemesConfig, wanted: Collection[Split] = SPLITS) -> Corpus:
    """The utterances that a configuration names; a fault of their labels' source is found before any audio is read."""
    corpus = list_utterances(data, published_labels=phonemes.labels == "published", wanted=wanted)
    if phonemes.labels in ("espeak", "lexicon", "epitran"):
        G2P.from_config(phonemes, data.language)
    if phonemes.labels == "column":
        columns = [utterance.phones or () for split in SPLITS for utterance in corpus.splits[split]]
        return replace(corpus, notes=[*corpus.notes, *check_column(columns, phonemes)])
    return corpus


def open_speech(
    data: DataConfig,
    phonemes: PhonemesConfig,
    *,
    num_frames: FrameCount | None = None,
    wanted: Sequence[Split] = SPLITS,
    turns: Turns | None = None,
) -> Speech:
    """Lists, decodes and labels the speech.

    Args:
        num_frames: samples → frames of the model; training utterances whose labels need more are left out. None keeps
            them all.
        wanted: the splits to open; the first of them must not be empty.
        turns: lets the first of several processes do the work, and the others read its result.

    Raises:
        UserError: no clips, too many bad ones, or a fault of source, language or lexicon.
    """
    turns = turns or Turns()
    corpus = list_corpus(data, phonemes, wanted)
    speech = Speech(corpus, {}, [], list(corpus.notes))
    for split in wanted:
        listed = len(corpus.splits[split]) + sum(item.split == split for item in corpus.rejected)
        if not corpus.splits[split]:
            check_bad_fraction([item for item in corpus.rejected if item.split == split], listed, split, 0.0)
            if split == wanted[0]:
                raise UserError(
                    f"no clips found for {split}", remedy=f"check data.root, data.language and data.{split}"
                )
            continue
        with turns.first():
            audio = open_audio(corpus, split, data, show_progress=turns.show_progress)
            labelled, rejected = label_split(corpus, split, audio, data, phonemes)
        if num_frames is not None and split == "train":
            labelled, infeasible = drop_infeasible(labelled, num_frames)
            rejected += infeasible
        speech.notes.extend(summarize_rejected(rejected, listed, split))
        check_bad_fraction(rejected, listed, split, data.max_bad_fraction)
        speech.left_out.extend(rejected)
        if split == "train" and len(labelled) and data.share < 1:
            labelled = labelled.portion(data.share)
            speech.notes.append(f"train: {len(labelled)} clips are used, {100 * data.share:g} % of its speech")
            speech = replace(speech, corpus=_with_train(speech.corpus, labelled.ids))
        if split == "train" and len(labelled) and data.further is not None:
            speech, further = _open_further(speech, data, phonemes, num_frames, turns)
            labelled = joined(labelled, further)
        if len(labelled):
            speech.splits[split] = labelled
    if wanted[0] not in speech.splits:
        raise UserError(f"no utterance of {wanted[0]} is left", remedy="; ".join(speech.notes) or "check the data")
    if speech.corpus.published_split and speech.left_out:
        return replace(speech, corpus=replace(speech.corpus, published_split=False))
    return speech


def _open_further(
    speech: Speech, data: DataConfig, phonemes: PhonemesConfig, num_frames: FrameCount | None, turns: Turns
) -> tuple[Speech, LabelledSplit]:
    """The speech with the corpus and notes of `data.further`, and its usable utterances, to be trained on as well."""
    with turns.first():
        further, rejected, added = further_speech(speech.corpus, data, phonemes, show_progress=turns.show_progress)
    further, infeasible = (further, []) if num_frames is None else drop_infeasible(further, num_frames)
    rejected += infeasible
    speech.notes.extend(summarize_rejected(rejected, len(further) + len(rejected), "data.further"))
    speech.notes.append(f"train: {len(further)} further clips, {further.hours:.2f} h, of {data.further}")
    speech.left_out.extend(rejected)
    return replace(speech, corpus=_with_further(speech.corpus, added)), further


def _with_train(corpus: Corpus, ids: Collection[str]) -> Corpus:
    """The corpus with some of its training utterances alone; no published split then."""
    kept = set(ids)
    train = [utterance for utterance in corpus.splits["train"] if utterance.id in kept]
    published = False if corpus.published_split else corpus.published_split
    return replace(corpus, splits={**corpus.splits, "train": train}, published_split=published)


def _with_further(corpus: Corpus, added: Sequence[Utterance]) -> Corpus:
    """The corpus with further training utterances; no published split then."""
    published = False if corpus.published_split else corpus.published_split
    train = [*corpus.splits["train"], *added]
    return replace(corpus, splits={**corpus.splits, "train": train}, published_split=published)


def published_tokenizer(data: DataConfig, phonemes: PhonemesConfig) -> PhoneTokenizer:
    """The head of the published dictionary, in the order in which the published models were trained.

    Raises:
        UserError: the lists have no dictionary.
    """
    mapping = phone_map(phonemes.map)
    dictionary = read_dictionary(list_folder(data.splits, str(data.language)))
    rows = [row if row.startswith(UNUSED) else " ".join(mapping(row)) for row in dictionary]
    return PhoneTokenizer.from_inventory(rows, phonemes.head_layout)


def make_tokenizer(speech: Speech, data: DataConfig, phonemes: PhonemesConfig) -> PhoneTokenizer:
    """The head's rows: the published dictionary where its labels are used, else the phones of the training split."""
    if phonemes.labels == "published":
        return published_tokenizer(data, phonemes)
    return PhoneTokenizer.from_inventory(inventory(speech.splits["train"].phones), phonemes.head_layout)


def describe_speech(speech: Speech, tokenizer: PhoneTokenizer) -> list[str]:
    """Lines for people: what there is, what was left out, and which phones training lacks; these stay in the
    references and count as errors."""
    lines = list(speech.notes)
    lines += [f"{split}: {len(labelled)} clips, {labelled.hours:.2f} h" for split, labelled in speech.splits.items()]
    lines.append(f"inventory: {len(tokenizer.phones)} phones: {' '.join(tokenizer.phones)}")
    known = set(inventory(speech.splits["train"].phones))
    for split, labelled in speech.splits.items():
        lacking = sorted(set(inventory(labelled.phones)) - known)
        if lacking:
            lines.append(f"{split}: phones that training lacks, each a sure error: {' '.join(lacking)}")
    return lines
