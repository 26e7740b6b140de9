"""What a run leaves in `training.json`: its speech, its phones, its updates and its time."""

from __future__ import annotations

import json
import time
from pathlib import Path

from unispeech_ft.data.labels import LabelledSplit
from unispeech_ft.data.speech import Speech
from unispeech_ft.models.build import BuiltModel
from unispeech_ft.phonemes.tokenizer import PhoneTokenizer
from unispeech_ft.runs.evidence import CONFIG, SplitFacts, TrainingFacts
from unispeech_ft.scoring import reference_sha256
from unispeech_ft.tasks.ctc_phoneme.config import CtcPhonemeConfig
from unispeech_ft.training.checkpoint import BEST


def split_facts(labelled: LabelledSplit) -> SplitFacts:
    """What a card says of a split's speech."""
    return SplitFacts(len(labelled), round(labelled.hours, 4), reference_sha256(labelled.references))


def _last_update(metrics: Path) -> int:
    lines = metrics.read_text(encoding="utf-8").splitlines() if metrics.is_file() else []
    return max((json.loads(line).get("update", 0) for line in lines[-50:]), default=0)


def _best_update(output: Path) -> int | None:
    progress = output / "checkpoints" / BEST / "progress.json"
    return int(json.loads(progress.read_text(encoding="utf-8"))["updates"]) if progress.is_file() else None


def training_facts(
    config: CtcPhonemeConfig, speech: Speech, built: BuiltModel, tokenizer: PhoneTokenizer
) -> TrainingFacts:
    """The facts of a run that has just ended; its time counts from when its configuration was written."""
    output = Path(config.output_dir)
    seconds = time.time() - (output / CONFIG).stat().st_mtime
    return TrainingFacts(
        model_type=built.model.config.model_type,
        splits={split: split_facts(labelled) for split, labelled in speech.splits.items()},
        phones=tokenizer.phones,
        updates=_last_update(output / "metrics.jsonl"),
        best_update=_best_update(output),
        seconds=round(seconds, 1) if config.resume is False else None,
        group_norm=getattr(built.model.config, "feat_extract_norm", "layer") == "group",
    )
