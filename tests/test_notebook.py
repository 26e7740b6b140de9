"""The notebook of the documents, run from its first cell to its last in an empty folder."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
from running import REPOSITORY
from warm import clean_environment

NOTEBOOK = REPOSITORY / "docs" / "notebooks" / "first_hour.ipynb"
nbformat = pytest.importorskip("nbformat")


def printed(cell: Any) -> str:
    """What a code cell wrote, its value included."""
    texts = [item.get("text") or item.get("data", {}).get("text/plain", "") for item in cell.outputs]
    return "\n".join(texts)


def test_no_results_are_stored_that_could_grow_old() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in notebook.cells)


@pytest.mark.long
def test_it_runs_and_hears_most_phones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbclient = pytest.importorskip("nbclient")
    for name, value in clean_environment().items():
        monkeypatch.setenv(name, value)
    # A kernel of this Python, whatever kernels are installed for others.
    manager = pytest.importorskip("jupyter_client").KernelManager()
    manager.kernel_spec.argv[0] = sys.executable
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    place = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, km=manager, timeout=300, resources=place).execute()
    said = {cell.source.splitlines()[-1]: printed(cell) for cell in notebook.cells if cell.cell_type == "code"}
    [figure] = re.findall(r"Summary\(test: PER ([\d.]+) %", said["summary"])
    per = float(figure)
    assert per < 40, "from chance, 93 %, to a fifth in 300 updates"
    assert f"Summary(test: PER {per:.1f} %" in said["run"]
    assert "PER" in said[next(line for line in said if line.startswith("unispeech_ft.score"))]
    assert (tmp_path / "first_hour" / "eval" / "test" / "report.html").is_file()
    assert {path.name for path in tmp_path.iterdir()} == {"speech", "cache", "first_hour", "scored"}
