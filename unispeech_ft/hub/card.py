"""The model card: a pure function of the evidence that is published beside it, so that `verify` can render it again.

PER stands in percent, in the text as in the `model-index`; the fraction and its evidence stand in the metric's args.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

from unispeech_ft.data.utterances import Split
from unispeech_ft.errors import UserError
from unispeech_ft.hub.card_text import card_text
from unispeech_ft.hub.public import hub_id
from unispeech_ft.runs.evidence import Evidence
from unispeech_ft.scoring import Summary

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

TASK = "automatic-speech-recognition"
UNKNOWN_LICENSE = "unknown"


def percent(fraction: float) -> float:
    """A fraction in percent with two decimals, as the card states it."""
    return round(100 * fraction, 2)


def data_name(evidence: Evidence, summary: Summary) -> tuple[str, str]:
    """Type and name of the speech, for the `model-index`."""
    data = evidence.config.data
    named = f"{data.root or 'unnamed'}{f', {data.language}' if data.language else ''}"
    if summary.synthetic:
        return "synthetic", f"synthetic speech of espeak-ng ({named})"
    if data.source == "hub":
        return str(data.root), named
    if data.source == "manifest":
        return "manifest", named
    published = ", published 1-hour split" if summary.published_split else ""
    return "common_voice", f"Common Voice ({named}{published})"


def eval_result(evidence: Evidence, split: Split, summary: Summary) -> EvalResult:
    """The `model-index` entry of a scored split: PER, interval, counts and the hash of the references."""
    from huggingface_hub import EvalResult

    kind, name = data_name(evidence, summary)
    interval = summary.per_ci95
    args: dict[str, Any] = {
        "unit": "percent",
        "fraction": summary.per,
        "ci95_percent": [percent(value) for value in interval] if interval else None,
        "bootstrap_unit": summary.bootstrap_unit,
        "utterances": summary.utterances,
        "reference_phones": summary.reference_phones,
        "substitutions": summary.substitutions,
        "deletions": summary.deletions,
        "insertions": summary.insertions,
    }
    return EvalResult(
        task_type=TASK,
        task_name="Phoneme recognition",
        dataset_type=kind,
        dataset_name=name,
        dataset_config=evidence.config.data.language,
        dataset_split=split,
        dataset_args={"reference_sha256": summary.reference_sha256, "labels": summary.labels},
        metric_type="per",
        metric_name="Phone error rate (%)",
        metric_value=None if summary.per is None else percent(summary.per),
        metric_args=args,
    )


def claimed(evidence: Evidence) -> list[Split]:
    """The splits with a PER, which the Hub requires of a result, test first."""
    known = [split for split, summary in evidence.summaries.items() if summary.per is not None]
    return sorted(known, key=lambda split: split != "test")


def metadata(evidence: Evidence) -> dict[str, Any]:
    """The card's header, as the Hub reads it."""
    from huggingface_hub import ModelCardData

    config = evidence.config
    synthetic = any(summary.synthetic for summary in evidence.summaries.values())
    language = (config.data.language or "und").split("-")[0]
    tags = ["phoneme-recognition", "ctc", "unispeech", *(["synthetic-speech"] if synthetic else [])]
    card = ModelCardData(
        language=language,
        license=config.hub.license or UNKNOWN_LICENSE,
        library_name="transformers",
        pipeline_tag=TASK,
        tags=tags,
        metrics=["per"],
        base_model=None if config.model.from_scratch else hub_id(config.model.base),
        datasets=[str(config.data.root)] if config.data.source == "hub" and hub_id(config.data.root) else None,
        model_name=(config.hub.repo or f"phonemes-{language}").rsplit("/", 1)[-1],
        eval_results=[eval_result(evidence, split, evidence.summaries[split]) for split in claimed(evidence)],
    )
    header: dict[str, Any] = card.to_dict()
    return header


def model_card(evidence: Evidence) -> str:
    """README.md of a published model.

    Args:
        evidence: in its public form (`hub.public`).
    """
    header = yaml.safe_dump(metadata(evidence), sort_keys=False, allow_unicode=True, width=1000)
    return f"---\n{header}---\n\n{card_text(evidence)}"


def split_card(text: str) -> tuple[dict[str, Any], str]:
    """A card → its header and its text.

    Raises:
        UserError: there is no header, or it is no YAML mapping.
    """
    remedy = "write the card again (`unispeech-ft push`)"
    parts = text.replace("\r\n", "\n").split("---\n", 2)
    if len(parts) < 3 or parts[0].strip():
        raise UserError("the card has no header", remedy=remedy)
    try:
        header = yaml.safe_load(parts[1])
    except yaml.YAMLError:
        header = None
    if not isinstance(header, dict):
        raise UserError("the header of the card is no YAML mapping", remedy=remedy)
    return header, parts[2].lstrip("\n")


def stated(header: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What the `model-index` of a card states, by split: value, args of the metric, and args of the data."""
    results: dict[str, dict[str, Any]] = {}
    try:
        for result in header["model-index"][0]["results"]:
            metric, data = result["metrics"][0], result["dataset"]
            results[str(data["split"])] = {"value": metric["value"], **metric["args"], **data["args"]}
    except (KeyError, IndexError, TypeError):
        return results
    return results
