"""The card of a task beside phone recognition: a function of its configuration and summaries, so that `verify` can
write it again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from unispeech_ft.config.labelled import LabelledRunConfig
from unispeech_ft.hub.base_license import conditions, known_license
from unispeech_ft.hub.public import hub_id, public_path

HERE = "path/to/this/folder"


@dataclass(frozen=True)
class TaskCard:
    """What the card of a task says, and how its files are read.

    Attributes:
        task: the name of its section and recipe.
        config: of its runs.
        summary: the dataclass of its `summary.json`.
        figure: key of the figure in it that the card's header states, in per cent where it is a fraction.
        line: a summary in words.
        title: of the card.
        trained_on: what it was trained on, after “Trained with unispeech_ft from BASE on”.
        tags: of the Hub.
        library: that loads the folder.
        pipeline: Transformers' name of the task; None where there is none.
        use: commands, with `MODEL` for the folder.
        load: loads a model folder, and raises UserError where that cannot be.
    """

    task: str
    config: type[LabelledRunConfig]
    summary: type[Any]
    figure: str
    line: Callable[[Any], str]
    title: str
    trained_on: str
    tags: tuple[str, ...]
    library: str
    pipeline: str | None
    use: str
    load: Callable[[str], object]


def _result(card: TaskCard, split: str, summary: Any) -> dict[str, Any]:
    value = getattr(summary, card.figure)
    in_db = card.figure.endswith("_db")
    return {
        "task": {"type": card.pipeline or card.task.replace("_", "-"), "name": card.title},
        "dataset": {"type": "audio", "name": "clips of the run's configuration", "split": split},
        "metrics": [{"type": card.figure, "value": round(value if in_db else 100 * value, 2)}],
    }


def task_card(
    card: TaskCard,
    config: LabelledRunConfig,
    summaries: Mapping[str, Any],
    *,
    repo: str | None = None,
    license_name: str | None = None,
) -> str:
    """README.md of a model folder.

    Args:
        config: of the run; no path of this machine gets out of it.
        summaries: by split.
        repo: where it is published.
    """
    base = None if config.model.from_scratch else config.model.base
    inherited = known_license(base)
    known = {split: item for split, item in summaries.items() if getattr(item, card.figure) is not None}
    header: dict[str, Any] = {
        "license": license_name or inherited or "unknown",
        "library_name": card.library,
        **({"pipeline_tag": card.pipeline} if card.pipeline else {}),
        "tags": list(card.tags),
        **({"base_model": hub_id(base)} if hub_id(base) else {}),
        "model-index": [
            {
                "name": (repo or card.task).rsplit("/", 1)[-1],
                "results": [_result(card, split, item) for split, item in known.items()],
            }
        ],
    }
    start = public_path(base) if base else "random weights"
    text = yaml.safe_dump(header, sort_keys=False, allow_unicode=True, width=1000)
    loud = "".join(f"**{condition} (`{inherited}`).**\n\n" for condition in conditions(inherited))
    results = "\n".join(f"- {card.line(item)}" for item in summaries.values())
    return (
        f"---\n{text}---\n\n# {card.title}\n\n{loud}"
        f"Trained with unispeech_ft from {start} on {card.trained_on}.\n\n{results}\n\n"
        f"```bash\n{card.use.replace('MODEL', repo or HERE)}\n```\n\n"
        "What was scored and the whole configuration stand beside the model, in `eval/` and `config.yaml`;\n"
        "`unispeech-ft verify` makes the figures again from them.\n"
    )
