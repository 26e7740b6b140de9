"""The results of a run on disk and on the screen."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from unispeech_ft.data.labels import second_labels
from unispeech_ft.data.utterances import Corpus, Split
from unispeech_ft.scoring import GREEDY_RULE, Summary, align, summarize, write_results
from unispeech_ft.scoring.confidence import Confidence, calibration_error
from unispeech_ft.scoring.floor import Floor, reference_floor
from unispeech_ft.scoring.ladder import ladder_lines
from unispeech_ft.scoring.report import Recordings, parse_curves, write_report
from unispeech_ft.tasks.ctc_phoneme.config import CtcPhonemeConfig
from unispeech_ft.tasks.ctc_phoneme.evaluate import Evaluation


def write_evaluation(
    folder: Path,
    evaluation: Evaluation,
    config: CtcPhonemeConfig,
    *,
    model: str,
    split: str,
    corpus: Corpus,
    waveform: Callable[[str], npt.NDArray[np.float32]] | None = None,
    metrics: Path | None = None,
    floor: Floor | None = None,
    scoring: str = GREEDY_RULE,
    trained_speakers: Collection[str] | None = None,
    confidence: Confidence | None = None,
) -> Summary:
    """Writes hypotheses.jsonl, summary.json and report.html of a scored split.

    Args:
        model: what was scored, a folder or Hub id.
        corpus: that the split is of.
        waveform: utterance id → its clip at 16 kHz, for the report.
        floor: see `floor_of`.
        scoring: the rule of decoding and scoring, in words.
        trained_speakers: those that the model has heard; None where that is unknown.
        metrics: the `metrics.jsonl` of the run that made the model, for the report.
        confidence: of the model, whose error on this split the report says.
    """
    summary = summarize(
        evaluation.scores,
        blank_share=evaluation.blank_share,
        model=model,
        split=split,
        seconds=round(evaluation.seconds, 3),
        synthetic=corpus.synthetic,
        labels=config.phonemes.labels,
        normalise=None if config.phonemes.labels == "column" else config.phonemes.text_rule,
        published_split=corpus.published_split,
        scoring=scoring,
        reference_floor=floor.per if floor else None,
        trained_speakers=trained_speakers,
    )
    write_results(folder, evaluation.scores, summary)
    title = f"{config.data.language or 'unknown language'}, {split}"
    recordings = Recordings(evaluation.times, waveform) if waveform else None
    curves = parse_curves(metrics.read_text(encoding="utf-8")) if metrics and metrics.is_file() else None
    off_by = calibration_error(confidence, evaluation.scores, evaluation.times) if confidence else None
    write_report(
        folder / "report.html",
        evaluation.scores,
        summary,
        title,
        recordings=recordings,
        curves=curves,
        calibration_error=off_by,
    )
    return summary


def caution_lines(summary: Summary) -> list[str]:
    """What a reader must know of the size and the voices of a split."""
    lines = [summary.too_few] if summary.too_few else []
    if summary.speakers is None:
        return [*lines, f"its speakers are unknown: {summary.split} speakers may be in training"]
    if summary.speakers_in_training:
        return [
            *lines,
            f"{summary.split} speakers are in training: {summary.speakers_in_training} of {summary.speakers}; of new"
            " voices nothing is known (data.hold_out speaker)",
        ]
    return lines


def trained_speakers(corpus: Corpus, split: Split) -> set[str] | None:
    """The speakers of the training split, for the scores of another; None where nothing is known of it."""
    heard = corpus.splits["train"]
    return None if split == "train" or not heard else {item.speaker for item in heard if item.speaker}


def floor_of(config: CtcPhonemeConfig, split: Split, references: Mapping[str, Sequence[str]]) -> Floor | None:
    """The reference floor of a split's references by `evaluation.floor`; None where that names nothing.

    Raises:
        UserError: the second labelling cannot be had, or is of other utterances.
    """
    floor = config.evaluation.floor
    if floor is None:
        return None
    return reference_floor(references, second_labels(floor, split, config.data, config.phonemes))


def result_lines(
    evaluation: Evaluation, summary: Summary, examples: int = 3, floor: Floor | None = None, columns: int = 80
) -> list[str]:
    """PER with its interval, what guessing would score, and some reference/hypothesis pairs, so many columns wide."""
    if summary.per is None:
        return [f"{summary.split}: no reference phones, so no PER"]
    lines = [
        f"{summary.split} PER {100 * summary.per:.2f} %  (95 % interval {summary.interval}; {summary.utterances}"
        f" utterances, {summary.reference_phones} phones)",
        f"  {summary.substitutions} substitutions, {summary.deletions} deletions, {summary.insertions} insertions",
    ]
    lines += [f"  {floor.line()}"] if floor else []
    lines += [f"  {line}" for line in caution_lines(summary)]
    if summary.per_shuffled is not None:
        lines.append(f"  guessing (hypotheses against shuffled references): {100 * summary.per_shuffled:.2f} %")
    lines += [f"  {line}" for line in (*ladder_lines(evaluation.scores), summary.by_features) if line]
    step = max(1, len(evaluation.scores) // examples)
    for item in evaluation.scores[::step][:examples]:
        lines += [*_pair_lines(align(item.reference, item.hypothesis).pairs, columns), ""]
    return lines


def _pair_lines(pairs: Sequence[tuple[str | None, str | None]], columns: int) -> list[str]:
    """Reference above hypothesis, phone above phone; both go on together on the next line."""
    lines: list[str] = []
    above, below = "  ref", "  hyp"
    for pair in pairs:
        first, second = (side or "·" for side in pair)
        width = max(len(first), len(second))
        if len(above) + 1 + width > columns and len(above) > len("  ref"):
            lines += [above.rstrip(), below.rstrip()]
            above, below = "  ref", "  hyp"
        above, below = f"{above} {first:<{width}}", f"{below} {second:<{width}}"
    return [*lines, above.rstrip(), below.rstrip()]
