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
from unispeech_ft.models.build import BuiltModel
from unispeech_ft.models.feature_cache import ComputedFeatures, FeatureStore
from unispeech_ft.models.saving import save_model
from unispeech_ft.scoring.report.data import encode_sound
from unispeech_ft.scoring.report.figures import task_curves
from unispeech_ft.scoring.report.task_page import Listened, TaskReport, write_task_report
from unispeech_ft.scoring.separation import best_order
from unispeech_ft.tasks.speech_separation.config import SeparationConfig
from unispeech_ft.tasks.speech_separation.evaluate import (
    Summary,
    improvements,
    result_line,
    separate_some,
    summarize,
)
from unispeech_ft.tasks.speech_separation.mixtures import Mixtures
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


def _write(folder: Path, summary: Summary, sounds: Sequence[Listened], output: Path) -> None:
    """Writes `summary.json` and `report.html`."""
    folder.mkdir(parents=True, exist_ok=True)
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


def _card(summaries: Sequence[Summary], config: SeparationConfig) -> str:
    results = "\n".join(f"- {result_line(summary)}" for summary in summaries)
    base = "random weights" if config.model.from_scratch else config.model.base
    return (
        "---\nlibrary_name: unispeech_ft\ntags: [speech, audio-to-audio, speech-separation]\n---\n\n"
        f"# Speech separation\n\nTrained with unispeech_ft from {base} on simulated mixtures. Validation and test are"
        f" simulated as well, of other speakers.\n\n{results}\n\nUse: `unispeech-ft separate THIS_FOLDER two_people.wav"
        " --out DIR`. The whole configuration stands in its run.\n"
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
            _write(output / "eval" / split, summary, _to_listen(built, part, store, found), output)
            summaries.append(summary)
            accelerator.print(result_line(summary))
    if accelerator.is_main_process:
        card, layerdrop = _card(summaries, config), config.model.layerdrop
        save_model(output / "model", built.model, built.extractor, None, layerdrop=layerdrop, card=card)
        accelerator.print(f"model: {output / 'model'}\nresults: {output / 'eval'}")
    accelerator.wait_for_everyone()
    return summaries
