"""What a separation leaves: scored mixtures, a report to listen to, and a model folder."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from unispeech_ft.data.audio import SAMPLE_RATE_HZ
from unispeech_ft.data.utterances import Split
from unispeech_ft.files import write_text
from unispeech_ft.hub.task_card import TaskCard
from unispeech_ft.hub.task_evidence import leave_model
from unispeech_ft.models.build import BuiltModel
from unispeech_ft.models.feature_cache import ComputedFeatures, FeatureStore
from unispeech_ft.scoring.report.data import encode_sound
from unispeech_ft.scoring.report.figures import task_curves
from unispeech_ft.scoring.report.task_page import Listened, TaskReport, write_task_report
from unispeech_ft.scoring.separation import best_order
from unispeech_ft.scoring.task_scores import MIXTURES
from unispeech_ft.tasks.speech_separation.config import SeparationConfig
from unispeech_ft.tasks.speech_separation.evaluate import (
    Summary,
    improvements,
    result_line,
    separate_some,
    summarize,
)
from unispeech_ft.tasks.speech_separation.mixtures import Mixtures
from unispeech_ft.tasks.speech_separation.separate import load_separator
from unispeech_ft.training.checkpoint import load_best
from unispeech_ft.training.loop import METRICS

if TYPE_CHECKING:
    from accelerate import Accelerator

# Mixtures that the report plays.
HEARD = 4


def _to_listen(
    built: BuiltModel, mixtures: Mixtures, store: FeatureStore | ComputedFeatures, found: Sequence[float]
) -> list[Listened]:
    rows = list(range(min(HEARD, len(mixtures))))
    sounds = []
    for row, speakers in zip(rows, separate_some(built.model, mixtures, store, rows), strict=True):
        heard, sources = mixtures.waveform(row), mixtures.sources(row)
        order, _ = best_order(speakers, sources)
        lines = [(f"{mixtures.name(row)}, mixed (SI-SDRi of the separation {found[row]:.2f} dB)", heard)]
        for number, (sound, source) in enumerate(zip(speakers, order, strict=True), start=1):
            lines += [(f"speaker {number}, separated", sound), (f"speaker {number}, as recorded", sources[source])]
        loudest = max(float(abs(sound).max()) for _, sound in lines)
        sounds += [Listened(said, encode_sound(sound / max(loudest, 1.0), SAMPLE_RATE_HZ)) for said, sound in lines]
    return sounds


def _write(
    folder: Path, summary: Summary, found: Mapping[str, float], sounds: Sequence[Listened], output: Path
) -> None:
    """Writes `mixtures.jsonl` (id, dB), `summary.json` and `report.html`."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = (json.dumps({"id": name, "si_sdri_db": value}) + "\n" for name, value in found.items())
    write_text(folder / MIXTURES, "".join(lines))
    write_text(folder / "summary.json", json.dumps(asdict(summary), ensure_ascii=False, indent=2) + "\n")
    report = TaskReport(
        f"Speech separation: {summary.split}",
        f"SI-SDRi {summary.si_sdri_db:.2f} dB",
        f"{result_line(summary)}. The SI-SDRi says how much cleaner each speaker is than in the mixture; higher is"
        " better.",
        [
            ("Mixtures", f"{summary.mixtures:,} of {summary.mixture_s:g} s"),
            ("Speakers of a mixture", f"{summary.speakers_of_a_mixture}"),
            ("Speakers of the split", f"{summary.speakers}"),
            ("Oracle ratio mask", f"{summary.si_sdri_db_oracle_ratio_mask:.2f} dB"),
            ("Spectrogram", f"window {summary.window}, hop {summary.hop} samples"),
        ],
        task_curves(output / METRICS, "si_sdri_db", "Validation SI-SDRi in dB", percent=False),
        sounds=sounds,
    )
    write_task_report(folder / "report.html", report)


CARD = TaskCard(
    task="speech_separation",
    config=SeparationConfig,
    summary=Summary,
    figure="si_sdri_db",
    line=result_line,
    title="Speech separation",
    trained_on="mixtures simulated of clips of single speakers; validation and test are simulated as well, of others",
    tags=("speech", "audio-to-audio", "speech-separation", "unispeech"),
    library="unispeech_ft",
    pipeline=None,
    use="unispeech-ft separate MODEL two_people.wav --out speakers",
    load=load_separator,
)


def score_and_export(
    config: SeparationConfig,
    mixtures: Mapping[Split, Mixtures],
    built: BuiltModel,
    features: Mapping[Split, FeatureStore | ComputedFeatures],
    accelerator: Accelerator,
) -> list[Summary]:
    """Scores validation and test with the best weights; writes results and model folder.

    Returns:
        The summaries; on other processes than the first, none.
    """
    output, own = Path(config.output_dir), config.speech_separation
    load_best(output, built.model)
    built.model.eval()
    summaries: list[Summary] = []
    scored: list[Split] = ["validation", "test"]
    for split in scored:
        started = time.perf_counter()
        part, store = mixtures[split], features[split]
        found = improvements(built.model, part, store, accelerator)
        if accelerator.is_main_process:
            said = {"window": own.window, "hop": own.hop}
            summary = summarize(found, part, **said, model=str(output / "model"), split=split, started=started)
            of_each = {part.name(row): value for row, value in enumerate(found)}
            _write(output / "eval" / split, summary, of_each, _to_listen(built, part, store, found), output)
            summaries.append(summary)
            accelerator.print(result_line(summary))
    if accelerator.is_main_process:
        leave_model(CARD, config, summaries, built)
    accelerator.wait_for_everyone()
    return summaries
