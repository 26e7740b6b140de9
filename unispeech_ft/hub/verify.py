"""Whether a published model's claims follow from what is published with it; `hub.rebuild` compares with the speech.

The hypotheses are taken as published: only decoding again (`unispeech-ft evaluate`) tells whether the model made them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from unispeech_ft.data.utterances import SPLITS, Split
from unispeech_ft.errors import UserError
from unispeech_ft.files import run_folder
from unispeech_ft.hub.card import claimed, eval_result, metadata, model_card, percent, stated
from unispeech_ft.hub.card_header import split_card
from unispeech_ft.hub.public import public_evidence
from unispeech_ft.hub.stage import local_names
from unispeech_ft.runs import evidence as ev
from unispeech_ft.runs.evidence import Evidence, Fault
from unispeech_ft.scoring import Summary, UtteranceScore, distance, summarize
from unispeech_ft.version import VERSION

SMALL_FILES = ["README.md", "*.json", "*.yaml", "eval/*", f"{ev.ZERO_SHOT}/*"]


@dataclass(frozen=True)
class Verdict:
    """What the checks found.

    Attributes:
        faults: what does not hold; empty where everything does.
        unchecked: what could not be compared, in words.
        evidence: what was read; None where something is missing.
    """

    faults: list[Fault]
    unchecked: list[str] = field(default_factory=list)
    evidence: Evidence | None = None


def same(first: Any, second: Any) -> bool:
    """Equal, numbers within rounding."""
    if isinstance(first, list) and isinstance(second, list):
        return len(first) == len(second) and all(map(same, first, second))
    if isinstance(first, float | int) and isinstance(second, float | int):
        return math.isclose(first, second, rel_tol=1e-9, abs_tol=1e-12)
    return bool(first == second)


def check_lines(results: str, scores: Sequence[UtteranceScore]) -> list[Fault]:
    """Whether each line's errors are those of its own phones, and no utterance stands twice.

    Args:
        results: the folder of the lines, such as `eval/test`.
    """
    file = f"{results}/{ev.HYPOTHESES}"
    wrong = [
        item.id
        for item in scores
        if item.errors != distance(item.reference, item.hypothesis)
        or len(item.reference) - item.deletions + item.insertions != len(item.hypothesis)
    ]
    faults = []
    if wrong:
        found = f"{file}: the errors of {len(wrong)} of {len(scores)} lines are not those of their phones ({wrong[0]})"
        faults.append(Fault("hypotheses", found))
    if len({item.id for item in scores}) < len(scores):
        faults.append(Fault("hypotheses", f"{file}: an id stands twice"))
    return faults


def recompute(summary: Summary, scores: Sequence[UtteranceScore]) -> Summary:
    """The summary that the hypotheses give; what they cannot tell is taken from the published one."""
    kept = ["blank_share", "model", "split", "seconds", "synthetic", "labels", "published_split", "scoring"]
    kept += ["normalise", "speakers", "speakers_in_training"]
    again = asdict(summarize(scores))
    if summary.pfer is None or again["pfer"] is None:  # without panphon, here or there
        kept += ["pfer", "pfer_segments"]
    if summary.bootstrap_unit == "speaker":
        again |= {"per_ci95": summary.per_ci95, "bootstrap_unit": "speaker"}
    return Summary(**again | {key: getattr(summary, key) for key in [*kept, "reference_floor"]})


def differing(published: Summary, again: Summary) -> list[str]:
    """Keys in which two summaries differ, with both values."""
    pairs = {key: (value, getattr(again, key)) for key, value in asdict(published).items()}
    return [f"{key} {first} instead of {second}" for key, (first, second) in pairs.items() if not same(first, second)]


def check_summary(
    results: str, summary: Summary, scores: Sequence[UtteranceScore], card_value: float | None
) -> list[Fault]:
    """Whether a summary is of this split, of these references, and follows from these hypotheses.

    Args:
        results: the folder of both, such as `eval/test`; its last name is the split.
        card_value: PER in percent that the card states; tells which of two contradicting files stands alone.
    """
    file, split = f"{results}/{ev.SUMMARY}", results.rpartition("/")[2]
    if summary.split != split:
        return [Fault("split", f"{file} is the summary of {summary.split}, not of {split}")]
    again = recompute(summary, scores)
    if summary.reference_sha256 != again.reference_sha256:
        found = f"{results}/{ev.HYPOTHESES} holds other references than {file} was made from (SHA-256)"
        return [Fault("references", found)]
    differences = differing(summary, again)
    if not differences:
        return []
    agrees = again.per is not None and card_value is not None and same(percent(again.per), card_value)
    names = {text.split()[0] for text in differences}
    name = "summary" if agrees or not names & {"per", "substitutions", "deletions", "insertions"} else "hypotheses"
    return [Fault(name, f"{file} does not follow from {results}/{ev.HYPOTHESES}: {'; '.join(differences)}")]


def check_zero_shot(evidence: Evidence) -> list[Fault]:
    """Whether the zero-shot floor follows from its hypotheses, and is of the references of the test split."""
    if evidence.zero_shot is None:
        return []
    summary, scores = evidence.zero_shot.summary, evidence.zero_shot.scores
    faults = check_lines(ev.ZERO_SHOT, scores) + check_summary(ev.ZERO_SHOT, summary, scores, None)
    test = evidence.summaries.get("test")
    if test is not None and test.reference_sha256 != summary.reference_sha256:
        faults.append(Fault("references", f"{ev.ZERO_SHOT} was scored on other references than eval/test (SHA-256)"))
    return faults


def check_statements(header: dict[str, Any], evidence: Evidence) -> list[Fault]:
    """Whether the figures in the card's header agree with the summary, or at least with the hypotheses."""
    said = stated(header)
    faults = []
    for split in SPLITS:
        if (split in said) != (split in claimed(evidence)):
            faults.append(Fault("card", f"results of {split} stand only in {'the card' if split in said else 'eval/'}"))
        elif split in said:
            summary = evidence.summaries[split]
            accepted = []
            for candidate in (summary, recompute(summary, evidence.scores[split])):
                result = eval_result(evidence, split, candidate)
                args = {**(result.metric_args or {}), **(result.dataset_args or {})}
                accepted.append({"value": result.metric_value, **args})
            if said[split] not in accepted:
                wrong = {
                    key: said[split].get(key) for key, value in accepted[0].items() if said[split].get(key) != value
                }
                shown = "; ".join(f"{key} {value} instead of {accepted[0][key]}" for key, value in wrong.items())
                faults.append(Fault("card", f"{split} in its header: {shown or 'other keys'}"))
    return faults


def check_text(card: str, evidence: Evidence) -> list[Fault]:
    """Whether the card is the one that the evidence gives, line by line."""
    header, text = split_card(card)
    wanted_header, wanted = metadata(evidence), split_card(model_card(evidence))[1]
    keys = [key for key in {**wanted_header, **header} if header.get(key) != wanted_header.get(key)]
    if keys:
        return [Fault("card", f"its header was edited ({', '.join(keys)})")]
    if text.rstrip() == wanted.rstrip():
        return []
    ours, theirs = wanted.rstrip().splitlines(), text.rstrip().splitlines()
    extra = [line for line in theirs if line not in ours and line.strip()]
    lacking = [line for line in ours if line not in theirs and line.strip()]
    said = f"says “{extra[0][:120]}”" if extra else "has lines in another order"
    given = f"; the evidence gives “{lacking[0][:120]}”" if lacking else ""
    writer = evidence.environment.unispeech_ft
    other = f" (it was written by unispeech_ft {writer}; this is {VERSION})" if writer != VERSION else ""
    return [Fault("card", f"it {said}{given}{other}")]


def _public_form(folder: Path, evidence: Evidence) -> Evidence:
    """A run's evidence as its card states it; a published folder's as it is."""
    if ev.card_path(folder).parent == folder:
        return evidence
    return public_evidence(evidence, local=local_names(evidence.config), repo=None)


def check_folder(folder: Path) -> Verdict:
    """Every check that needs nothing but the published files.

    Raises:
        UserError: the folder is neither a published model nor a run.
    """
    if not any((folder / name).exists() for name in (ev.CARD, ev.CONFIG, "eval", "model")):
        raise UserError(f"{folder} is neither a published model nor a run", remedy="name its folder or repository")
    header: dict[str, Any] = {}
    faults: list[Fault] = []
    path = ev.card_path(folder)
    card = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else None
    if card is None:
        faults.append(Fault("missing", ev.CARD))
    else:
        try:
            header = split_card(card)[0]
        except UserError as error:
            faults.append(Fault("card", error.what))
    wanted: list[Split] = [split for split in SPLITS if split in stated(header)]
    found = ev.read_found(folder, wanted)
    evidence = ev.evidence_of(found)
    if evidence is None:
        return Verdict([*found.faults, *faults])
    evidence = _public_form(folder, evidence)
    for split, summary in evidence.summaries.items():
        value = stated(header).get(split, {}).get("value")
        faults += check_lines(f"eval/{split}", evidence.scores[split])
        faults += check_summary(f"eval/{split}", summary, evidence.scores[split], value)
    faults += check_zero_shot(evidence)
    if header:
        faults += check_statements(header, evidence)
    if card is not None and not faults:
        faults = check_text(card, evidence)
    unchecked = [
        f"the interval of {split} was drawn by speakers, who are not published"
        for split, summary in evidence.summaries.items()
        if summary.bootstrap_unit == "speaker"
    ]
    return Verdict(faults, unchecked, evidence)


def fetch(name: str, revision: str | None = None) -> Path:
    """A local folder, or the small files of a repository on the Hub.

    Raises:
        UserError: there is no such folder, and no such repository that can be reached.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return run_folder(folder)
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=SMALL_FILES))
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
        raise UserError(
            f"{name} is neither a local folder nor a repository that can be reached ({reason})",
            remedy="check the name, and for a private repository log in with `hf auth login`",
        ) from None
