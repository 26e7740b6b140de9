"""Everything that can be known to spoil a run on labelled clips, before it uses a device.

Serious, so that `unispeech-ft audit` ends with 3: no clip to train on, one class alone, a split in which no speaker has
two clips or which has one speaker (of tasks that tell speakers apart), a recording or a speaker of training in test,
more unusable clips than `data.max_bad_fraction`, and more than 5 % of a split clipped, hardly audible or of a class
that training lacks.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import combinations
from typing import Any

from unispeech_ft.audit import sound, splits
from unispeech_ft.audit.findings import Audit, Finding, Level, by_level, counted, level_of_share
from unispeech_ft.config.sections import DataConfig
from unispeech_ft.data.audio import SAMPLE_RATE_HZ, Waveform
from unispeech_ft.data.labelled import LabelledClips, usable_clips
from unispeech_ft.data.labels import summarize_rejected
from unispeech_ft.data.prepare import prepare_audio
from unispeech_ft.data.sources.labelled import LabelSource, labels_of, list_clips
from unispeech_ft.data.utterances import FILTERED, SPLITS, Split

FEW_CLIPS, LOPSIDED, SERIOUS_SHARE = 5, 10, 0.05


def audit_labelled(data: DataConfig, labels: LabelSource) -> Audit:
    """Lists and decodes the clips of a configuration, and looks for what would spoil a result.

    Raises:
        UserError: folder, manifest or column is missing.
    """
    corpus = list_clips(data, labels)
    opened: dict[Split, LabelledClips] = {}
    findings: list[Finding] = []
    for split in SPLITS:
        rejected = [item for item in corpus.rejected if item.split == split]
        listed = len(corpus.splits[split]) + len(rejected)
        if corpus.splits[split]:
            audio = prepare_audio(corpus, split, data.cache_folder, num_workers=data.num_workers, channel=data.channel)
            usable, rejected = usable_clips(corpus, split, audio, data, None, labels.separator)
            opened |= {split: usable} if len(usable) else {}
        bad = [item for item in rejected if not item.reason.startswith(FILTERED)]
        lines = summarize_rejected(rejected, listed, split)
        findings += splits.left_out(bad, listed, split, data.max_bad_fraction, lines)
    listed_splits = {split: corpus.splits[split] for split in opened}
    findings += [*splits.shared_recordings(listed_splits), *splits.shared_speakers(listed_splits)]
    findings += _classes(opened, labels)
    digests = {split: _digests(part) for split, part in opened.items()}
    findings += [*_same_sound(digests), *_contradictions(opened, digests)]
    for split, part in opened.items():
        measured = sound.sound_findings(split, {name: sound.measure(samples) for name, samples in _waveforms(part)})
        # A word with silence around it is what such clips are.
        findings += [replace(item, level="note") if item.name == "silence" else item for item in measured]
    figures: dict[str, dict[str, Any]] = {split: _figures(part, labels) for split, part in opened.items()}
    return Audit(by_level(findings), figures, tuple(corpus.notes))


def _names(part: LabelledClips, labels: LabelSource) -> Counter[str]:
    """How many clips each class has."""
    return Counter(name for label in part.labels for name in labels_of(label, labels.separator))


def _classes(opened: Mapping[Split, LabelledClips], labels: LabelSource) -> list[Finding]:
    kind = "speaker" if labels.speakers else "class"
    if "train" not in opened:
        return [Finding("no_training", "serious", "train", "no clip is left to train on", 0)]
    trained = _names(opened["train"], labels)
    found = []
    if len(trained) < 2:
        what, remedy = f"all clips are of one {kind}", f"check data.root and {labels.key}"
        found.append(Finding("one_class", "serious", "train", what, 1, (*trained,), remedy))
    for split, part in opened.items():
        counts = _names(part, labels)
        if labels.speakers and (len(counts) < 2 or max(counts.values()) < 2):
            what = f"{counted(len(counts), 'speaker')}, the most with {max(counts.values())}: no trials of both kinds"
            found.append(Finding("no_trials", "serious", split, what, len(counts), (*counts,), "record more"))
        unknown = {name: count for name, count in counts.items() if name not in trained}
        if unknown and not labels.speakers:
            what = f"{sum(unknown.values())} of {len(part)} clips are of classes that training lacks"
            level = level_of_share(sum(unknown.values()), len(part), SERIOUS_SHARE)
            remedy = "the run leaves them out: record some to train on"
            found.append(Finding("unknown_classes", level, split, what, len(unknown), (*sorted(unknown),), remedy))
    rare = sorted((name for name, count in trained.items() if count < FEW_CLIPS), key=lambda name: trained[name])
    if rare:
        what = f"{len(rare)} of {len(trained)} have fewer than {FEW_CLIPS} clips"
        found.append(Finding(f"rare_{kind}", "warning", "train", what, len(rare), tuple(rare), "record more of them"))
    if not labels.speakers and max(trained.values()) > LOPSIDED * min(trained.values()):
        [(most, count), *_, (least, few)] = trained.most_common()
        what = f"{most} has {count} clips and {least} has {few}"
        remedy = "audio_classification.class_weights balanced lets all classes weigh the same"
        found.append(Finding("lopsided", "note", "train", what, len(trained), (), remedy))
    return found


def _waveforms(part: LabelledClips) -> Iterator[tuple[str, Waveform]]:
    for name, row in zip(part.ids, part.rows, strict=True):
        yield name, part.audio.waveform(row)


def _digests(part: LabelledClips) -> dict[str, str]:
    """SHA-256 of the sound of each clip, by id."""
    return {name: hashlib.sha256(samples.tobytes()).hexdigest() for name, samples in _waveforms(part)}


def _same_sound(digests: Mapping[Split, Mapping[str, str]]) -> list[Finding]:
    """The same sound under two names in two splits."""
    findings = []
    for first, second in combinations(digests, 2):
        known = set(digests[first].values())
        again = tuple(name for name, digest in digests[second].items() if digest in known)
        if again:
            level: Level = "serious" if (first, second) == ("train", "test") else "warning"
            what = f"{len(again)} of {len(digests[second])} clips of {second} sound exactly like one of {first}"
            remedy = "leave them out of one of the two"
            findings.append(Finding("same_sound", level, f"{first}, {second}", what, len(again), again, remedy))
    return findings


def _contradictions(opened: Mapping[Split, LabelledClips], digests: Mapping[Split, Mapping[str, str]]) -> list[Finding]:
    """The same sound with two labels."""
    labels: dict[str, dict[str, str]] = {}
    for split, part in opened.items():
        for name, label in zip(part.ids, part.labels, strict=True):
            labels.setdefault(digests[split][name], {}).setdefault(label, name)
    twice = tuple(" = ".join(names.values()) for names in labels.values() if len(names) > 1)
    if not twice:
        return []
    what = f"{len(twice)} recordings stand there with two labels"
    return [Finding("contradiction", "warning", "", what, len(twice), twice, "keep the right one")]


def _figures(part: LabelledClips, labels: LabelSource) -> dict[str, Any]:
    durations_s = part.num_samples / SAMPLE_RATE_HZ
    return {
        "clips": len(part),
        "hours": part.hours,
        "classes": len(_names(part, labels)),
        "speakers": len({speaker for speaker in part.speakers if speaker}),
        "shortest_s": float(durations_s.min()),
        "longest_s": float(durations_s.max()),
    }


def figure_lines(split: str, figures: Mapping[str, Any]) -> list[str]:
    """The figures of a split for people."""
    known = counted(figures["speakers"], "speaker") if figures["speakers"] else "speakers unknown"
    return [
        f"{split}: {figures['clips']} clips, {figures['hours']:.2f} h, {figures['classes']} labels, {known}, clips of"
        f" {figures['shortest_s']:.1f} to {figures['longest_s']:.1f} s"
    ]
