"""The commands of docs/pretraining.md, one after the other, on less speech and for fewer updates."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from running import REPOSITORY, events
from test_readme import run

PAGE = (REPOSITORY / "docs" / "pretraining.md").read_text(encoding="utf-8")
LESS = {"--hours": "0.01", "--dev-hours": "0.004", "--test-hours": "0.004"}
FEWER = ("--schedule.updates", "3", "--schedule.warmup", "1", "--schedule.decay", "2")


@pytest.mark.long
def test_the_commands_of_the_page_run(tmp_path: Path) -> None:
    for name in ("recipes", "configs", "scripts"):
        (tmp_path / name).symlink_to(REPOSITORY / name)
    (block,) = re.findall(r"```bash\n(.*?)```", PAGE, flags=re.DOTALL)
    corpus, classes, training, again = [shlex.split(line) for line in block.splitlines()]
    run([LESS.get(before, word) for before, word in zip(["", *corpus], corpus, strict=False)], tmp_path)
    assert "50 classes of" in run(classes, tmp_path)
    run([*training, *FEWER], tmp_path)
    assert len(events(tmp_path / "runs" / "pretrain" / "small_masked_prediction")) == 3
    assert "layer 2 of runs/pretrain/small_masked_prediction" in run(again, tmp_path)
    for name in re.findall(r"`(\w+_(?:base|large|en|ky|gpu))`", PAGE):
        assert (REPOSITORY / "configs" / "pretrain" / f"{name}.yaml").is_file(), name
