"""Recordings that ELAN files link, whatever they are called, on whatever machine they were linked."""

from __future__ import annotations

from pathlib import Path
from xml.sax.saxutils import quoteattr

import numpy as np
import pytest
import soundfile

from unispeech_ft.config.sections import DataConfig
from unispeech_ft.data.sources.folders import list_folder_of_audio
from unispeech_ft.data.sources.media import linked_media
from unispeech_ft.errors import UserError

TEXT = (
    "<ANNOTATION_DOCUMENT><HEADER>{media}</HEADER><TIME_ORDER><TIME_SLOT TIME_SLOT_ID='ts1' TIME_VALUE='100'/>"
    "<TIME_SLOT TIME_SLOT_ID='ts2' TIME_VALUE='900'/></TIME_ORDER><TIER TIER_ID='text'><ANNOTATION>"
    "<ALIGNABLE_ANNOTATION ANNOTATION_ID='a1' TIME_SLOT_REF1='ts1' TIME_SLOT_REF2='ts2'><ANNOTATION_VALUE>{said}"
    "</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION></TIER></ANNOTATION_DOCUMENT>"
)


def sound(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = "WAV" if path.suffix.lower() == ".mp4" else None
    soundfile.write(path, np.zeros(16_000), 16_000, format=kind)
    return path


def eaf(path: Path, *media: tuple[str, str | None] | tuple[str, str | None, str], said: str = "kin ta") -> Path:
    """An ELAN file that links media: URL, path relative to the file, and MIME type."""
    items = []
    for url, relative, *mime in media:
        near = f" RELATIVE_MEDIA_URL={quoteattr(relative)}" if relative is not None else ""
        kind = mime[0] if mime else "audio/x-wav"
        items.append(f"<MEDIA_DESCRIPTOR MEDIA_URL={quoteattr(url)} MIME_TYPE='{kind}'{near}/>")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(TEXT.format(media="".join(items), said=said), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("there", "url", "relative"),
    [
        ("ann/rec.wav", "file:///d:/field/rec.wav", "./rec.wav"),
        ("audio/rec.wav", "file:///Users/km/rec.wav", "../audio/rec.wav"),
        ("audio/rec.wav", "file:///Users/km/rec.wav", "file:../audio/rec.wav"),
        ("audio/rec.wav", "file:///Users/km/rec.wav", "..\\audio\\rec.wav"),
        ("ann/rec.wav", "file:///d:/field/rec.wav", None),
        ("ann/rec.wav", "file:///D:/field/rec.wav", "../../gone/rec.wav"),
        ("ann/rec.wav", "D:\\field\\rec.wav", ""),
        ("ann/rec.wav", "file://server/share/rec.wav", None),
        ("ann/a b ö.wav", "file:///d:/a%20b%20%C3%B6.wav", None),
        ("ann/a b ö.wav", "file:///d:/a b o\u0308.wav", "./a%20b%20o%CC%88.wav"),
        ("ann/100%25.wav", "file:///d:/x/100%25.wav", "./100%25.wav"),
        ("ann/REC.WAV", "file:///d:/rec.wav", "./rec.wav"),
        ("ann/rec.wav", "file:///d:/field/rec.mp4", "./rec.mp4"),
        ("ann/rec.wav", "rec.wav", None),
    ],
)
def test_where_media_are_found(there: str, url: str, relative: str | None, tmp_path: Path) -> None:
    recording = sound(tmp_path / there)
    for other in ("ann/other.wav", "audio/other.wav"):
        sound(tmp_path / other)
    assert linked_media(eaf(tmp_path / "ann" / "session.eaf", (url, relative))).recording == recording


def test_a_whole_path_on_this_machine(tmp_path: Path) -> None:
    recording = sound(tmp_path / "far" / "ä rec.wav")
    for url in (recording.as_uri(), f"file://{recording}", str(recording)):
        assert linked_media(eaf(tmp_path / "ann" / "s.eaf", (url, "./no.wav"))).recording == recording


@pytest.mark.parametrize(
    ("url", "relative"),
    [
        ("http://127.0.0.1:9/rec.wav", "ftp://127.0.0.1:9/gone.wav"),
        ("file:///etc/passwd", "../../../../../../etc/passwd"),
        ("file:///x%00.wav", "%00.wav"),
        ("file:///" + "x" * 5000 + ".wav", None),
        ("", ""),
        ("file:", "file://"),
        (".wav", "/"),
    ],
)
def test_what_is_no_recording_here(url: str, relative: str | None, tmp_path: Path) -> None:
    assert linked_media(eaf(tmp_path / "s.eaf", (url, relative))).recording is None


def test_sound_before_video_and_several(tmp_path: Path) -> None:
    names = ["film.mp4", "near.wav", "far.wav"]
    for name in names:
        sound(tmp_path / name)
    media = [(f"file:///d:/{name}", None, "video/mp4" if "film" in name else "audio/x-wav") for name in names]
    found = linked_media(eaf(tmp_path / "s.eaf", *media))
    assert found.recording == tmp_path / "near.wav"
    assert found.others == (tmp_path / "far.wav",)
    utterances, rejected = list_folder_of_audio(tmp_path, tmp_path, DataConfig(), "data.train")
    assert [item.path.name for item in utterances] == ["near.wav"]
    assert "s.eaf links several recordings; read is near.wav, not far.wav" in " ".join(why for _, why in rejected)
    (tmp_path / "near.wav").unlink()
    (tmp_path / "far.wav").unlink()
    assert linked_media(tmp_path / "s.eaf").recording == tmp_path / "film.mp4"


def listed(folder: Path) -> tuple[dict[str, str], str]:
    """Text → recording, and why others are not read."""
    utterances, rejected = list_folder_of_audio(folder, folder, DataConfig(), "data.train")
    return {item.text: item.path.name for item in utterances}, " ".join(f"{name}: {why}" for name, why in rejected)


def test_recordings_are_paired_by_links_and_else_by_names(tmp_path: Path) -> None:
    folder = tmp_path / "ann"
    for name in ("ann/one.wav", "audio/x7.wav", "ann/b.wav", "ann/c.wav"):
        sound(tmp_path / name)
    eaf(folder / "one.eaf", ("file:///gone.wav", None), said="one")
    eaf(folder / "seven.eaf", ("file:///d:/x7.wav", "../audio/x7.wav"), said="seven")
    # Copies of a file whose links nobody has changed.
    eaf(folder / "b.eaf", ("file:///d:/b.wav", "./b.wav"), said="b")
    eaf(folder / "c.eaf", ("file:///d:/b.wav", "./b.wav"), said="c")
    eaf(folder / "lone.eaf", ("file:///d:/lost%20ö.wav", "./lost.wav"), said="lone")
    found, reasons = listed(folder)
    assert found == {"one": "one.wav", "seven": "x7.wav", "b": "b.wav", "c": "c.wav"}
    assert "lone.eaf: " in reasons
    assert "no recording of the same name, and lost ö.wav, which it links, is not there" in reasons


def test_a_link_to_a_recording_of_another_name_beats_one_of_its_own_name(tmp_path: Path) -> None:
    for name in ("a.wav", "b.wav"):
        sound(tmp_path / name)
    eaf(tmp_path / "a.eaf", ("file:///d:/b.wav", None), said="of b")
    found, reasons = listed(tmp_path)
    assert found == {"of b": "b.wav"}
    assert "a: " in reasons


def test_a_folder_of_annotations_alone(tmp_path: Path) -> None:
    sound(tmp_path / "audio" / "rec.wav")
    eaf(tmp_path / "ann" / "s.eaf", ("file:///d:/rec.wav", "../audio/rec.wav"))
    found, _ = listed(tmp_path / "ann")
    assert found == {"kin ta": "rec.wav"}


def test_where_nothing_can_be_read_the_recording_that_was_looked_for_is_named(tmp_path: Path) -> None:
    sound(tmp_path / "other.wav")
    eaf(tmp_path / "rec.eaf", ("file:///d:/field/take1.wav", "./take1.wav"))
    why = r"\(rec.eaf has no recording of the same name, and .*take1.wav, which it links, is not there\)"
    with pytest.raises(UserError, match=why):
        list_folder_of_audio(tmp_path, tmp_path, DataConfig(source="manifest", root=str(tmp_path)), "data.train")
