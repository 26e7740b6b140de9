"""The run directory, opened before training with what is known by then."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from unispeech_ft.config.reading import to_yaml
from unispeech_ft.config.sections import RunConfig
from unispeech_ft.data.utterances import Rejected
from unispeech_ft.runs.environment import environment
from unispeech_ft.runs.evidence import CONFIG, ENVIRONMENT
from unispeech_ft.training.checkpoint import find_checkpoint, read_progress

if TYPE_CHECKING:
    from accelerate import Accelerator

LEFT_OUT = "left_out.jsonl"


def open_run(config: RunConfig, identity: str, left_out: Sequence[Rejected], accelerator: Accelerator) -> None:
    """Makes the run directory. An earlier run in the same place is moved aside, unless it is resumed.

    Args:
        identity: of the task.
        left_out: utterances that the run does not use.

    Raises:
        UserError: the checkpoint to resume from is missing or of another task; nothing is written then.
    """
    output = Path(config.output_dir)
    checkpoint = find_checkpoint(config.output_dir, config.resume)
    if checkpoint is not None:
        read_progress(checkpoint, identity)
    if accelerator.is_main_process:
        if output.exists() and config.resume is False:
            number = next(n for n in range(1, 10_000) if not output.with_name(f"{output.name}.{n}").exists())
            output.rename(output.with_name(f"{output.name}.{number}"))
            accelerator.print(f"an earlier run in {output} was moved to {output}.{number}")
        output.mkdir(parents=True, exist_ok=True)
        (output / CONFIG).write_text(to_yaml(config), encoding="utf-8")
        described = json.dumps(environment(accelerator), indent=2, ensure_ascii=False)
        (output / ENVIRONMENT).write_text(described + "\n", encoding="utf-8")
        lines = (json.dumps(vars(item), ensure_ascii=False) + "\n" for item in left_out)
        (output / LEFT_OUT).write_text("".join(lines), encoding="utf-8")
    accelerator.wait_for_everyone()
    trackable = {key: str(value) for key, value in config.model_dump(mode="json").items()}
    accelerator.init_trackers("tensorboard", config=trackable)
