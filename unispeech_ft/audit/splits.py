"""What splits share that they should not, and how their speech is spread."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import combinations
from statistics import median
from typing import Any

from unispeech_ft.audit.findings import Finding, Level, level_of_share
from unispeech_ft.data.labels import LabelledSplit, minimum_frames
from unispeech_ft.data.utterances import Rejected, Split, Utterance
from unispeech_ft.phonemes.normalise import normalise_sentence

SHARED_SENTENCES_SHARE = 0.01
INFEASIBLE_SHARE = 0.01
LARGEST_SPEAKER_SHARE = 0.5


def _said(utterance: Utterance) -> str | None:
    if utterance.text:
        return normalise_sentence(utterance.text, rule="published").casefold() or None
    return " ".join(utterance.phones) if utterance.phones else None


def shared_sentences(splits: Mapping[Split, Sequence[Utterance]]) -> list[Finding]:
    """Sentences that stand in two splits; serious where more than 1 % of test is known from training.

    Case and punctuation do not count; where there is no text, the phones are compared.
    """
    findings = []
    for first, second in combinations(splits, 2):
        known = {said for utterance in splits[first] if (said := _said(utterance))}
        again = [said for utterance in splits[second] if (said := _said(utterance)) in known]
        if again:
            spoils = (first, second) == ("train", "test")
            level = level_of_share(len(again), len(splits[second]), SHARED_SENTENCES_SHARE) if spoils else "warning"
            what = f"{len(again)} of {len(splits[second])} utterances of {second} say a sentence that {first} has too"
            remedy = "leave them out of one of the two: the model may have learnt the sentence by heart"
            examples = tuple(sentence for sentence, _ in Counter(str(said) for said in again).most_common())
            findings.append(
                Finding("shared_sentences", level, f"{first}, {second}", what, len(again), examples, remedy)
            )
    return findings


def shared_recordings(splits: Mapping[Split, Sequence[Utterance]]) -> list[Finding]:
    """Recordings that stand in two splits; serious where test has one of training."""
    findings = []
    for first, second in combinations(splits, 2):
        known = {utterance.path for utterance in splits[first] if utterance.path}
        again = [utterance.id for utterance in splits[second] if utterance.path in known]
        if again:
            spoils = (first, second) == ("train", "test")
            what = (
                f"{len(again)} of {len(splits[second])} utterances of {second} are of recordings that {first} has too"
            )
            remedy = "leave them out of one of the two"
            level: Level = "serious" if spoils else "warning"
            where = f"{first}, {second}"
            findings.append(Finding("shared_recordings", level, where, what, len(again), tuple(again), remedy))
    return findings


def shared_speakers(splits: Mapping[Split, Sequence[Utterance]]) -> list[Finding]:
    """Speakers that stand in two splits; serious where test has a voice of training."""
    findings = []
    for first, second in combinations(splits, 2):
        known = {utterance.speaker for utterance in splits[first] if utterance.speaker}
        again = [utterance for utterance in splits[second] if utterance.speaker in known]
        if again:
            names = tuple(sorted({str(utterance.speaker)[:16] for utterance in again}))
            spoils = (first, second) == ("train", "test")
            what = f"{len(names)} speakers of {first} say {len(again)} of {len(splits[second])} utterances of {second}"
            remedy = "divide by speaker: this PER would not hold for new voices" if spoils else "divide by speaker"
            level: Level = "serious" if spoils else "warning"
            findings.append(Finding("shared_speakers", level, f"{first}, {second}", what, len(names), names, remedy))
    return findings


def infeasible(labelled: LabelledSplit, num_frames: Callable[[int], int]) -> list[Finding]:
    """Utterances whose labels no CTC path of their frames can spell: left out of training, sure errors elsewhere."""
    lengths = labelled.num_samples.tolist()
    places = zip(labelled.ids, labelled.phones, lengths, strict=True)
    ids = tuple(name for name, phones, samples in places if num_frames(samples) < minimum_frames(phones))
    if not ids:
        return []
    what = f"{len(ids)} of {len(labelled)} utterances have more phones than CTC can spell in their frames"
    level = level_of_share(len(ids), len(labelled), INFEASIBLE_SHARE)
    remedy = "listen to them: sentence and recording hardly belong together"
    return [Finding("infeasible", level, labelled.split, what, len(ids), ids, remedy)]


def left_out(
    rejected: Sequence[Rejected], listed: int, split: str, limit: float, lines: Sequence[str]
) -> list[Finding]:
    """What cannot be used and why; serious where the run would stop for it (`data.max_bad_fraction`).

    Args:
        rejected: what is left out because it is bad, and not by a filter.
        lines: `summarize_rejected` of all that is left out.
    """
    if not lines:
        return []
    level = level_of_share(len(rejected), listed, limit) if rejected else "note"
    reasons = tuple(line.strip() for line in lines[1:])
    remedy = "mend the data: the run stops above data.max_bad_fraction" if level == "serious" else ""
    what = lines[0].removeprefix(f"{split}: ")
    return [Finding("left_out", level, split, what, len(rejected), reasons, remedy)]


def per_speaker(labelled: LabelledSplit) -> dict[str, dict[str, float]]:
    """Hours and phones of each known speaker."""
    figures: dict[str, dict[str, float]] = {}
    durations = labelled.durations_s
    for name, phones, speaker in zip(labelled.ids, labelled.phones, labelled.speakers, strict=True):
        if speaker:
            found = figures.setdefault(speaker, {"hours": 0.0, "phones": 0, "utterances": 0})
            found["hours"] += durations[name] / 3600
            found["phones"] += len(phones)
            found["utterances"] += 1
    return figures


def figures_of(labelled: LabelledSplit) -> dict[str, Any]:
    """Hours, phones, clip lengths and speakers of a split."""
    durations = list(labelled.durations_s.values())
    speakers = per_speaker(labelled)
    phones = sum(len(line) for line in labelled.phones)
    hours = [figure["hours"] for figure in speakers.values()]
    return {
        "utterances": len(labelled),
        "hours": labelled.hours,
        "phones": phones,
        "inventory": len({phone for line in labelled.phones for phone in line}),
        "phones_per_s": phones / (sum(durations) or 1.0),
        "shortest_s": min(durations, default=0.0),
        "longest_s": max(durations, default=0.0),
        "speakers": {
            "known": len(speakers),
            "median_minutes": 60 * median(hours) if hours else None,
            "median_phones": median(figure["phones"] for figure in speakers.values()) if speakers else None,
            "largest_share": max(hours) / labelled.hours if hours else None,
            "each": dict(sorted(speakers.items(), key=lambda item: -item[1]["hours"])),
        },
    }


def lopsided(figures: Mapping[str, dict[str, Any]]) -> Iterable[Finding]:
    """Training that is mostly one voice's among several."""
    speakers: dict[str, Any] = figures["train"]["speakers"] if "train" in figures else {"known": 0}
    if speakers["known"] > 1 and speakers["largest_share"] > LARGEST_SPEAKER_SHARE:
        what = f"one of {speakers['known']} speakers has {100 * speakers['largest_share']:.0f} % of the time"
        yield Finding("lopsided_speakers", "warning", "train", what, 1, tuple(speakers["each"])[:1])
