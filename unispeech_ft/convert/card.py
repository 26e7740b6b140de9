"""The card of a converted folder: what was converted, from which file, and what was not taken over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from unispeech_ft.convert.recognise import Target
from unispeech_ft.models.families import ILS_HUBERT, ILS_WAVLM
from unispeech_ft.version import VERSION


def _listed(title: str, lines: Sequence[str]) -> str:
    return f"\n## {title}\n\n" + "\n".join(f"- {line}" for line in lines) + "\n" if lines else ""


def grouped(reasons: Mapping[str, str]) -> list[str]:
    """Name → reason turned into one line a reason, with the names behind it."""
    groups: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        groups.setdefault(reason, []).append(name)
    return [f"{reason}: {', '.join(f'`{name}`' for name in names)}" for reason, names in groups.items()]


def conversion_card(
    target: Target,
    source: str,
    sha256: str,
    normalize: bool,
    notes: Sequence[str],
    unused: Mapping[str, str],
    added: Mapping[str, str],
) -> str:
    """Markdown with the Hub's metadata header.

    Args:
        source: name of the original file.
        sha256: of that file, in hexadecimal.
        normalize: whether the model reads normalised waveforms.
        notes: what was decided on the way.
        unused: original tensors that were left out, with the reason.
        added: tensors that the original has not, with where their values come from.
    """
    ours = target.model_type in (ILS_HUBERT, ILS_WAVLM)
    task = "\npipeline_tag: automatic-speech-recognition" if target.kind == "fine-tuned CTC" else ""
    first = "import unispeech_ft.models.ils  # registers the model class\n" if ours else ""
    loader = "AutoModelForCTC" if target.kind == "fine-tuned CTC" else "AutoModel"
    waves = "normalised to zero mean and unit variance (eps 1e-5)" if normalize else "as they are, not normalised"
    lists = (
        _listed("Decided on the way", notes),
        _listed("Tensors left out", grouped(unused)),
        _listed("Tensors added", grouped(added)),
    )
    return f"""---
library_name: transformers{task}
tags: [speech, {target.family.lower().replace(" ", "-")}]
---

# {target.family}, {target.kind}

Converted by unispeech_ft {VERSION} (`unispeech-ft convert`) to `{target.class_name}` from the original file `{source}`:

    SHA-256 {sha256}

It reads waveforms at 16 kHz, {waves}.

```python
{first}from transformers import {loader}

model = {loader}.from_pretrained("path/to/this/folder")
```
{"".join(lists)}"""
