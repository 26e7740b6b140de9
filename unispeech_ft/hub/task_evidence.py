"""What a run of a task beside phone recognition publishes, and whether its claims follow from it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from unispeech_ft.config.labelled import LabelledRunConfig
from unispeech_ft.config.reading import to_yaml
from unispeech_ft.data.utterances import SPLITS
from unispeech_ft.errors import UserError
from unispeech_ft.files import parse_json
from unispeech_ft.hub.card_header import split_card
from unispeech_ft.hub.public import public_config, public_environment
from unispeech_ft.hub.stage import link_model, local_names, refuse_secrets
from unispeech_ft.hub.task_card import TaskCard, task_card
from unispeech_ft.hub.verify import Verdict
from unispeech_ft.models.build import BuiltModel
from unispeech_ft.models.saving import save_model
from unispeech_ft.runs import evidence as ev
from unispeech_ft.runs.evidence import Environment, Fault, read_json, read_run_config, to_json
from unispeech_ft.scoring import read_hypotheses, write_results
from unispeech_ft.scoring.diarization import format_rttm, read_rttm
from unispeech_ft.scoring.task_scores import FOUND, HYPOTHESES, KNOWN, MIXTURES, SUMMARY, TRIALS, read_task_scores


@dataclass(frozen=True)
class TaskEvidence:
    """What could be read of a run or a published folder."""

    config: LabelledRunConfig
    environment: Environment
    summaries: dict[str, Any]


def read_task_evidence(folder: Path, card: TaskCard) -> TaskEvidence:
    """The evidence of a run or a published folder.

    Raises:
        UserError: a file is missing or cannot be read.
    """
    there = [path.name for path in (folder / "eval").glob("*") if path.is_dir()]
    ordered = sorted(there, key=lambda name: ([*SPLITS, name].index(name), name))
    summaries = {split: read_json(folder / "eval" / split / SUMMARY, card.summary) for split in ordered}
    if not summaries:
        raise UserError(f"{folder} has no eval/test/{SUMMARY}", remedy="name the folder of a run that has ended")
    config = read_run_config(folder / ev.CONFIG, card.config)
    return TaskEvidence(config, read_json(folder / ev.ENVIRONMENT, Environment), summaries)


def run_card(card: TaskCard, config: LabelledRunConfig, summaries: Mapping[str, Any]) -> str:
    """The card in the model folder of a run."""
    return task_card(card, public_config(config, local=local_names(config)), summaries)


def leave_model(card: TaskCard, config: LabelledRunConfig, summaries: Iterable[Any], built: BuiltModel) -> None:
    """Writes the model folder of a run with its card, and prints where it and the results lie.

    Args:
        summaries: of the scored splits, in order.
    """
    output = Path(config.output_dir)
    said = run_card(card, config, {summary.split: summary for summary in summaries})
    layerdrop = config.model.layerdrop
    save_model(output / "model", built.model, built.extractor, None, layerdrop=layerdrop, card=said)
    print(f"model: {output / 'model'}\nresults: {output / 'eval'}")


def _public_scores(source: Path, target: Path) -> None:
    """The files behind a figure, without the names of people: clips and speakers become numbers."""
    target.mkdir(parents=True)
    if (source / MIXTURES).is_file():
        (target / MIXTURES).write_bytes((source / MIXTURES).read_bytes())
    if (source / TRIALS).is_file():
        numbers: dict[str, str] = {}

        def number(kind: str, name: str) -> str:
            return numbers.setdefault(f"{kind} {name}", f"{kind}-{len(numbers) + 1}")

        lines = []
        for line in (source / TRIALS).read_text(encoding="utf-8").splitlines():
            trial = parse_json(line)
            trial |= {key: number("clip", trial[key]) for key in ("enrol", "test")}
            trial["speakers"] = [number("speaker", name) for name in trial.get("speakers", ())]
            lines.append(json.dumps(trial) + "\n")
        (target / TRIALS).write_text("".join(lines), encoding="utf-8")
    for name in (KNOWN, FOUND):
        if (source / name).is_file():
            recordings = read_rttm(source / name, may_be_empty=True)
            for place, segments in recordings.items():
                people = {who: f"S{number + 1}" for number, who in enumerate(sorted({s.speaker for s in segments}))}
                recordings[place] = [item._replace(speaker=people[item.speaker]) for item in segments]
            (target / name).write_text(format_rttm(recordings), encoding="utf-8")


def stage_task(run: Path, folder: Path, card: TaskCard, *, repo: str, license_name: str | None = None) -> None:
    """Fills an empty folder with what is published of a run, and loads the model from it.

    Args:
        run: is only read.

    Raises:
        UserError: the run is incomplete, its model cannot be loaded, or a text holds what looks like a token.
    """
    if not (run / "model" / "config.json").is_file():
        raise UserError(f"{run} has no model/config.json", remedy="name the folder of a run that has ended")
    evidence = read_task_evidence(run, card)
    link_model(run, folder)
    config = public_config(evidence.config, local=local_names(evidence.config))
    summaries = {split: replace(item, model=repo) for split, item in evidence.summaries.items()}
    (folder / ev.CONFIG).write_text(to_yaml(config), encoding="utf-8")
    (folder / ev.ENVIRONMENT).write_text(to_json(public_environment(evidence.environment)), encoding="utf-8")
    for split, summary in summaries.items():
        source, target = run / "eval" / split, folder / "eval" / split
        _public_scores(source, target)
        if (source / HYPOTHESES).is_file():
            clips = [replace(item, speaker=None) for item in read_hypotheses(source / HYPOTHESES)]
            write_results(target, clips, summary)
        else:
            text = json.dumps(asdict(summary), ensure_ascii=False, indent=2)
            (target / SUMMARY).write_text(text + "\n", encoding="utf-8")
    said = task_card(card, config, summaries, repo=repo, license_name=license_name)
    (folder / ev.CARD).write_text(said, encoding="utf-8")
    refuse_secrets(folder)
    card.load(str(folder))


def _figures(folder: Path, card: TaskCard, summaries: Mapping[str, Any]) -> list[Fault]:
    """Whether each summary is of its split and its figure that of the scores beside it."""
    faults = []
    for split, summary in summaries.items():
        if summary.split != split:
            faults.append(Fault("split", f"eval/{split}/{SUMMARY} is the summary of {summary.split}, not of {split}"))
            continue
        try:
            scores = read_task_scores(folder / "eval" / split)
        except UserError as error:
            faults.append(Fault("unreadable", error.what))
            continue
        if scores is None or scores.key != card.figure:
            faults.append(Fault("missing", f"eval/{split}: the scores behind {card.figure}"))
            continue
        said, again = getattr(summary, card.figure), scores.figure
        if said != again and (said is None or again is None or not math.isclose(said, again, abs_tol=1e-9)):
            found = f"eval/{split}/{SUMMARY} says {card.figure} {said}; its scores give {again}"
            faults.append(Fault("summary", found))
    return faults


def _wanted_card(folder: Path, card: TaskCard, evidence: TaskEvidence, header: Mapping[str, Any]) -> str:
    if ev.card_path(folder).parent != folder:
        return run_card(card, evidence.config, evidence.summaries)
    repo = str(next(iter(evidence.summaries.values())).model)
    named = header.get("license") if header.get("license") != "unknown" else None
    return task_card(card, evidence.config, evidence.summaries, repo=repo, license_name=named)


def check_task_folder(folder: Path, card: TaskCard) -> Verdict:
    """Every check that needs nothing but the files of a run or a published folder."""
    try:
        evidence = read_task_evidence(folder, card)
        text = ev.card_path(folder).read_text(encoding="utf-8", errors="replace")
        header, _ = split_card(text)
    except OSError as error:
        return Verdict([Fault("missing", f"{ev.CARD} ({error.strerror})")])
    except UserError as error:
        return Verdict([Fault("unreadable", error.what)])
    faults = _figures(folder, card, evidence.summaries)
    if not faults:
        wanted = _wanted_card(folder, card, evidence, header)
        ours, theirs = wanted.splitlines(), text.splitlines()
        if ours != theirs:
            edited = next((line for line in theirs if line not in ours), "lines in another order")
            faults.append(Fault("card", f"it says “{edited[:120]}”, which its evidence does not give"))
    return Verdict(faults)
