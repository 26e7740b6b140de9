"""What a diarization leaves: scored conversations and recordings with their RTTM, and a model folder."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from unispeech_ft.data.simulate import Conversations
from unispeech_ft.data.utterances import Split
from unispeech_ft.files import write_text
from unispeech_ft.hub.task_card import TaskCard
from unispeech_ft.hub.task_evidence import leave_model
from unispeech_ft.models.build import BuiltModel
from unispeech_ft.models.feature_cache import ComputedFeatures, FeatureStore
from unispeech_ft.scoring.diarization import Segment, diarization_errors, format_rttm, read_rttm
from unispeech_ft.scoring.report.figures import task_curves
from unispeech_ft.scoring.report.task_page import TaskReport, Timeline, TimelineRow, write_task_report
from unispeech_ft.scoring.task_scores import FOUND, KNOWN
from unispeech_ft.tasks.speaker_diarization.config import DiarizationConfig
from unispeech_ft.tasks.speaker_diarization.diarize import Settings, diarize, load_diarizer, read_recordings
from unispeech_ft.tasks.speaker_diarization.evaluate import (
    Choice,
    Summary,
    best_settings,
    found_segments,
    hear_all,
    result_line,
    summarize,
)
from unispeech_ft.training.checkpoint import load_best
from unispeech_ft.training.loop import METRICS

if TYPE_CHECKING:
    from accelerate import Accelerator

    from unispeech_ft.data.audio import Waveform

MOST_TIMELINES = 12
Segments = Mapping[str, Sequence[Segment]]


def open_recordings(config: DiarizationConfig) -> tuple[dict[str, Waveform], dict[str, list[Segment]]]:
    """The real recordings that are scored beside the test split, before anything is trained; none where none are named.

    Raises:
        UserError: they cannot be read.
    """
    own = config.speaker_diarization
    if own.recordings is None or own.rttm is None:
        return {}, {}
    known = read_rttm(Path(own.rttm).expanduser())
    folder = Path(own.recordings).expanduser()
    return read_recordings(folder, sorted(known), "speaker_diarization.recordings"), known


def _timelines(known: Segments, found: Segments) -> list[Timeline]:
    def rows(segments: Sequence[Segment], kind: Literal["known", "found"]) -> list[TimelineRow]:
        names = sorted({item.speaker for item in segments})
        return [(kind, n, [(i.start_s, i.end_s) for i in segments if i.speaker == n]) for n in names]

    return [
        Timeline(
            name,
            max([item.end_s for item in (*known[name], *found[name])], default=1.0),
            [*rows(known[name], "known"), *rows(found[name], "found")],
        )
        for name in list(known)[:MOST_TIMELINES]
    ]


def _write_segments(folder: Path, known: Segments, found: Segments) -> tuple[Segments, Segments]:
    """Writes `reference.rttm` and `hypothesis.rttm`, and gives back what stands in them, to the millisecond."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, segments in ((KNOWN, known), (FOUND, found)):
        write_text(folder / name, format_rttm(segments))
        held = read_rttm(folder / name, may_be_empty=True)
        written.append({recording: held.get(recording, []) for recording in known})
    return written[0], written[1]


def _write(folder: Path, summary: Summary, known: Segments, found: Segments, output: Path) -> None:
    """Writes `summary.json` and `report.html`."""
    write_text(folder / "summary.json", json.dumps(asdict(summary), ensure_ascii=False, indent=2) + "\n")
    report = TaskReport(
        f"Speaker diarization: {summary.split}",
        "no speech" if summary.der is None else f"DER {100 * summary.der:.2f} %",
        f"{result_line(summary)}. The DER is the share of speech that is missed, said too much, or given to another"
        " speaker; lower is better.",
        [
            ("Recordings", f"{summary.recordings:,}"),
            ("Speech", f"{summary.speech_s / 60:.1f} min"),
            ("Collar", f"{summary.collar_s:g} s on either side"),
            ("Overlapped speech", "scored"),
            ("Threshold, chosen on validation", f"{summary.threshold:g}"),
            ("Median, chosen on validation", f"{summary.median_frames} frames"),
            ("One speaker for all speech", f"{100 * (summary.der_one_speaker or 0):.2f} %"),
        ],
        task_curves(output / METRICS, "der", "Validation DER"),
        timelines=_timelines(known, found),
    )
    write_task_report(folder / "report.html", report)


CARD = TaskCard(
    task="speaker_diarization",
    config=DiarizationConfig,
    summary=Summary,
    figure="der",
    line=result_line,
    title="Speaker diarization",
    trained_on="conversations simulated of clips of single speakers; validation and test are simulated too, of others",
    tags=("speech", "speaker-diarization", "unispeech"),
    library="unispeech_ft",
    pipeline=None,
    use="unispeech-ft diarize MODEL meeting.wav --rttm segments",
    load=load_diarizer,
)


def score_and_export(
    config: DiarizationConfig,
    conversations: Mapping[Split, Conversations],
    recordings: tuple[Mapping[str, Waveform], Segments],
    built: BuiltModel,
    features: Mapping[Split, FeatureStore | ComputedFeatures],
    accelerator: Accelerator,
) -> list[Summary]:
    """Scores validation, test and real recordings with the best weights; writes results and model folder.

    Returns:
        The summaries; on other processes than the first, none.
    """
    output, own = Path(config.output_dir), config.speaker_diarization
    load_best(output, built.model)
    choice: Choice | None = None
    summaries: list[Summary] = []

    def finish(split: str, known: Segments, found: Segments, used: Choice, started: float) -> None:
        place = output / "eval" / split
        known, found = _write_segments(place, known, found)
        errors = {name: diarization_errors(known[name], found[name], collar_s=own.collar_s) for name in known}
        model = str(output / "model")
        summary = summarize(errors, known, used, own.collar_s, model=model, split=split, started=started)
        _write(place, summary, known, found, output)
        summaries.append(summary)
        accelerator.print(result_line(summary))

    scored: list[Split] = ["validation", "test"]
    for split in scored:
        started = time.perf_counter()
        heard = hear_all(built.model, conversations[split], features[split], accelerator)
        choice = choice or best_settings(heard, own)
        if accelerator.is_main_process:
            found = {item.name: found_segments(item, choice.threshold, choice.median) for item in heard}
            finish(split, {item.name: item.known for item in heard}, found, choice, started)
    if accelerator.is_main_process and choice is not None:
        built.model.eval()
        settings = Settings(choice.threshold, choice.median, own.chunk_s, own.apart)
        samples, known = recordings
        if samples:
            started = time.perf_counter()
            found = {name: diarize(built.model, built.front_end, samples[name], settings) for name in samples}
            finish("recordings", known, found, choice, started)
        settings_said = {"threshold": choice.threshold, "median": choice.median, "chunk_s": own.chunk_s}
        built.model.config.head |= {**settings_said, "apart": own.apart}
        leave_model(CARD, config, summaries, built)
    accelerator.wait_for_everyone()
    return summaries
