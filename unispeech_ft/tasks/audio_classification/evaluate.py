"""Scoring a split with a classifier: accuracy with its interval, and what was said of every clip.

`N` frames of a row, `B` clips, `C` hidden channels, `K` classes.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from unispeech_ft.data.audio import SAMPLE_RATE_HZ
from unispeech_ft.data.batch_plan import evaluation_batches
from unispeech_ft.data.labelled import LabelledClips
from unispeech_ft.data.row import Row, row_of
from unispeech_ft.files import write_text
from unispeech_ft.models.decoding import seconds_per_batch
from unispeech_ft.models.feature_cache import ComputedFeatures, FeatureStore
from unispeech_ft.models.forward import encode
from unispeech_ft.scoring import UtteranceScore
from unispeech_ft.scoring.bootstrap import bootstrap_per, interval_text

if TYPE_CHECKING:
    from accelerate import Accelerator


def classify(network: Any, row: Row, layers: Sequence[int] | None = None, *, encoder_trains: bool = False) -> Tensor:
    """A row of features → logits `[B, K]`, as the stock `…ForSequenceClassification` has them of each clip alone.

    Args:
        layers: indices of the encoder layers that run; None for all.
        encoder_trains: keep what a backward pass through the encoder needs.
    """
    with torch.set_grad_enabled(encoder_trains and torch.is_grad_enabled()):
        hidden = encode(network, row, layers=layers)
    projected = network.projector(hidden)
    means = torch.stack([clip.mean(dim=0) for clip in projected.split(list(row.num_frames))])
    logits: Tensor = network.classifier(means)
    return logits.float()


@dataclass(frozen=True)
class Evaluation:
    """A scored split: a score a clip, whose reference and hypothesis are one label each, and the wall time."""

    scores: list[UtteranceScore]
    seconds: float

    @property
    def accuracy(self) -> float:
        return sum(not item.errors for item in self.scores) / max(1, len(self.scores))


@dataclass(frozen=True)
class Summary:
    """What `summary.json` holds: fractions, counts, and how the interval was drawn (10,000 draws, seed 0)."""

    accuracy: float
    accuracy_ci95: tuple[float, float]
    bootstrap_unit: str
    clips: int
    correct: int
    classes: list[str]
    model: str
    split: str
    seconds: float


@torch.no_grad()
def evaluate_clips(
    network: Any,
    clips: LabelledClips,
    store: FeatureStore | ComputedFeatures,
    classes: Sequence[str],
    accelerator: Accelerator,
) -> Evaluation:
    """Classifies the clips of a split, every process a part of them."""
    started = time.perf_counter()
    was_training = network.training
    network.eval()
    num_samples = clips.num_samples.tolist()
    batches = evaluation_batches(num_samples, seconds_per_batch(network, num_samples))
    mine: list[tuple[int, int]] = []
    for indices in batches[accelerator.process_index :: accelerator.num_processes]:
        with accelerator.autocast():
            logits = classify(network, row_of([store.clip(index) for index in indices]).to(network.device))
        mine += zip(indices, logits.argmax(dim=-1).tolist(), strict=True)
    network.train(was_training)
    if accelerator.num_processes > 1:
        from accelerate.utils import gather_object

        mine = gather_object(mine)
    found = dict(mine)
    scores = [
        UtteranceScore(
            name,
            [label],
            [classes[found[index]]],
            int(classes[found[index]] != label),
            0,
            0,
            num_samples[index] / SAMPLE_RATE_HZ,
            clips.speakers[index],
        )
        for index, (name, label) in enumerate(zip(clips.ids, clips.labels, strict=True))
    ]
    return Evaluation(scores, time.perf_counter() - started)


def summarize(evaluation: Evaluation, classes: Sequence[str], *, model: str, split: str) -> Summary:
    """The accuracy of a split with its 95 % interval, by speaker where ten or more are known."""
    interval = bootstrap_per(evaluation.scores)
    if interval is None:
        raise ValueError("a split without clips has no accuracy")
    correct = sum(not item.errors for item in evaluation.scores)
    return Summary(
        evaluation.accuracy,
        (1 - interval.high, 1 - interval.low),
        interval.unit,
        len(evaluation.scores),
        correct,
        list(classes),
        model,
        split,
        round(evaluation.seconds, 3),
    )


def write_evaluation(folder: Path, evaluation: Evaluation, summary: Summary) -> None:
    """Writes `hypotheses.jsonl` (id, label, recognised, speaker, duration) and `summary.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        {
            "id": item.id,
            "label": item.reference[0],
            "recognised": item.hypothesis[0],
            "speaker": item.speaker,
            "duration_s": item.duration_s,
        }
        for item in evaluation.scores
    ]
    write_text(folder / "hypotheses.jsonl", "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    write_text(folder / "summary.json", json.dumps(asdict(summary), ensure_ascii=False, indent=2) + "\n")


def result_line(summary: Summary) -> str:
    """The outcome for people."""
    interval = interval_text(*summary.accuracy_ci95, summary.bootstrap_unit)
    return (
        f"{summary.split} accuracy {100 * summary.accuracy:.2f} %  (95 % interval {interval}; {summary.correct} of"
        f" {summary.clips} clips, {len(summary.classes)} classes)"
    )
