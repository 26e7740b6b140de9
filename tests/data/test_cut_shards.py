"""Recordings in tar shards: what is streamed out of them is what lay in the folder."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from unispeech_ft.data import cut_shards
from unispeech_ft.data.audio import decode_audio
from unispeech_ft.data.shards import list_files, read_units

Command = Callable[..., tuple[int | str | None, str, str]]
NUM_RECORDINGS, SECONDS = 12, 2.0


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recordings")
    random = np.random.default_rng(0)
    for number in range(NUM_RECORDINGS):
        file = folder / f"{number % 3}" / f"é{number}.{('wav', 'flac')[number % 2]}"
        file.parent.mkdir(exist_ok=True)
        soundfile.write(file, random.normal(0, 0.1, int(SECONDS * 16_000)), 16_000)
    (folder / "notes.txt").write_text("not of interest")
    return folder


def words(root: Path, out: Path, *more: object) -> list[object]:
    return ["shards", root, "--out", out, "--hours_per_shard", 3 * SECONDS / 3600, *more]


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_shards_hold_the_recordings_as_they_are(recordings: Path, tmp_path: Path, command: Command) -> None:
    status, said, fault = command(*words(recordings, tmp_path / "out"))
    assert status == 0, fault
    assert f"{NUM_RECORDINGS} recordings, 0.01 h, for 4 shards" in said
    shards = list_files("tar", str(tmp_path / "out"))
    assert [Path(file).name for file in shards] == [f"shard-{number:05d}.tar" for number in range(4)]
    examples = list(read_units([(file, 0, 1) for file in shards], "tar", ""))
    assert len(examples) == NUM_RECORDINGS
    for example in examples:
        path = recordings / example["name"].split(":")[1]
        assert np.array_equal(decode_audio(example["audio"]), decode_audio(path))
    names = [example["name"].split(":") for example in examples]
    assert [file for file, _ in names] == [f"shard-{number // 3:05d}.tar" for number in range(NUM_RECORDINGS)]
    assert [name for _, name in names] != sorted(name for _, name in names), "by hash, not by name"


def test_processes_make_the_same_and_a_stopped_command_goes_on(
    recordings: Path, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "root"
    shutil.copytree(recordings, root)
    assert command(*words(root, tmp_path / "one"))[0] == 0
    with monkeypatch.context() as patched:
        right, calls = cut_shards._fill_shard, []

        def fails_at_the_third(out: Path, number: int, folder: Path) -> str:
            calls.append(number)
            if number == 2:
                raise OSError(28, "No space left on device")
            return right(out, number, folder)

        patched.setattr(cut_shards, "_fill_shard", fails_at_the_third)
        assert command(*words(root, tmp_path / "two"))[0] == 2
        assert calls == [0, 1, 2]
    (tmp_path / "two" / ".shard-00002.partial-x").mkdir()
    shutil.copy(tmp_path / "two" / "shard-00000" / "shard-00000.tar", tmp_path / "two" / ".shard-00002.partial-x")
    assert len(list_files("tar", str(tmp_path / "two"))) == 2, "what was left half written is passed over"
    shutil.rmtree(tmp_path / "two" / ".shard-00002.partial-x")
    (root / "later.wav").write_bytes(b"came after the plan was made")
    status, said, fault = command(*words(root, tmp_path / "two", "--processes", 2))
    assert status == 0, fault
    assert "shard-00001.tar" not in said
    assert files_of(tmp_path / "two") == files_of(tmp_path / "one")
    assert command(*words(root, tmp_path / "two", "--hours_per_shard", 2))[0] == 2


def test_manifests_and_what_cannot_be_read(recordings: Path, tmp_path: Path, command: Command) -> None:
    table = tmp_path / "list.tsv"
    first, second = sorted(recordings.rglob("*.wav"))[:2]
    shutil.copy(first, tmp_path / "here.wav")
    table.write_text(f"audio\nhere.wav\n{second}\nabsent.wav\n")
    status, said, fault = command("shards", table, "--out", tmp_path / "out", "--source", "manifest")
    assert status == 0, fault
    assert "2 recordings, 0.00 h, for 1 shards, 1 left out, for example absent.wav" in said
    (tmp_path / "out" / "shard-00000" / "shard-00000.tar").write_bytes(b"damaged")
    (tmp_path / "here.wav").unlink()
    status, _, fault = command("shards", table, "--out", tmp_path / "out", "--source", "manifest")
    assert (status, fault.count("cannot be read any more")) == (2, 1)
    for wrong in (["--hours_per_shard", 0], ["--hours_per_shard", "nan"], ["--processes", -1]):
        assert command(*words(recordings, tmp_path / "no", *wrong))[0] == 2
    (tmp_path / "empty").mkdir()
    assert command(*words(tmp_path / "empty", tmp_path / "no"))[0] == 2
    assert command(*words(tmp_path / "absent", tmp_path / "no"))[0] == 2
