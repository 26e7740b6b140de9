"""Two runs on disk, compared; speakers come from the speech that the runs are configured for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from unispeech_ft.data.sources import list_utterances
from unispeech_ft.errors import UserError
from unispeech_ft.files import run_folder
from unispeech_ft.scoring.bootstrap import MIN_SPEAKERS
from unispeech_ft.scoring.compare import Comparison, compare, with_speakers
from unispeech_ft.scoring.per import UtteranceScore
from unispeech_ft.scoring.summary import read_hypotheses
from unispeech_ft.scoring.task_compare import TaskComparison, compare_task_scores
from unispeech_ft.scoring.task_scores import HYPOTHESES, KNOWN, MIXTURES, TRIALS, read_task_scores
from unispeech_ft.tasks.ctc_phoneme.config import load_config


def result_folder(path: Path, split: str) -> Path:
    """The folder of `hypotheses.jsonl` or of another task's scores: the one that is named, or `eval/SPLIT` of a run.

    Raises:
        UserError: there are no results.
    """
    run = run_folder(path)
    for folder in (path.parent if path.name == HYPOTHESES else path, run / "eval" / split, path / split):
        if any((folder / name).is_file() for name in (HYPOTHESES, TRIALS, MIXTURES, KNOWN)):
            return folder
    raise UserError(
        f"{path}: no {HYPOTHESES} or other scores, neither there nor in eval/{split}",
        remedy="name a run directory or a folder of results, or choose the split (--split)",
    )


def known_speakers(folders: Sequence[Path]) -> dict[str, str]:
    """Speaker by utterance id, from the first run whose configuration and speech can be reached; else empty.

    Only what is on this disk is asked: speech that comes from the Hub counts as out of reach.
    """
    for folder in folders:
        run = next((parent for parent in folder.resolve().parents if (parent / "config.yaml").is_file()), None)
        if run is None:
            continue
        try:
            config = load_config(run / "config.yaml", {"dry_run": True})
            if config.data.source == "hub" and not Path(str(config.data.root)).expanduser().is_dir():
                continue
            corpus = list_utterances(config.data, wanted=())
        except (UserError, OSError):
            continue
        speakers = {u.id: u.speaker for split in corpus.splits.values() for u in split if u.speaker}
        if speakers:
            return speakers
    return {}


def compare_task_runs(first: Path, second: Path, split: str = "test") -> TaskComparison | None:
    """Compares two runs of a task beside phone recognition; None where the first is one of phones.

    Args:
        first, second, split: as of `compare_runs`.

    Raises:
        UserError: results are missing, cannot be read, or are not of the same task and references.
    """
    found = [read_task_scores(result_folder(path, split)) for path in (first, second)]
    if found[0] is None:
        return None
    if found[1] is None:
        raise UserError(f"{second} holds no {found[0].name}", remedy="name two runs of one task")
    return compare_task_scores(found[0], found[1])


def compare_runs(first: Path, second: Path, split: str = "test") -> tuple[Comparison, list[str]]:
    """Compares the results of two runs, and says how it was done where that is not by speaker.

    Args:
        first: run directory, folder of results, or its hypotheses.jsonl.
        second: likewise.
        split: whose results, where a run directory is given.

    Raises:
        UserError: results are missing or cannot be read, or their references differ.
    """
    folders = [result_folder(path, split) for path in (first, second)]
    scores = [read_hypotheses(folder / HYPOTHESES) for folder in folders]
    speakers = {item.id: item.speaker for lines in scores for item in lines if item.speaker} or known_speakers(folders)
    found = compare(with_speakers(scores[0], speakers), scores[1])
    return found, _notes(found, scores[0], speakers)


def _notes(found: Comparison, scores: Sequence[UtteranceScore], speakers: dict[str, str]) -> list[str]:
    if found.bootstrap_unit == "speaker":
        return []
    known = len({speakers[utterance.id] for utterance in scores if utterance.id in speakers})
    reason = f"only {known} are known, fewer than {MIN_SPEAKERS}" if known else "none is known"
    return [f"by utterance, not by speaker: {reason}; utterances of one voice err alike, so the interval is too narrow"]
