"""The commands that work in blocks, on a cluster of two workers: the output of one process, to the byte."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import unispeech_ft
from unispeech_ft.transcription import in_blocks

Command = Callable[..., tuple[int | str | None, str, str]]


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.long
@pytest.mark.parametrize("name", ["targets", "shards", "transcribe"])
def test_a_cluster_makes_what_one_process_makes(
    name: str,
    cluster: Any,
    spoken_corpus: Path,
    small_run: unispeech_ft.RunResult,
    tmp_path: Path,
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clips = spoken_corpus / "ky" / "clips"
    size = sum(clip.stat().st_size for clip in clips.iterdir())
    monkeypatch.setattr(in_blocks, "BLOCK_BYTES", size / 4)
    layer = ("--model", small_run.model_dir, "--layer", 2, "--classes", 10, "--fit_share", 1, "--shards", 4)
    words: dict[str, list[object]] = {
        "targets": ["targets", clips, *layer],
        "shards": ["shards", clips, "--hours_per_shard", 0.004],
        "transcribe": ["transcribe", small_run.model_dir, clips],
    }
    for folder, more in (("one", ()), ("many", ("--ray", cluster.address))):
        status, _, fault = command(*words[name], "--out", tmp_path / folder, *more)
        assert status == 0, fault
    assert len(list((tmp_path / "one").glob("*-00003"))) == 1, "there are several blocks"
    assert files_of(tmp_path / "many") == files_of(tmp_path / "one")
