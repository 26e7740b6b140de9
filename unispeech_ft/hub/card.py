"""The model card: a pure function of the evidence that is published beside it, so that `verify` can render it again.

PER stands in percent, in the text as in the `model-index`; the fraction and its evidence stand in the metric's args.
The words stand in `templates/`.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import yaml

from unispeech_ft.data.utterances import SPLITS, Split
from unispeech_ft.hub.base_license import conditions, known_license
from unispeech_ft.hub.public import hub_id
from unispeech_ft.models.families import OURS, plain_type
from unispeech_ft.runs.evidence import Evidence
from unispeech_ft.scoring import Summary, UtteranceScore, align

if TYPE_CHECKING:
    from huggingface_hub import EvalResult
    from jinja2 import Environment

TASK = "automatic-speech-recognition"
UNKNOWN_LICENSE = "unknown"
SHOWN_ERRORS = 8
HERE = "path/to/this/folder"


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


def scored(evidence: Evidence) -> list[Split]:
    """The scored splits, test first."""
    return sorted(evidence.summaries, key=lambda split: split != "test")


def claimed(evidence: Evidence) -> list[Split]:
    """The splits with a PER, which the Hub requires of a result, test first."""
    return [split for split in scored(evidence) if evidence.summaries[split].per is not None]


def is_synthetic(evidence: Evidence) -> bool:
    return any(summary.synthetic for summary in evidence.summaries.values())


def inherited_license(evidence: Evidence) -> str | None:
    """The licence of the base model; None without one, or where it is not known."""
    model = evidence.config.model
    return None if model.from_scratch else evidence.config.hub.base_license or known_license(model.base)


def metadata(evidence: Evidence) -> dict[str, Any]:
    """The card's header, as the Hub reads it."""
    from huggingface_hub import ModelCardData

    config = evidence.config
    language = (config.data.language or "und").split("-")[0]
    tags = ["phoneme-recognition", "ctc", "unispeech", *(["synthetic-speech"] if is_synthetic(evidence) else [])]
    card = ModelCardData(
        language=language,
        license=config.hub.license or inherited_license(evidence) or UNKNOWN_LICENSE,
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
    splits, environment = scored(evidence), evidence.environment
    scores = evidence.scores[splits[0]] if splits else []
    versions = [f"{name} {version}" for name, version in environment.packages.items() if version]
    text = templates().get_template("card.md.jinja")
    return f"---\n{header}---\n\n" + text.render(
        evidence=evidence,
        splits=splits,
        synthetic=is_synthetic(evidence),
        ours=needs_this_package(evidence),
        conditioned=is_conditioned(evidence),
        programs=snippets(evidence, evidence.config.hub.repo or HERE),
        versions=versions + ([f"espeak-ng {environment.espeak_ng}"] if environment.espeak_ng else []),
        errors=commonest_errors(scores),
        adapters=adapter_text(evidence),
        inherited=inherited_license(evidence),
        conditions=conditions(inherited_license(evidence)),
        unknown=sorted({phone for item in scores for phone in item.reference} - set(evidence.training.phones)),
    )


def adapter_text(evidence: Evidence) -> str | None:
    """What trained in the place of the encoder's weights; None where they trained themselves."""
    settings, facts = evidence.config.adapter, evidence.adapter
    if facts is None or settings.kind is None:
        return None
    norms = ", the encoder's layer norms" if settings.norms else ""
    if settings.kind == "bottleneck":
        made = f"bottlenecks of {settings.rank} channels in each layer"
    else:
        where = ", ".join(place.replace("_", "-") for place in settings.where)
        made = f"low-rank products (LoRA, rank {settings.rank}, alpha {settings.alpha:g}; {where}), merged"
    share = f"{100 * facts.trained / facts.weights:.2g} %"
    return f"{made}{norms} and the head trained: {facts.trained:,} of {facts.weights:,} weights ({share})"


def needs_this_package(evidence: Evidence) -> bool:
    """Whether Transformers lacks the encoder."""
    return evidence.training.model_type.endswith(OURS)


def is_conditioned(evidence: Evidence) -> bool:
    """Whether the model is conditioned on its own head."""
    return plain_type(evidence.training.model_type) != evidence.training.model_type


def snippets(evidence: Evidence, model: str) -> list[str]:
    """The programs of the section `Use`, without ONNX's.

    Args:
        model: repository or folder that they load.
    """
    names = ("pipeline.py.jinja", "by_hand.py.jinja")
    said = {"ours": needs_this_package(evidence), "conditioned": is_conditioned(evidence)}
    return [templates().get_template(name).render(model=model, **said) for name in names]


def duration(seconds: float) -> str:
    """Seconds in the unit that people would use."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 2 * 3600 else f"{seconds / 3600:.1f} h"


def hours(value: float) -> str:
    """Hours of speech; small amounts in minutes or seconds."""
    return f"{value:.2f} h" if value >= 0.95 else duration(3600 * value)


def commonest_errors(scores: Sequence[UtteranceScore], shown: int = SHOWN_ERRORS) -> list[tuple[str, int]]:
    """The most frequent errors: `a → b`, `a deleted` or `b inserted`, with their counts."""
    pairs = [pair for item in scores for pair in align(item.reference, item.hypothesis).pairs]
    errors = Counter(pair for pair in pairs if pair[0] != pair[1])
    ordered = sorted(errors.items(), key=lambda item: (-item[1], item[0][0] or "", item[0][1] or ""))
    return [
        (f"{said} → {heard}" if said and heard else f"{said} deleted" if said else f"{heard} inserted", count)
        for (said, heard), count in ordered[:shown]
    ]


@cache
def templates() -> Environment:
    """Those of this folder."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    # Nothing is escaped: the card is Markdown, where `&lt;` in a code span would be read as it stands.
    environment = Environment(
        loader=PackageLoader("unispeech_ft.hub"),
        autoescape=False,  # nosec B701
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"duration": duration, "hours": hours, "shell": shlex.join}
    environment.globals["SPLITS"] = SPLITS
    return environment


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
