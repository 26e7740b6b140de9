"""The model card of a run: what was trained on what, with which result, and what the result does not say."""

from __future__ import annotations

from unispeech_ft.config import Config
from unispeech_ft.scoring import Summary


def _result(summary: Summary) -> str:
    per = "unknown" if summary.per is None else f"{100 * summary.per:.2f} %"
    interval = summary.per_ci95
    spread = (
        f" (95 % interval {100 * interval[0]:.2f}–{100 * interval[1]:.2f}, by {summary.bootstrap_unit})"
        if interval
        else ""
    )
    split = f"{summary.split} (published split)" if summary.published_split else summary.split
    return f"| {split} | {per}{spread} | {summary.utterances} | {summary.reference_phones} |"


def model_card(config: Config, summaries: list[Summary], train_hours: float, train_clips: int) -> str:
    """Markdown with the Hub's metadata header.

    Args:
        summaries: of the scored splits.
        train_hours: speech that the model was fine-tuned on.
    """
    synthetic = any(summary.synthetic for summary in summaries)
    warning = (
        "\n**Trained and scored on synthetic speech (espeak-ng). It says nothing about human speech.**\n"
        if synthetic
        else ""
    )
    base = config.model.base if not config.model.from_scratch else "random weights"
    rows = "\n".join(_result(summary) for summary in summaries)
    normalisation = (
        f"The waveform is normalised with eps {config.data.normalize_eps:g}; the stock feature extractor uses 1e-7, so"
        " very quiet clips may be transcribed differently by `pipeline`."
    )
    return f"""---
library_name: transformers
pipeline_tag: automatic-speech-recognition
language: {config.data.language or "und"}
tags: [phoneme-recognition, ctc, unispeech]
---

# Phoneme recogniser for {config.data.language or "an unnamed language"}
{warning}
Fine-tuned from {base} on {train_clips} utterances ({train_hours:.2f} h) with unispeech_ft; `config.yaml` of the
run holds every setting. Labels: {config.phonemes.labels}. It writes phones separated by spaces.

| split | phone error rate | utterances | reference phones |
|---|---|---|---|
{rows}

Greedy decoding, no language model. References are {config.phonemes.labels} labels, not a phonetician's transcription.
{normalisation}

```python
from transformers import pipeline

print(pipeline("automatic-speech-recognition", model="path/to/this/folder")("clip.wav")["text"])
```
"""
