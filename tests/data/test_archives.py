"""Archives of others: damage is found to the last byte, and nothing unfolds without a limit."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from unispeech_ft.data.archives import DAMAGE, members
from unispeech_ft.data.shards import read_units
from unispeech_ft.data.sources.common_voice import unpack_release
from unispeech_ft.errors import UserError

GIB = 2**30


def tar(*files: tuple[str, bytes]) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, held in files:
            member = tarfile.TarInfo(name)
            member.size = len(held)
            archive.addfile(member, io.BytesIO(held))
    return content.getvalue()


def header(name: str, size_bytes: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    member = tarfile.TarInfo(name)
    member.size, member.type = size_bytes, kind
    return member.tobuf(tarfile.GNU_FORMAT)


def zeros(first: bytes) -> bytes:
    """A gzip file of a megabyte that unfolds to a GiB."""
    return gzip.compress(first) + gzip.compress(bytes(GIB // 64)) * 64


SOUND = tar(("cv/ky/train.tsv", b"path\tsentence\n"), ("cv/ky/clips/a.wav", b"a" * 3000), ("cv/ky/clips/b.wav", b"b"))
BOMBS: dict[str, Callable[[], bytes]] = {
    "a member of a GiB": lambda: zeros(header("cv/ky/clips/a.wav", GIB)),
    "a member of another language": lambda: zeros(header("cv/it/clips/a.wav", GIB)),
    "a name of a GiB": lambda: zeros(header("././@LongLink", GIB, tarfile.GNUTYPE_LONGNAME)),
    "3,000 folders": lambda: tar(("cv/ky/" + "d/" * 3000 + "a.wav", b"a")),
}
DAMAGED: dict[str, Callable[[], bytes]] = {
    "cut in a member": lambda: SOUND[:2500],
    "cut between members": lambda: SOUND[: 512 * 2 + 512 + 3072],
    "a flipped byte in a header": lambda: SOUND[:1024] + b"?" + SOUND[1025:],
    "a flipped byte behind the packing": lambda: gzip.compress(SOUND)[:-6] + b"?" + gzip.compress(SOUND)[-5:],
    "a packing without its end": lambda: gzip.compress(SOUND)[:-8],
    "empty": lambda: b"",
}


def read_all(path: Path) -> list[str]:
    return [example["name"] for example in read_units([(str(path), 0, 1)], "tar", "audio")]


@pytest.mark.parametrize("packed", [False, True])
def test_a_sound_archive(packed: bool, tmp_path: Path) -> None:
    path = tmp_path / "a.tar.gz"
    path.write_bytes(gzip.compress(SOUND) if packed else SOUND)
    assert read_all(path) == ["a.tar.gz:cv/ky/clips/a.wav", "a.tar.gz:cv/ky/clips/b.wav"]
    assert (unpack_release(path, "ky", tmp_path / "cache") / "cv/ky/clips/b.wav").read_bytes() == b"b"


@pytest.mark.parametrize("fault", [*BOMBS, *DAMAGED])
def test_bombs_and_damage_are_one_line_and_leave_nothing(fault: str, tmp_path: Path) -> None:
    path = tmp_path / "a.tar.gz"
    path.write_bytes({**BOMBS, **DAMAGED}[fault]())
    for read in (read_all, lambda path: unpack_release(path, "ky", tmp_path / "cache")):
        with pytest.raises(UserError, match=r"cannot be (read|unpacked)") as refused:
            read(path)
        [line] = refused.value.lines
        assert len(line) < 500
    assert not list(tmp_path.rglob("clips"))


def test_the_limit_grows_with_the_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unispeech_ft.data.archives.ALWAYS_ALLOWED_BYTES", 0)
    path = tmp_path / "a.tar"
    path.write_bytes(SOUND)
    assert len(list(members(path))) == 3
    path.write_bytes(gzip.compress(tar(("a.wav", bytes(2**20)))))
    with pytest.raises(DAMAGE, match="unfolds"):
        list(members(path))
