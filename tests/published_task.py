"""What holds of the published form of every task's run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from unispeech_ft.cli import main
from unispeech_ft.hub.task_evidence import check_task_folder, stage_task
from unispeech_ft.runs.compare import compare_task_runs
from unispeech_ft.tasks.published import card_of


def check_published(run: Path, place: Path) -> None:
    """The run and what is published of it hold; a figure, a score and a line of the card that are edited do not."""
    card = card_of(run)
    assert card is not None
    assert check_task_folder(run, card).faults == []
    with pytest.raises(SystemExit) as ended:
        main(["verify", str(run)])
    assert ended.value.code == 0
    folder = place / "published"
    folder.mkdir()
    stage_task(run, folder, card, repo="you/model", license_name="mit")
    assert card_of(folder) == card
    assert check_task_folder(folder, card).faults == []
    texts = [file for file in folder.rglob("*") if file.is_file() and not file.is_symlink()]
    assert not any(str(run) in file.read_text(encoding="utf-8") for file in texts)

    for name, old, new in [
        (folder / "README.md", "# ", "# The best "),
        (folder / "eval" / "test" / "summary.json", f'"{card.figure}": ', f'"{card.figure}": 0'),
    ]:
        sound = name.read_text(encoding="utf-8")
        name.write_text(sound.replace(old, new, 1), encoding="utf-8")
        assert check_task_folder(folder, card).faults != []
        name.write_text(sound, encoding="utf-8")
    summary = json.loads((folder / "eval" / "test" / "summary.json").read_text(encoding="utf-8"))
    summary[card.figure] += 0.01
    (folder / "eval" / "test" / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    assert [fault.name for fault in check_task_folder(folder, card).faults] == ["summary"]

    same = compare_task_runs(run, run / "eval" / "test")
    assert same is not None
    assert (same.difference, same.difference_ci95, same.p_value) == (0.0, (0.0, 0.0), 1.0)
