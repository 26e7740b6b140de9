"""The references of a published model built again from the speech, and compared with the published ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from unispeech_ft.data.labels import LabelledSplit
from unispeech_ft.data.speech import Speech, open_speech
from unispeech_ft.data.utterances import Split
from unispeech_ft.errors import UserError
from unispeech_ft.hub.verify import Verdict, differing
from unispeech_ft.models.families import num_frames
from unispeech_ft.models.loader import read_config
from unispeech_ft.phonemes.espeak import espeak_version
from unispeech_ft.runs.evidence import Evidence, Fault
from unispeech_ft.runs.training_facts import split_facts
from unispeech_ft.scoring import summarize
from unispeech_ft.tasks.ctc_phoneme.config import CtcPhonemeConfig
from unispeech_ft.training import launch

if TYPE_CHECKING:
    from transformers import PreTrainedConfig


def model_config(folder: Path) -> PreTrainedConfig | None:
    """The network's configuration, which says what training had to leave out as infeasible."""
    place = folder if (folder / "config.json").is_file() else folder / "model"
    try:
        return read_config(place, str(place))
    except UserError:
        return None


def difference(published: Mapping[str, Sequence[str]], rebuilt: Mapping[str, Sequence[str]]) -> str:
    """How two sets of references differ, in words; empty where they do not."""
    lacking = sorted(rebuilt.keys() - published.keys())
    foreign = sorted(published.keys() - rebuilt.keys())
    changed = sorted(name for name in published.keys() & rebuilt.keys() if published[name] != rebuilt[name])
    groups = (("are not published", lacking), ("are not in the data", foreign), ("have other phones", changed))
    return "; ".join(f"{len(names)} utterances {what} ({names[0]})" for what, names in groups if names)


def compare_scored(evidence: Evidence, split: Split, speech: Speech, config: CtcPhonemeConfig) -> list[Fault]:
    """References, interval and marks of a scored split against the speech."""
    summary, scores = evidence.summaries[split], evidence.scores[split]
    labelled = speech.splits[split]
    published = {item.id: item.reference for item in scores}
    candidates = [labelled]
    if split == "validation" and config.evaluation.max_utterances is not None:
        candidates.append(labelled.sample(config.evaluation.max_utterances, config.seed))
    used = next((item for item in candidates if item.references == published), None)
    if used is None:
        here, there = espeak_version(), evidence.environment.espeak_ng
        other = f"; published with espeak-ng {there}, rebuilt with {here}" if here != there else ""
        return [Fault("references", f"{split}: {difference(published, labelled.references)}{other}")]
    faults = []
    speakers = dict(zip(used.ids, used.speakers, strict=True))
    if summary.bootstrap_unit == "speaker":
        known = [replace(item, speaker=speakers[item.id]) for item in scores]
        again = replace(summary, per_ci95=summarize(known).per_ci95, bootstrap_unit=summarize(known).bootstrap_unit)
        faults += [Fault("summary", f"{split}: {text}") for text in differing(summary, again)]
    if summary.published_split and not speech.corpus.published_split:
        faults.append(Fault("summary", f"{split} is called the published split, which the data is not"))
    if speech.corpus.synthetic and not summary.synthetic:
        faults.append(Fault("summary", f"{split} is synthetic speech, which the summary does not say"))
    return faults


def compare_facts(evidence: Evidence, split: Split, labelled: LabelledSplit) -> list[Fault]:
    """Clips, hours and hash of a split, as the card states them, against the speech."""
    said, found = evidence.training.splits[split], split_facts(labelled)
    wrong = [key for key, value in vars(found).items() if vars(said)[key] != value]
    shown = ", ".join(f"{key} {vars(said)[key]} instead of {vars(found)[key]}" for key in wrong)
    return [Fault("data", f"{split}: {shown}")] if wrong else []


def check_data(folder: Path, verdict: Verdict, config: CtcPhonemeConfig) -> Verdict:
    """The verdict with everything compared that the speech of a configuration can tell.

    Args:
        folder: the published folder.
        verdict: of `verify.check_folder`.

    Raises:
        UserError: a fault of the configuration or the speech.
    """
    evidence = verdict.evidence
    if evidence is None:
        return verdict
    accelerator = launch.start()
    turns = launch.turns_of(accelerator)
    faults = list(verdict.faults)
    unchecked: list[str] = []
    for split in evidence.training.splits:
        network = model_config(folder) if split == "train" else None
        try:
            counter = None if network is None else partial(num_frames, network)
            speech = open_speech(config.data, config.phonemes, num_frames=counter, wanted=(split,), turns=turns)
        except UserError:
            if split in evidence.summaries:
                raise
            unchecked.append(f"{split}, which the data lacks")
            continue
        if split in evidence.summaries:
            faults += compare_scored(evidence, split, speech, config)
        faults += compare_facts(evidence, split, speech.splits[split])
    accelerator.end_training()
    return Verdict(faults, unchecked, evidence)
