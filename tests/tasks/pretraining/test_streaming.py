"""Unlabelled speech as streams: each its own part, all of it, resumable anywhere, in flat memory."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
from dataclasses import asdict, replace
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import soundfile
from running import REPOSITORY
from warm import clean_environment

from unispeech_ft.config.sections import MaskConfig
from unispeech_ft.data.audio import BadClip, decode_pieces
from unispeech_ft.data.streaming import Piece, Pieces, StreamState, open_stream
from unispeech_ft.errors import UserError
from unispeech_ft.tasks.pretraining.batches import PretrainingStream, Shaping, loader
from unispeech_ft.tasks.pretraining.config import MixingConfig, ObjectiveConfig
from unispeech_ft.tasks.pretraining.layout import UpdateLayout, workers_for

CLIPS, RATE_HZ = 24, 8_000
SOURCES = ("folder", "manifest", "parquet", "tar")


def spoken(number: int, duration_s: float) -> bytes:
    """A FLAC file whose level tells its number."""
    samples = np.full(round(duration_s * RATE_HZ), (number + 1) / 100, dtype=np.float32)
    file = io.BytesIO()
    soundfile.write(file, samples, RATE_HZ, format="FLAC")
    return file.getvalue()


def number_of(piece: Piece) -> int:
    return round(float(np.median(piece.waveform)) * 100) - 1


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same clips of 1 to 3 s in all four forms, the last one long."""
    folder = tmp_path_factory.mktemp("unlabelled")
    clips = {f"{n:02d}.flac": spoken(n, 20.0 if n == CLIPS - 1 else 1 + 2 * n / CLIPS) for n in range(CLIPS)}
    for name, content in clips.items():
        path = folder / "folder" / ("deep" if int(name[:2]) % 2 else "") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    files = sorted((folder / "folder").rglob("*.flac"))
    (folder / "list.tsv").write_text("path\n" + "".join(f"{file.relative_to(folder)}\n" for file in files))
    for kind in ("parquet", "tar"):
        (folder / kind).mkdir()
    for shard in range(3):
        part = list(clips.items())[shard::3]
        rows = [{"bytes": content, "path": name} for name, content in part]
        pyarrow.parquet.write_table(pyarrow.table({"audio": rows}), folder / "parquet" / f"{shard}.parquet")
        with tarfile.open(folder / "tar" / f"{shard}.tar", "w") as archive:
            for name, content in part:
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
                archive.addfile(tarfile.TarInfo(f"{name}.txt"), io.BytesIO())
    return {"folder": folder / "folder", "manifest": folder / "list.tsv", "parquet": folder / "parquet"} | {
        "tar": folder / "tar"
    }


def pieces_of(roots: dict[str, Path], source: str, **changes: object) -> Pieces:
    pieces = Pieces(source, str(roots[source]), "audio", 1.0, 4.0, 10.0, 8.0, seed=3)  # type: ignore[arg-type]
    return replace(pieces, **changes)  # type: ignore[arg-type]


def an_epoch(pieces: Pieces, stream: int, num_streams: int) -> list[Piece]:
    """The pieces of a stream's first epoch."""
    found = []
    for batch, state in open_stream(pieces, stream, num_streams):
        found += batch
        if state.epoch > 0:
            return found
    raise AssertionError("a stream is endless")


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("num_streams", [1, 2, 5])
def test_each_stream_has_its_own_part_and_none_is_lost(source: str, num_streams: int, roots: dict[str, Path]) -> None:
    pieces = pieces_of(roots, source)
    heard = [{number_of(piece) for piece in an_epoch(pieces, stream, num_streams)} for stream in range(num_streams)]
    assert set.union(*heard) == set(range(CLIPS))
    assert sum(map(len, heard)) == CLIPS, "two streams heard the same clip"


@pytest.mark.parametrize("source", SOURCES)
def test_a_stream_goes_on_where_it_stopped(source: str, roots: dict[str, Path]) -> None:
    pieces = pieces_of(roots, source)
    whole = list(islice(open_stream(pieces, 1, 2), 30))
    assert whole[-1][1].epoch >= 1
    for stopped in range(0, 29, 3):
        state = StreamState(**asdict(whole[stopped][1]))
        again = list(islice(open_stream(pieces, 1, 2, state), 29 - stopped))
        for (found, after), (expected, expected_after) in zip(again, whole[stopped + 1 :], strict=True):
            assert after == expected_after
            assert all(np.array_equal(one.waveform, other.waveform) for one, other in zip(found, expected, strict=True))


def test_long_recordings_are_cut_and_lose_nothing(roots: dict[str, Path]) -> None:
    pieces = pieces_of(roots, "folder", min_s=0.1)
    long = [piece for piece in an_epoch(pieces, 0, 1) if number_of(piece) == CLIPS - 1]
    assert max(map(len, long)) <= 4.0 * 16_000 + 1
    assert sum(map(len, long)) == pytest.approx(20.0 * 16_000, abs=len(long) + 0.1 * 16_000)


def test_epochs_cut_and_order_otherwise(roots: dict[str, Path]) -> None:
    pieces = pieces_of(roots, "folder")
    epochs: dict[int, list[int]] = {0: [], 1: []}
    before = 0
    for batch, state in open_stream(pieces, 0, 1):
        epochs[before] += [len(piece) for piece in batch]
        before = state.epoch
        if before == 2:
            break
    assert epochs[0] != epochs[1]


def test_micro_batches_keep_their_limit(roots: dict[str, Path]) -> None:
    for batch, _ in islice(open_stream(pieces_of(roots, "tar"), 0, 1), 30):
        assert max(map(len, batch)) * len(batch) <= 8.0 * 16_000


def test_more_streams_than_clips_share_them(tmp_path: Path) -> None:
    (tmp_path / "one.flac").write_bytes(spoken(3, 2.0))
    pieces = Pieces("folder", str(tmp_path), "audio", 1.0, 4.0, 10.0, 8.0, seed=3)
    for stream in range(4):
        batch, _ = next(open_stream(pieces, stream, 4))
        assert [number_of(piece) for piece in batch] == [3]


def test_bad_recordings_are_counted_and_passed_over(tmp_path: Path) -> None:
    (tmp_path / "good.flac").write_bytes(spoken(3, 2.0))
    (tmp_path / "noise.flac").write_bytes(b"no audio at all")
    (tmp_path / "empty.wav").write_bytes(b"")
    pieces = Pieces("folder", str(tmp_path), "audio", 1.0, 4.0, 10.0, 8.0, seed=3)
    _, state = next(open_stream(pieces, 0, 1))
    assert (state.read, state.bad) == (3, 2)
    assert "noise.flac" in state.fault or "empty.wav" in state.fault


def test_nothing_usable_is_told(tmp_path: Path) -> None:
    (tmp_path / "noise.flac").write_bytes(b"no audio at all")
    pieces = Pieces("folder", str(tmp_path), "audio", 1.0, 4.0, 10.0, 8.0, seed=3)
    with pytest.raises(UserError, match="no usable audio.*noise.flac"):
        next(open_stream(pieces, 0, 2))
    for source, remedy in (("folder", "no folder"), ("manifest", "no manifest"), ("tar", "no tar shard")):
        with pytest.raises(UserError, match=remedy):
            next(open_stream(replace(pieces, source=source, root=str(tmp_path / "absent")), 0, 1))
    (tmp_path / "list.tsv").write_text("sentence\nx\n")
    with pytest.raises(UserError, match="no column of audio paths"):
        next(open_stream(replace(pieces, source="manifest", root=str(tmp_path / "list.tsv")), 0, 1))


def test_a_truncated_wave_is_bad(tmp_path: Path) -> None:
    file = tmp_path / "cut.wav"
    soundfile.write(file, np.ones(8_000, dtype=np.float32) / 2, RATE_HZ)
    file.write_bytes(file.read_bytes()[:9_000])
    with pytest.raises(BadClip, match="truncated"):
        list(decode_pieces(file, 4.0, 4.0))


# Layout, ranks and workers


def shaping() -> Shaping:
    mask = MaskConfig(time_prob=0.5, time_length=5, feature_prob=0.0)
    objective = ObjectiveConfig(negatives=5)
    return Shaping(partial(_frames), 0.02, 8, mask, None, objective, MixingConfig(), None, seed=1)


def _frames(num_samples: int) -> int:
    return num_samples // 320


def batches(pieces: Pieces, rank: int, world: int, workers: int, layout: UpdateLayout) -> list[tuple[int, np.ndarray]]:
    stream = PretrainingStream(layout, shaping(), None, pieces, {}, first=0, last=4, rank=rank, world=world)
    return [(batch.index, batch.waveforms.numpy()) for batch in loader(stream, workers, pin_memory=False)]


@pytest.mark.long
def test_ranks_and_workers_change_nothing(roots: dict[str, Path]) -> None:
    pieces, layout = pieces_of(roots, "tar"), UpdateLayout(4, 1.0)
    alone = batches(pieces, 0, 1, 0, layout)
    assert [slot for slot, _ in alone] == [0, 1, 2, 3] * 4
    for workers in (0, 2):
        parts = [batches(pieces, rank, 2, workers if rank == 0 else 0, layout) for rank in range(2)]
        assert [[slot for slot, _ in part] for part in parts] == [[0, 2] * 4, [1, 3] * 4]
        for slot in range(4):
            expected = [waveforms for place, waveforms in alone if place == slot]
            found = [waveforms for part in parts for place, waveforms in part if place == slot]
            assert all(np.array_equal(one, other) for one, other in zip(found, expected, strict=True))


@pytest.mark.parametrize(("count", "share"), [(4, 0.5), (3, 0.5), (1, 0.25), (7, 0.9), (5, 1.0), (5, 0.0)])
def test_the_mix_has_its_ratio_and_labelled_places_follow_one_another(count: int, share: float) -> None:
    layout = UpdateLayout(count, share)
    unlabelled = sum(layout.num_unlabelled(update) for update in range(200))
    assert unlabelled == pytest.approx(200 * count * share, abs=1)
    places = [
        layout.labelled_position(update, slot)
        for update in range(200)
        for slot in range(layout.num_unlabelled(update), count)
    ]
    assert places == list(range(200 * count - unlabelled))
    assert all(layout.num_unlabelled(update) <= layout.num_streams for update in range(200))


def test_workers_keep_their_layout() -> None:
    assert workers_for(range(6), 4) == 3
    assert workers_for(range(5), 4) == 1
    assert workers_for(range(8), 2) == 2
    assert workers_for(range(0), 2) == 0


# Memory

MANY = 10_000
MEASURE = """
import sys
from unispeech_ft.data.streaming import Pieces, open_stream

def resident_mb():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 / 2**20

source, root, many = sys.argv[1], sys.argv[2], int(sys.argv[3])
heard, samples, marks = 0, 0, []
for batch, state in open_stream(Pieces(source, root, "audio", 0.5, 4.0, 60.0, 20.0, 3), 0, 1):
    heard += len(batch)
    samples += sum(map(len, batch))
    if heard >= many * (len(marks) + 1) / 5:
        marks.append(resident_mb())
    if state.epoch:
        break
print(heard, samples * 4 / 2**20, *marks)
"""


@pytest.mark.long
@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="reads resident memory from /proc")
@pytest.mark.parametrize("source", ["folder", pytest.param("tar", marks=pytest.mark.slow)])
def test_memory_is_flat_over_ten_thousand_clips(source: str, tmp_path: Path) -> None:
    content = [spoken(number, 0.6 + 0.05 * number) for number in range(8)]
    if source == "folder":
        root = tmp_path / "many"
        root.mkdir()
        for number, clip in enumerate(content):
            (root / f"{number:05d}.flac").write_bytes(clip)
        for number in range(len(content), MANY):
            os.link(root / f"{number % len(content):05d}.flac", root / f"{number:05d}.flac")
    else:
        root = tmp_path / "many.tar"
        with tarfile.open(root, "w", format=tarfile.USTAR_FORMAT) as archive:
            for number in range(MANY):
                member = tarfile.TarInfo(f"{number:05d}.flac")
                member.size = len(content[number % len(content)])
                archive.addfile(member, io.BytesIO(content[number % len(content)]))
    finished = subprocess.run(
        [sys.executable, "-c", MEASURE, source, str(root), str(MANY)],
        cwd=REPOSITORY,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr[-3000:]
    heard, decoded_mb, *marks = map(float, finished.stdout.split())
    assert heard == MANY
    assert decoded_mb > 400
    assert len(marks) == 5
    assert marks[-1] - marks[0] < 12, f"resident memory in MiB grew: {marks}"
