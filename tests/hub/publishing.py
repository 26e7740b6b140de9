"""Helpers of the tests about publishing."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path

from unispeech_ft.scoring import UtteranceScore, read_hypotheses, score, write_results
from unispeech_ft.scoring.summary import Summary

# huggingface_hub takes anything for a token; this one has the form of a real one.
TOKEN = "hf_" + "LoopbackTokenThatMustNeverLeak123"
REPO = "someone/ky-phones"


def edit_json(file: Path, **changes: object) -> None:
    """Other values for some keys of a JSON file."""
    values = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps(values | changes, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def edit_text(file: Path, old: str, new: str) -> None:
    """Another text in place of one that stands there."""
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Time and content of every file, to see whether anything was touched."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): (os.stat(path).st_mtime_ns, path.read_bytes()) for path in files}


def read_summary(results: Path) -> Summary:
    return Summary(**json.loads((results / "summary.json").read_text(encoding="utf-8")))


def rewrite(results: Path, references: dict[str, list[str]], hypotheses: dict[str, list[str]]) -> None:
    """Other phones in hypotheses.jsonl, their errors counted anew, the summary as it was."""
    durations_s = {item.id: item.duration_s for item in read_hypotheses(results / "hypotheses.jsonl")}
    write_results(results, score(references, hypotheses, durations_s=durations_s), read_summary(results))


def phones(results: Path) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """References and hypotheses of a results folder."""
    scores: list[UtteranceScore] = read_hypotheses(results / "hypotheses.jsonl")
    return {item.id: item.reference for item in scores}, {item.id: item.hypothesis for item in scores}


def resummarize(results: Path, **changes: object) -> None:
    """The summary that the hypotheses give now, with some keys changed."""
    from unispeech_ft.scoring import summarize

    scores = read_hypotheses(results / "hypotheses.jsonl")
    old = read_summary(results)
    kept = ("blank_share", "model", "split", "seconds", "synthetic", "labels", "published_split", "scoring")
    summary = summarize(scores, **{key: getattr(old, key) for key in kept})
    write_results(results, scores, Summary(**(asdict(summary) | changes)))


def write_card(folder: Path) -> None:
    """The card that the folder's files give now."""
    from unispeech_ft.hub.card import model_card
    from unispeech_ft.runs.evidence import read_evidence

    (folder / "README.md").write_text(model_card(read_evidence(folder)), encoding="utf-8")
