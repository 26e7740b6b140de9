"""Classes of frames: the same however they are made, resumable, pure on phones that are known, and read where they
belong."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from running import TINY_MODEL
from transformers import AutoModel

from unispeech_ft.data.audio import BadClip
from unispeech_ft.data.streaming import Pieces, open_stream
from unispeech_ft.data.targets import Targets, at_frames, classes_between, open_targets, write_shard
from unispeech_ft.errors import UserError
from unispeech_ft.models.ils import AutoConfig
from unispeech_ft.scoring.purity import purity
from unispeech_ft.tasks.pretraining import cluster
from unispeech_ft.testing.known_times import write_timed_clips
from unispeech_ft.transcription.textgrid import TIER, read_phones, write_tiers

CLASSES = 20
RATE_HZ = 16_000
Command = Callable[..., tuple[int | str | None, str, str]]


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A folder of eight clips, one of them too long for a single piece, and the times of their phones."""
    folder = tmp_path_factory.mktemp("timed")
    write_timed_clips(folder, "ky", "test", 8)
    for number, clip in enumerate(sorted((folder / "audio").glob("*.mp3"))):
        if number % 2:
            for file in (clip, folder / "phones" / f"{clip.stem}.TextGrid"):
                (file.parent / "deep").mkdir(exist_ok=True)
                file.rename(file.parent / "deep" / file.name)
    samples, rate_hz = soundfile.read(next((folder / "audio").glob("*.mp3")), dtype="float32")
    soundfile.write(folder / "audio" / "long.flac", np.tile(samples, 1 + int(65 * rate_hz / len(samples))), rate_hz)
    return folder / "audio", folder / "phones"


def words(audio: Path, out: Path, *more: object) -> list[object]:
    return ["targets", audio, "--out", out, "--classes", CLASSES, "--fit_share", 1, "--shards", 3, *more]


@pytest.fixture
def made(spoken: tuple[Path, Path], tmp_path: Path, command: Command) -> Targets:
    assert command(*words(spoken[0], tmp_path / "made"))[0] == 0
    return open_targets(str(tmp_path / "made"))


def every(targets: Targets, audio: Path) -> dict[str, np.ndarray]:
    names = [str(path.relative_to(audio)) for path in sorted(audio.rglob("*.*"))]
    return {name: np.array(targets.of(name)) for name in names}


def test_classes_tell_phones_and_the_command_says_so(
    spoken: tuple[Path, Path], tmp_path: Path, command: Command
) -> None:
    status, said, fault = command(*words(spoken[0], tmp_path / "made", "--phones", spoken[1]))
    assert status == 0, fault
    line = next(line for line in said.splitlines() if line.startswith("purity on "))
    phone, cluster_share, pnmi = (float(line.split(name)[1].split(",")[0]) for name in ("phone ", "cluster ", "PNMI "))
    assert 0.3 < phone < 1
    assert 0.2 < cluster_share < 1
    assert pnmi > 0.25, "classes of MFCC tell phones apart; those of noise do not"
    assert " of 8 recordings" in line
    classes = open_targets(str(tmp_path / "made")).of("long.flac")
    assert len(classes) == pytest.approx(50 * soundfile.info(spoken[0] / "long.flac").duration, abs=3)


def test_the_number_of_shards_changes_no_class(
    made: Targets, spoken: tuple[Path, Path], tmp_path: Path, command: Command
) -> None:
    assert command(*words(spoken[0], tmp_path / "one", "--shards", 1))[0] == 0
    one, three = every(open_targets(str(tmp_path / "one")), spoken[0]), every(made, spoken[0])
    assert all(np.array_equal(one[name], three[name]) for name in one)
    assert command(*words(spoken[0], tmp_path / "seed", "--seed", 2))[0] == 0
    other = every(open_targets(str(tmp_path / "seed")), spoken[0])
    assert any(not np.array_equal(one[name], other[name]) for name in one)


def test_processes_make_the_same_and_few_frames_are_drawn_as_many_are(
    made: Targets, spoken: tuple[Path, Path], tmp_path: Path, command: Command
) -> None:
    """Parts are uneven here, so that one keeps too few of the frames at first, and all are drawn again."""
    few = ("--fit_frames", 3000)
    assert command(*words(spoken[0], tmp_path / "one", *few, "--shards", 1))[0] == 0
    status, said, fault = command(*words(spoken[0], tmp_path / "few", *few, "--shards", 8))
    assert status == 0, fault
    assert said.count("frames drawn from part") > 8
    one, several = (np.load(tmp_path / name / "centroids" / "centroids.npy") for name in ("one", "few"))
    assert np.array_equal(one, several)
    assert command(*words(spoken[0], tmp_path / "made_by_two", "--processes", 2))[0] == 0
    two = open_targets(str(tmp_path / "made_by_two"))
    assert two.fingerprint() == made.fingerprint()
    assert {path.name for path in two.folder.iterdir()} == {path.name for path in made.folder.iterdir()}
    for wrong in (("--processes", 0), ("--processes", 2, "--ray", "auto")):
        assert command(*words(spoken[0], tmp_path / "no", *wrong))[0] == 2


def test_a_command_that_was_stopped_goes_on(
    made: Targets, spoken: tuple[Path, Path], tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped while it was at the third shard; a shard that was damaged since then is made anew."""
    right, calls = cluster.write_shard, []

    def fails_at_the_last(folder: Path, classes: dict) -> None:
        calls.append(folder)
        if len(calls) == 3:
            raise OSError(28, "No space left on device")
        right(folder, classes)

    with monkeypatch.context() as patched:
        patched.setattr(cluster, "write_shard", fails_at_the_last)
        assert command(*words(spoken[0], tmp_path / "stopped"))[0] == 2
    with pytest.raises(UserError, match="goes on where it stopped"):
        open_targets(str(tmp_path / "stopped"))
    whole = tmp_path / "stopped" / "shard-00000" / "classes.npy"
    before = whole.stat().st_mtime_ns
    (tmp_path / "stopped" / "shard-00001" / "classes.npy").write_bytes(b"broken")
    status, said, _ = command(*words(spoken[0], tmp_path / "stopped"))
    assert status == 0
    assert "shard 1 of 3" not in said
    assert whole.stat().st_mtime_ns == before
    again = open_targets(str(tmp_path / "stopped"))
    assert again.fingerprint() == made.fingerprint()
    status, _, fault = command(*words(spoken[0], tmp_path / "stopped", "--seed", 8))
    assert (status, "other settings" in fault) == (2, True)


def test_a_layer_of_a_model(spoken: tuple[Path, Path], tmp_path: Path, command: Command) -> None:
    torch.manual_seed(0)
    AutoModel.from_config(AutoConfig.for_model(**TINY_MODEL)).save_pretrained(tmp_path / "model")
    layer = ("--model", tmp_path / "model", "--layer", 2)
    assert command(*words(spoken[0], tmp_path / "made", *layer))[0] == 0
    assert "layer 2 of" in open_targets(str(tmp_path / "made")).made["features"]
    assert command(*words(spoken[0], tmp_path / "no", "--model", tmp_path / "model", "--layer", 9))[0] == 2
    assert command(*words(spoken[0], tmp_path / "no", "--layer", 2))[0] == 2
    status, _, fault = command(*words(spoken[0], tmp_path / "no", "--model", tmp_path / "absent", "--layer", 2))
    assert (status, "--model: " in fault, "model.base" in fault) == (2, True, False)
    assert not (tmp_path / "no").exists()


def test_pieces_have_the_classes_of_their_place(made: Targets, spoken: tuple[Path, Path], tmp_path: Path) -> None:
    """The long recording is cut; each piece's classes are those of the whole at the piece's place."""
    audio = tmp_path / "audio"
    audio.mkdir()
    shutil.copy(spoken[0] / "long.flac", audio)
    whole = made.of("long.flac")
    pieces = Pieces("folder", str(audio), "audio", 1.0, 9.0, 20.0, 20.0, 3, str(made.folder))
    found = [piece for batch, _ in islice(open_stream(pieces, 0, 1), 4) for piece in batch]
    assert len(found) > 3
    for piece in found:
        assert piece.classes is not None
        assert len(piece.classes) == pytest.approx(50 * len(piece) / RATE_HZ, abs=2)
        assert any(np.array_equal(whole[start:][: len(piece.classes)], piece.classes) for start in range(len(whole)))
    (audio / "long.flac").rename(audio / "other.flac")
    with pytest.raises(UserError, match="holds no classes of it"):
        next(open_stream(pieces, 0, 1))


def test_classes_that_end_too_early_are_anothers() -> None:
    classes = np.arange(100, dtype=np.uint16)
    assert classes_between(classes, 0.5, 1.0, 50.0).tolist() == list(range(25, 75))
    assert classes_between(classes, 0.51, 1.0, 50.0)[0] == round(0.51 * 50)
    assert len(classes_between(classes, 1.02, 1.0, 50.0)) == 49
    with pytest.raises(BadClip, match="end after 2.00 s"):
        classes_between(classes, 1.5, 1.0, 50.0)
    assert at_frames(classes, 30, 0.04, 50.0).tolist() == list(range(0, 60, 2))
    assert at_frames(classes, 90, 0.04, 50.0).tolist() == list(range(0, 100, 2)), "frames end with the classes"


def test_purity_of_what_is_known() -> None:
    exact = purity(np.diag([30, 20, 10]))
    assert (exact.phone, exact.cluster, exact.pnmi) == pytest.approx((1, 1, 1))
    assert exact.num_frames == 60
    nothing = purity(np.outer([3, 1], [10, 10]))
    assert nothing.phone == pytest.approx(0.75)
    assert nothing.cluster == pytest.approx(0.5)
    assert nothing.pnmi == pytest.approx(0, abs=1e-12)
    halved = purity(np.array([[10, 10, 0], [0, 0, 20]]))
    assert (halved.phone, halved.cluster, halved.pnmi) == pytest.approx((1, 0.75, 1))


def test_two_recordings_of_one_name_are_refused(tmp_path: Path) -> None:
    made = {"num_classes": 2, "rate_hz": 50.0, "num_shards": 2}
    for number in range(2):
        folder = tmp_path / f"shard-{number:05d}"
        folder.mkdir()
        write_shard(folder, {"same.wav": np.zeros(3, dtype=np.uint16)})
        (folder / "digests.json").write_text("{}")
    with pytest.raises(UserError, match="two recordings of one name"):
        Targets(tmp_path, 2, 50.0, made).check()


def test_textgrids_read_back(tmp_path: Path) -> None:
    write_tiers(tmp_path / "a.TextGrid", 1.0, {TIER: [(0.1, 0.4, "a"), (0.4, 0.6, "b")]})
    assert read_phones(tmp_path / "a.TextGrid") == [(0, 0.1, ""), (0.1, 0.4, "a"), (0.4, 0.6, "b"), (0.6, 1.0, "")]
    (tmp_path / "b.TextGrid").write_text("nothing")
    with pytest.raises(UserError, match="b.TextGrid"):
        read_phones(tmp_path / "b.TextGrid")
