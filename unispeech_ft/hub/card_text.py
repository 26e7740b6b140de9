"""The words of the model card, section by section; each is a pure function of the evidence."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence

from unispeech_ft.data.utterances import SPLITS, Split
from unispeech_ft.models.families import ILS_HUBERT, ILS_WAVLM
from unispeech_ft.runs.evidence import Evidence
from unispeech_ft.scoring import Summary, UtteranceScore, align

SHOWN_ERRORS = 8
HERE = "path/to/this/folder"

PIPELINE = """\
import librosa
{imports}from transformers import pipeline

samples, _ = librosa.load("clip.wav", sr=16_000)
print(pipeline("automatic-speech-recognition", model="{model}")(samples)["text"])
"""

BY_HAND = """\
import librosa
import torch
{imports}from transformers import AutoModelForCTC, AutoProcessor

model = AutoModelForCTC.from_pretrained("{model}")
processor = AutoProcessor.from_pretrained("{model}")
samples, _ = librosa.load("clip.wav", sr=16_000)
inputs = processor(samples, sampling_rate=16_000, return_tensors="pt")
with torch.no_grad():
    rows = model(**inputs).logits.argmax(dim=-1)
print(processor.batch_decode(rows)[0])
"""

ONNX_USE = """\
import librosa
import numpy as np
import onnxruntime

samples, _ = librosa.load("clip.wav", sr=16_000)
session = onnxruntime.InferenceSession("model.onnx")
waveforms = {"waveforms": samples[None], "num_samples": np.array([len(samples)], dtype=np.int64)}
logits, num_frames = session.run(["logits", "num_frames"], waveforms)
print(logits[0, : num_frames[0]].argmax(axis=-1))  # rows of vocab.json; collapse repeats, drop the blank
"""


def model_name(evidence: Evidence) -> str:
    """What a user loads: the repository, or a folder where there is none yet."""
    return evidence.config.hub.repo or HERE


def snippets(evidence: Evidence, model: str) -> list[str]:
    """The programs of the section `Use`, without ONNX's.

    Args:
        model: repository or folder that they load.
    """
    ours = evidence.training.model_type in (ILS_HUBERT, ILS_WAVLM)
    imports = "import unispeech_ft  # Transformers lacks this encoder\n" if ours else ""
    return [text.format(model=model, imports=imports) for text in (PIPELINE, BY_HAND)]


def duration(seconds: float) -> str:
    """Seconds in the unit that people would use."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 2 * 3600 else f"{seconds / 3600:.1f} h"


def hours(value: float) -> str:
    """Hours of speech; small amounts in minutes or seconds."""
    return f"{value:.2f} h" if value >= 0.95 else duration(3600 * value)


def _order(evidence: Evidence) -> list[Split]:
    return sorted(evidence.summaries, key=lambda split: split != "test")


def _title(evidence: Evidence) -> str:
    synthetic = any(summary.synthetic for summary in evidence.summaries.values())
    warning = (
        "\n**Synthetic speech: trained and scored on what espeak-ng spoke. It says nothing about human speech.**\n"
        if synthetic
        else ""
    )
    model = evidence.config.model
    start = f"fine-tuned from `{model.base}`" if not model.from_scratch else "trained from random weights"
    train = evidence.training.splits.get("train")
    amount = f" on {hours(train.hours)} of speech ({train.clips} clips)" if train else ""
    language = evidence.config.data.language or "an unnamed language"
    return (
        f"# Phoneme recogniser for {language}\n{warning}\nSpeech in, phones out, separated by spaces. It was {start}"
        f"{amount} with CTC by unispeech_ft {evidence.environment.unispeech_ft}.\n"
    )


def _result_row(split: Split, summary: Summary) -> str:
    per = "unknown" if summary.per is None else f"{100 * summary.per:.2f} %"
    interval = summary.per_ci95
    spread = (
        f"{100 * interval[0]:.2f}–{100 * interval[1]:.2f} %, by {summary.bootstrap_unit}" if interval else "unknown"
    )
    errors = f"{summary.substitutions} / {summary.deletions} / {summary.insertions}"
    name = f"{split} (published split)" if summary.published_split else split
    return f"| {name} | {per} | {spread} | {summary.utterances} | {summary.reference_phones} | {errors} |"


def _results(evidence: Evidence) -> str:
    rows = "\n".join(_result_row(split, evidence.summaries[split]) for split in _order(evidence))
    rules = sorted({summary.scoring for summary in evidence.summaries.values()})
    guesses = [
        f"{split}: {100 * summary.per_shuffled:.2f} %"
        for split, summary in evidence.summaries.items()
        if summary.per_shuffled is not None
    ]
    guessing = f" Guessing (hypotheses against other utterances' references) scores {', '.join(guesses)}."
    selected = evidence.training.best_update is not None and "validation" in evidence.summaries
    chosen = " The weights were chosen by the figure of validation, which flatters it." if selected else ""
    repo = evidence.config.hub.repo or "."
    return f"""## Result

| split | phone error rate | 95 % interval | utterances | reference phones | substitutions / deletions / insertions |
|---|---|---|---|---|---|
{rows}

{" ".join(rules)} The interval is a percentile bootstrap of 10,000 draws.{guessing if guesses else ""}{chosen}

Every scored utterance lies in `eval/SPLIT/hypotheses.jsonl`. This computes the figures again from them, and the
references from the speech:

```bash
unispeech-ft verify {repo} --config config.yaml --data.root DIR
```
"""


def _data(evidence: Evidence) -> str:
    facts = evidence.training.splits
    rows = "\n".join(
        f"| {split} | {facts[split].clips} | {hours(facts[split].hours)} | `{facts[split].reference_sha256}` |"
        for split in SPLITS
        if split in facts
    )
    data = evidence.config.data
    lists = "the splits of the release" if data.splits == "release" else f"split lists: `{data.splits}`"
    return f"""## Data

Source: `{data.source}`, `{data.root}`, language `{data.language}`; {lists}. The hash is the SHA-256 of the UTF-8 lines
`id<TAB>phones<LF>`, sorted by id.

| split | clips | duration | SHA-256 of the references |
|---|---|---|---|
{rows}
"""


def _making(evidence: Evidence) -> str:
    environment, training = evidence.environment, evidence.training
    again = "accelerate launch recipes/ctc_phoneme.py --config config.yaml --data.root DIR"
    used = f"\nThe command of this run: `{shlex.join(environment.command)}`.\n" if environment.command else ""
    cores = f", {environment.cores} cores" if environment.device == "cpu" and environment.cores else ""
    processes = f"{environment.processes} process{'' if environment.processes == 1 else 'es'}"
    took = duration(training.seconds) if training.seconds is not None else "unknown (it was resumed)"
    best = f"; exported: update {training.best_update}, best on validation" if training.best_update else ""
    versions = [f"{name} {version}" for name, version in environment.packages.items() if version]
    versions += [f"espeak-ng {environment.espeak_ng}"] if environment.espeak_ng else []
    revision = f" ({environment.git_revision})" if environment.git_revision else ""
    return f"""## How it was made

```bash
{again}
```
{used}
- Device: {environment.device}{cores}; {processes}; precision: {environment.mixed_precision}
- Architecture: {training.model_type}
- Updates: {training.updates}{best}
- Wall time, audio preparation excluded: {took}
- unispeech_ft {environment.unispeech_ft}{revision}, Python {environment.python}
- {", ".join(versions)}
"""


def _use(evidence: Evidence) -> str:
    first, second = snippets(evidence, model_name(evidence))
    packages = "transformers torch librosa"
    enough = f"`pip install {packages}` is enough; unispeech_ft is not needed."
    if "unispeech_ft" in first:
        enough = f"Transformers lacks this encoder: beside `pip install {packages}`, unispeech_ft is needed."
    ran = " Before it was published, the first program ran on this folder in a fresh interpreter."
    onnx = ""
    if evidence.onnx is not None:
        onnx = f"""
`model.onnx` reads raw 16 kHz waveforms, padded at their ends to one length, and their numbers of samples; it
normalises them itself. On ragged batches its logits differ from PyTorch's by {evidence.onnx.max_difference:.1e} at
most (`onnx.json`).

```python
{ONNX_USE}```
"""
    return f"""## Use

{enough}{ran if evidence.config.hub.repo else ""}

```python
{first}```

The same by hand:

```python
{second}```
{onnx}"""


def _references(evidence: Evidence) -> str:
    labels, version = evidence.config.phonemes.labels, evidence.environment.espeak_ng
    text = {
        "espeak": f"what espeak-ng {version} says of the sentences, not a phonetician's transcription: they do not know"
        " what was really said",
        "lexicon": "looked up in a lexicon, sentence by sentence, not a phonetician's transcription",
        "column": "phones that came with the data; how they were made is for its source to say",
        "published": "the phones of the published lists, made by espeak-ng from the sentences",
    }
    return f"The references are {text[labels]}. The phone error rate measures agreement with them."


def commonest_errors(scores: Sequence[UtteranceScore], shown: int = SHOWN_ERRORS) -> list[tuple[str, int]]:
    """The most frequent errors: `a → b`, `a deleted` or `b inserted`, with their counts."""
    pairs = [pair for item in scores for pair in align(item.reference, item.hypothesis).pairs]
    errors = Counter(pair for pair in pairs if pair[0] != pair[1])
    ordered = sorted(errors.items(), key=lambda item: (-item[1], item[0][0] or "", item[0][1] or ""))
    return [
        (f"{said} → {heard}" if said and heard else f"{said} deleted" if said else f"{heard} inserted", count)
        for (said, heard), count in ordered[:shown]
    ]


def _limits(evidence: Evidence) -> str:
    config, training = evidence.config, evidence.training
    split = next(iter(_order(evidence)), None)
    scores = evidence.scores[split] if split else []
    errors = ", ".join(f"`{name}` {count} ×" for name, count in commonest_errors(scores))
    reference_phones = {phone for item in scores for phone in item.reference}
    unknown = sorted(reference_phones - set(training.phones))
    lines = [
        _references(evidence),
        f"What fails most often on {split}: {errors or 'nothing'}." if split else "Nothing was scored.",
        f"It writes these {len(training.phones)} phones and no others: `{' '.join(training.phones)}`."
        + (f" The references of {split} also hold `{' '.join(unknown)}`, each a sure error." if unknown else ""),
        f"It was trained on clips of {config.data.min_duration_s:g} to {config.data.max_duration_s:g} s in one"
        " language; cut longer recordings where it is quiet (`unispeech-ft transcribe` does). Other languages, styles"
        " and microphones were not measured.",
        "Greedy decoding, no language model, no word boundaries.",
    ]
    if config.data.normalize is not False and not training.group_norm:
        lines.append(
            f"Waveforms were normalised with eps {config.data.normalize_eps:g}; the stock feature extractor uses 1e-7,"
            " so very quiet clips may be transcribed differently by plain transformers."
        )
    if training.group_norm:
        lines.append("Padding changes what its extractor makes of a clip: transcribe clips one by one, unpadded.")
    return "## Limits\n\n" + "\n".join(f"- {line}" for line in lines) + "\n"


def _licence(evidence: Evidence) -> str:
    config = evidence.config
    named = (
        f"The author licenses this model as `{config.hub.license}`."
        if config.hub.license
        else "The author has named no licence."
    )
    base = "" if config.model.from_scratch else f" The licence of the base model `{config.model.base}` applies as well."
    synthetic = any(summary.synthetic for summary in evidence.summaries.values())
    data = " Common Voice is CC0-1.0." if config.data.source == "common_voice" and not synthetic else ""
    return f"## Licence\n\n{named}{base}{data}\n"


def card_text(evidence: Evidence) -> str:
    """The card below its header."""
    sections = (_title, _results, _data, _making, _use, _limits, _licence)
    return "\n".join(section(evidence) for section in sections)
