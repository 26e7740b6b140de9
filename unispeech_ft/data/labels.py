"""Phones for the utterances of a split, and the utterances that the run uses.

Labels are cached apart from the audio, keyed by the sentences, the rule and espeak-ng's version.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

import numpy as np
import numpy.typing as npt

from unispeech_ft.config.labelled import AugmentationConfig
from unispeech_ft.config.sections import DataConfig, Labels, PhonemesConfig
from unispeech_ft.data.audio import SAMPLE_RATE_HZ, Waveform
from unispeech_ft.data.augmentation import Audio, AugmentedAudio, augmented_audio
from unispeech_ft.data.prepare import PreparedAudio
from unispeech_ft.data.sources import list_utterances
from unispeech_ft.data.utterances import FILTERED, MIN_SPEAKERS, Corpus, Rejected, Split, Utterance, hash_of
from unispeech_ft.errors import UserError
from unispeech_ft.files import keep
from unispeech_ft.phonemes.columns import column_rule
from unispeech_ft.phonemes.espeak import espeak_version
from unispeech_ft.phonemes.g2p import G2P, Pronunciation, pronounce, unknown_words
from unispeech_ft.phonemes.notation import phone_map
from unispeech_ft.randomness import Stream, generator
from unispeech_ft.scoring.files import read_phone_file

PRONUNCIATIONS = "phones.json"
# Of what a sentence is read as and refused for; another number makes cached labels anew.
READING = 2
# What to do where most of a split is bad for a reason with these words in it.
REMEDIES = {
    "data.channel": "set data.channel to one that the recordings have",
    "no column labels": "name the column or tier of phones in data.phones_column, * where the texts are phones",
}


@dataclass(frozen=True)
class LabelledSplit:
    """The utterances of a split that can be used, in the order of the source.

    Attributes:
        ids: of the utterances.
        phones: their labels.
        rows: where each clip lies in `audio`.
        speakers: None where unknown.
    """

    split: Split
    ids: list[str]
    phones: list[list[str]]
    rows: list[int]
    speakers: list[str | None]
    audio: Audio

    def __repr__(self) -> str:
        return f"LabelledSplit({self.split}: {len(self)} clips)"

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def num_samples(self) -> npt.NDArray[np.int64]:
        """Samples at 16 kHz of each clip."""
        return np.asarray(self.audio.num_samples[self.rows], dtype=np.int64)

    @property
    def durations_s(self) -> dict[str, float]:
        return {name: count / SAMPLE_RATE_HZ for name, count in zip(self.ids, self.num_samples.tolist(), strict=True)}

    @property
    def hours(self) -> float:
        return float(self.num_samples.sum()) / SAMPLE_RATE_HZ / 3600

    @property
    def references(self) -> dict[str, list[str]]:
        return dict(zip(self.ids, self.phones, strict=True))

    def waveform(self, name: str) -> Waveform:
        """The clip of an utterance by its id: `[S]`, 16 kHz, full scale ±1."""
        return self.audio.waveform(self.rows[self.ids.index(name)])

    def subset(self, indices: Sequence[int]) -> LabelledSplit:
        """The utterances at some indices."""
        return replace(
            self,
            ids=[self.ids[index] for index in indices],
            phones=[self.phones[index] for index in indices],
            rows=[self.rows[index] for index in indices],
            speakers=[self.speakers[index] for index in indices],
        )

    def portion(self, share: float) -> LabelledSplit:
        """As much as a share of the speech, at least a clip; a smaller portion lies within a larger one.

        Where ten or more speakers are known, whole speakers one after another, so that more speech is more voices; else
        clips of everybody. Hashes decide the order.
        """
        known = {speaker for speaker in self.speakers if speaker}
        by_speaker = len(known) >= MIN_SPEAKERS
        voices = [hash_of(speaker or "") if by_speaker else 0 for speaker in self.speakers]
        order = sorted(range(len(self)), key=lambda index: (voices[index], hash_of(self.ids[index])))
        filled = np.cumsum(self.num_samples[order]) <= share * self.num_samples.sum()
        return self.subset(sorted(order[: max(1, int(filled.sum()))]))

    def sample(self, limit: int | None, seed: int) -> LabelledSplit:
        """At most `limit` utterances, chosen by the seed alone; None for all."""
        if limit is None or limit >= len(self):
            return self
        random = generator(seed, Stream.VALIDATION_SAMPLE)
        return self.subset(sorted(random.choice(len(self), limit, replace=False).tolist()))


def _cached_pronunciations(sentences: Sequence[str], g2p: G2P, rule: str, cache_dir: Path) -> list[Pronunciation]:
    version = espeak_version() if g2p.language else "none"
    digest = hashlib.sha256(json.dumps([READING, rule, version, *sentences], ensure_ascii=False).encode()).hexdigest()
    folder = cache_dir / "labels" / digest[:24]

    def fill(partial: Path) -> None:
        found = [(item.phones, item.fault) for item in pronounce(sentences, g2p)]
        (partial / PRONUNCIATIONS).write_text(json.dumps(found, ensure_ascii=False), encoding="utf-8")

    keep(folder, fill)
    found = json.loads((folder / PRONUNCIATIONS).read_text(encoding="utf-8"))
    return [Pronunciation(phones, fault) for phones, fault in found]


def label_utterances(
    utterances: Sequence[Utterance], data: DataConfig, phonemes: PhonemesConfig, labels: Labels | None = None
) -> list[Pronunciation]:
    """Phones of each utterance, or the reason why it has none.

    Args:
        labels: where they come from; None for `phonemes.labels`.

    Raises:
        UserError: see `G2P.from_config`.
    """
    labels = labels or phonemes.labels
    if labels in ("column", "published"):
        missing, mapping = f"no {labels} labels", phone_map(phonemes.map)
        if labels == "column":
            labels_of = column_rule(phonemes)
            phones = [labels_of(item.phones or ()) for item in utterances]
        else:
            phones = [[target for phone in item.phones or () for target in mapping(phone)] for item in utterances]
        return [Pronunciation(line, None if line else missing) for line in phones]
    g2p = G2P.from_config(phonemes, data.language, labels)
    rule = f"{phonemes.model_dump_json(exclude={'labels', 'normalise'})} {labels} {g2p.rule} {g2p.language} {g2p.code}"
    for file in (phonemes.lexicon, phonemes.map):
        if file and Path(file).is_file():
            rule += hashlib.sha256(Path(file).read_bytes()).hexdigest()
    return _cached_pronunciations([item.text or "" for item in utterances], g2p, rule, data.cache_folder)


def second_labels(floor: str, split: Split, data: DataConfig, phonemes: PhonemesConfig) -> dict[str, list[str]]:
    """A second labelling of a split, by utterance id.

    Args:
        floor: as in `evaluation.floor`: a value of `phonemes.labels`, or a file of id<TAB>phones.

    Raises:
        UserError: the file cannot be read or is malformed, or the source has no such labels.
    """
    labels = next((name for name in get_args(Labels) if name == floor), None)
    if labels is None:
        return read_phone_file(floor)
    utterances = list_utterances(data, published_labels=labels == "published", wanted=(split,)).splits[split]
    found = label_utterances(utterances, data, phonemes, labels)
    return {item.id: said.phones for item, said in zip(utterances, found, strict=True) if not said.fault}


def _fault(utterance: Utterance, pronunciation: Pronunciation, audio: PreparedAudio, data: DataConfig) -> str | None:
    if utterance.id not in audio.rows:
        return audio.faults.get(utterance.id, "not prepared")
    if pronunciation.fault:
        return pronunciation.fault
    duration_s = audio.duration_s(audio.rows[utterance.id])
    if not data.min_duration_s <= duration_s <= data.max_duration_s:
        limits = f"{data.min_duration_s:g} to {data.max_duration_s:g} s"
        return f"{FILTERED}{duration_s:.2f} s long, outside {limits}"
    return None


def label_split(
    corpus: Corpus, split: Split, audio: PreparedAudio, data: DataConfig, phonemes: PhonemesConfig
) -> tuple[LabelledSplit, list[Rejected]]:
    """The usable utterances of a split with their phones, and all others with the reason."""
    utterances = corpus.splits[split]
    pronunciations = label_utterances(utterances, data, phonemes)
    used: list[tuple[Utterance, list[str]]] = []
    rejected = [item for item in corpus.rejected if item.split == split]
    for utterance, pronunciation in zip(utterances, pronunciations, strict=True):
        fault = _fault(utterance, pronunciation, audio, data)
        if fault:
            rejected.append(Rejected(split, utterance.id, fault))
        else:
            used.append((utterance, pronunciation.phones))
    labelled = LabelledSplit(
        split,
        [utterance.id for utterance, _ in used],
        [phones for _, phones in used],
        [audio.rows[utterance.id] for utterance, _ in used],
        [utterance.speaker for utterance, _ in used],
        audio,
    )
    return labelled, rejected


def minimum_frames(labels: Sequence[object]) -> int:
    """Frames that CTC needs for a label sequence: one a label, and a blank between repeats."""
    return len(labels) + sum(first == second for first, second in zip(labels, labels[1:], strict=False))


def drop_infeasible(labelled: LabelledSplit, num_frames: Callable[[int], int]) -> tuple[LabelledSplit, list[Rejected]]:
    """Leaves out utterances whose labels no CTC path of their frames can spell.

    Args:
        num_frames: samples → frames of the model.
    """
    kept, rejected = [], []
    for index, (name, phones) in enumerate(zip(labelled.ids, labelled.phones, strict=True)):
        there, needed = num_frames(int(labelled.num_samples[index])), minimum_frames(phones)
        if there >= needed:
            kept.append(index)
        else:
            reason = f"infeasible for CTC: {needed} frames needed for its phones, {there} there"
            rejected.append(Rejected(labelled.split, name, reason))
    return labelled.subset(kept), rejected


def with_copies(
    labelled: LabelledSplit,
    settings: AugmentationConfig,
    seed: int,
    *,
    longest_s: float,
    num_frames: Callable[[int], int] | None = None,
) -> tuple[LabelledSplit, list[Rejected]]:
    """The utterances and their changed copies, which are named `ID*COPY` and have the same phones; and the copies that
    are too long, or too short for their phones.

    Args:
        longest_s: a longer copy is left out.
        num_frames: samples → frames of the model; None where it is not known.

    Raises:
        UserError: a folder of noises or rooms holds none.
    """
    if isinstance(labelled.audio, AugmentedAudio) or not settings.makes_copies:
        return labelled, []
    audio = augmented_audio(labelled.audio, settings, seed)
    found = replace(
        labelled,
        ids=[name + change.name for change in audio.changes for name in labelled.ids],
        phones=labelled.phones * len(audio.changes),
        rows=[number * audio.num_originals + row for number in range(len(audio.changes)) for row in labelled.rows],
        speakers=labelled.speakers * len(audio.changes),
        audio=audio,
    )
    durations_s = found.num_samples / SAMPLE_RATE_HZ
    fits = (durations_s <= longest_s).tolist()
    reason = f"{FILTERED}copy longer than {longest_s:g} s"
    rejected = [Rejected(found.split, name, reason) for name, short in zip(found.ids, fits, strict=True) if not short]
    found = found.subset([index for index, short in enumerate(fits) if short])
    if num_frames is None:
        return found, rejected
    found, infeasible = drop_infeasible(found, num_frames)
    return found, rejected + infeasible


def _kind(item: Rejected) -> str:
    """The reason without its figures, to count alike ones together."""
    return re.sub(r"[0-9][0-9.]* s long, |:.*", "", item.reason.removeprefix(FILTERED))


def summarize_rejected(rejected: Sequence[Rejected], num_listed: int, split: str) -> list[str]:
    """Lines for people: how many utterances of a split were left out, by reason, with the first ids."""
    if not rejected:
        return []
    by_kind: dict[str, list[str]] = {}
    for item in rejected:
        by_kind.setdefault(_kind(item), []).append(item.id)
    lines = [f"{split}: {len(rejected)} of {num_listed} utterances left out"]
    for kind, ids in sorted(by_kind.items(), key=lambda pair: -len(pair[1])):
        more = f" and {len(ids) - 3} more" if len(ids) > 3 else ""
        lines.append(f"  {len(ids)} × {kind}: {', '.join(ids[:3])}{more}")
    missed = _missed_words(rejected)
    return [*lines, f"  {missed}"] if missed else lines


def _missed_words(rejected: Sequence[Rejected]) -> str:
    unknown = unknown_words([item.reason for item in rejected])
    if not unknown:
        return ""
    shown = ", ".join(f"{word} ({count})" for word, count in unknown.most_common(10))
    return f"{len(unknown)} words are not in the lexicon, most often {shown}"


def check_bad_fraction(rejected: Sequence[Rejected], num_listed: int, split: str, limit: float) -> None:
    """Stops the run where more of a split than `data.max_bad_fraction` is bad; what a filter left out is not bad.

    Raises:
        UserError: with the commonest reason.
    """
    bad = [item for item in rejected if not item.reason.startswith(FILTERED)]
    if not num_listed or len(bad) <= limit * num_listed:
        return
    kind, count = Counter(_kind(item) for item in bad).most_common(1)[0]
    example = next(item.id for item in bad if _kind(item) == kind)
    missed = _missed_words(bad)
    raise UserError(
        f"{split}: {len(bad)} of {num_listed} utterances are bad, more than data.max_bad_fraction ({limit:g});"
        f" most often ({count} ×): {kind}, for example {example}" + (f"; {missed}" if missed else ""),
        remedy=next(
            (remedy for part, remedy in REMEDIES.items() if part in kind),
            "mend the data or the lexicon, or raise data.max_bad_fraction",
        ),
    )
