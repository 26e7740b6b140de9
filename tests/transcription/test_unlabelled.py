"""Recordings without labels, and who speaks in them: nobody of validation or test is trained on."""

from __future__ import annotations

import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import soundfile

from unispeech_ft.data.utterances import Corpus, Split, Utterance
from unispeech_ft.transcription.unlabelled import Recording, list_recordings, outside


@pytest.fixture
def clips(tmp_path: Path) -> list[Path]:
    files = [tmp_path / "release" / "ky" / "clips" / f"clip_{number}.wav" for number in range(4)]
    files[0].parent.mkdir(parents=True)
    for number, file in enumerate(files):
        soundfile.write(file, np.full(1600, number / 8, dtype=np.float32), 16_000)
    return files


def written(file: Path, *lines: str) -> Path:
    file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return file


def test_a_folder_of_a_release_has_the_speakers_of_its_tables(clips: list[Path]) -> None:
    release = clips[0].parent.parent
    written(release / "validated.tsv", "client_id\tpath\tsentence", "anna\tclip_0.wav\ta", "bek\tclip_1.wav\tb")
    written(release / "other.tsv", "client_id\tpath\tsentence", "anna\tclip_2.wav\ta")
    found, faults = list_recordings([clips[0].parent])
    assert faults == []
    assert [(item.path.name, item.speaker) for item in found] == [
        ("clip_0.wav", "anna"),
        ("clip_1.wav", "bek"),
        ("clip_2.wav", "anna"),
        ("clip_3.wav", None),
    ]


@pytest.mark.parametrize("beside", [True, False])
def test_a_table(clips: list[Path], beside: bool) -> None:
    """Of Common Voice, whose clips lie in a folder of their own, or one's own."""
    folder = clips[0].parent if beside else clips[0].parent.parent
    table = written(folder / "mine.csv", "Speaker,path", "anna,clip_0.wav", ",clip_1.wav", f"bek,{clips[2]}")
    found, faults = list_recordings([clips[0], table])
    assert faults == []
    assert [(item.path.resolve(), item.speaker) for item in found] == [
        (clips[0].resolve(), "anna"),
        (clips[1].resolve(), None),
        (clips[2].resolve(), "bek"),
    ], "each once, and with what the table says"


def test_a_table_without_speakers_leaves_those_of_the_release(clips: list[Path]) -> None:
    release = clips[0].parent.parent
    written(release / "validated.tsv", "client_id\tpath\tsentence", "anna\tclip_0.wav\ta", "bek\tclip_1.wav\tb")
    table = written(clips[0].parent / "mine.tsv", "path", "clip_0.wav", "clip_1.wav", "clip_2.wav")
    for names in ([table], [table, clips[0].parent]):
        found, faults = list_recordings(names)
        assert faults == []
        assert {item.path.name: item.speaker for item in found[:3]} == {
            "clip_0.wav": "anna",
            "clip_1.wav": "bek",
            "clip_2.wav": None,
        }


def test_lines_that_lack_a_key(clips: list[Path]) -> None:
    lines = ('{"path": "clip_0.wav", "speaker": "anna"}', '{"path": "clip_1.wav"}', '{"speaker": "bek"}')
    found, faults = list_recordings([written(clips[0].parent / "mine.jsonl", *lines)])
    assert faults == []
    assert [(item.path.name, item.speaker) for item in found] == [("clip_0.wav", "anna"), ("clip_1.wav", None)]


def test_rows_that_name_nothing(clips: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    table = written(clips[0].parent / "mine.tsv", "path", "clip_0.wav", "clip_9.wav")
    found, faults = list_recordings([table])
    assert [item.path.name for item in found] == ["clip_0.wav"]
    assert faults == []
    assert "1 rows are left out, the first since clip_9.wav is not there" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (("name\tage", "x\t3"), "has no column of audio paths"),
        (("path\tstart\tend", "clip_0.wav\t0\t1"), "names stretches of recordings (start)"),
        (("path", "clip_9.wav"), "names no recording that is there (clip_9.wav is not there)"),
        ((), "holds no rows"),
    ],
)
def test_faults_of_a_table(clips: list[Path], lines: tuple[str, ...], said: str) -> None:
    found, faults = list_recordings([written(clips[0].parent / "mine.tsv", *lines)])
    assert found == []
    assert [said in fault.what for fault in faults] == [True], faults


def test_files_that_are_not_there(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    _, faults = list_recordings([tmp_path / "none.wav", tmp_path / "none.tsv", tmp_path / "empty"])
    assert sorted(fault.what.partition(":")[2].strip() for fault in faults) == [
        "no audio file in this folder",
        f"no file {tmp_path / 'none.tsv'}",
        "no such file",
    ]


def test_nobody_of_validation_or_test(clips: list[Path], tmp_path: Path) -> None:
    link = tmp_path / "again.wav"
    link.symlink_to(clips[0])
    copy = Path(shutil.copy(clips[0], tmp_path / "copy.wav"))
    splits: dict[Split, list[Utterance]] = {
        "train": [Utterance("a", clips[0], "a", None, "anna")],
        "validation": [Utterance("b", None, "b", None, unicodedata.normalize("NFD", "Zoé"))],
        "test": [Utterance("c", None, "c", None, "chynar"), Utterance("d", None, "d")],
    }
    given = [
        Recording(link, "dana"),
        Recording(clips[1], unicodedata.normalize("NFC", "Zoé")),
        Recording(clips[2], "chynar"),
        Recording(clips[3], "anna"),
        Recording(tmp_path / "nobody.wav"),
        Recording(copy),
    ]
    kept, said = outside(Corpus(splits), given)
    assert kept == given[3:5]
    assert said == [
        "2 of 6 recordings are left out: they are in the corpus",
        "2 of 6 recordings are left out: their speakers are in validation or test",
        "1 of 6 recordings do not say who speaks: nobody of validation or test may be in them",
        "1 of 3 utterances of validation and test do not say who speaks: none of these people may be in the recordings",
    ]
