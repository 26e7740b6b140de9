"""Transcripts in blocks: the lines of `--json`, whoever makes them, in the order of the recordings."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import unispeech_ft
from unispeech_ft.transcription import in_blocks

Command = Callable[..., tuple[int | str | None, str, str]]


@pytest.fixture
def clips(spoken_corpus: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "clips"
    folder.mkdir()
    for clip in sorted((spoken_corpus / "ky" / "clips").iterdir())[:6]:
        (folder / clip.name).write_bytes(clip.read_bytes())
    return folder


def test_blocks_say_what_a_stream_says(
    small_run: unispeech_ft.RunResult, clips: Path, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    (clips / "9.wav").write_bytes(b"no sound")
    monkeypatch.setattr(in_blocks, "BLOCK_BYTES", sum(clip.stat().st_size for clip in clips.iterdir()) / 3)
    words = ["transcribe", small_run.model_dir, clips]
    status, streamed, fault = command(*words, "--json")
    assert (status, "9.wav" in fault) == (2, True)
    assert command(*words, "--out", tmp_path / "one")[::2] == (2, fault), "a bad recording costs itself alone"
    lines = (tmp_path / "one" / "transcripts.jsonl").read_text()
    assert len(list((tmp_path / "one").glob("part-*"))) == 3
    for block, stream in zip(lines.splitlines(), streamed.splitlines(), strict=True):
        one, other = json.loads(block), json.loads(stream)
        alike = [item.pop("posterior") for item in other["phones"]]
        assert [item.pop("posterior") for item in one["phones"]] == pytest.approx(alike, abs=2e-4), "but for company"
        assert one == other
    assert len(json.loads(lines.splitlines()[0])["phones"]) > 0

    again = tmp_path / "one" / "part-00001" / "transcripts.jsonl"
    again.write_text("damaged")
    kept = (tmp_path / "one" / "part-00002" / "transcripts.jsonl").stat().st_mtime_ns
    status, said, _ = command(*words, "--out", tmp_path / "one")
    assert [line.split(":")[0] for line in said.splitlines()[:-1]] == ["part 2"]
    assert (tmp_path / "one" / "part-00002" / "transcripts.jsonl").stat().st_mtime_ns == kept
    assert (tmp_path / "one" / "transcripts.jsonl").read_text() == lines

    assert command(*words, "--out", tmp_path / "two", "--processes", 2)[0] == 2
    one, two = (
        {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
        for folder in (tmp_path / "one", tmp_path / "two")
    )
    assert one == two


def test_what_does_not_go_together_is_one_line(
    small_run: unispeech_ft.RunResult, clips: Path, tmp_path: Path, command: Command
) -> None:
    words = ["transcribe", small_run.model_dir, clips]
    for more, said in (
        (["--processes", 2], "go with --out"),
        (["--ray", "auto"], "go with --out"),
        (["--out", tmp_path / "out", "--textgrid", tmp_path / "grids"], "does not go with --out"),
        (["--out", tmp_path / "out", "--language", "ky"], "--language does not go with --out"),
        (["--out", clips / "0.txt" / "out"], "cannot be written"),
    ):
        (clips / "0.txt").touch()
        status, _, fault = command(*words, *more)
        assert (status, fault.count("\n"), said in fault) == (2, 1, True), fault
