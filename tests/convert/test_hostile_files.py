"""Files that mean harm or are none: exit status 2, one line, nothing executed, nothing written."""

from __future__ import annotations

import io
import os
import pickle
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from originals import fine_tuned, one_tensor, pretrained, save, zip_around

MAGIC = 0x1950A86A20F9469CFC6C


class Calls:
    """Pickles as the call of a function."""

    def __init__(self, function: Callable, *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def _in_metadata(value: object) -> dict:
    return pretrained() | {"extra_state": {"best": value}}


def _command(marker: Path) -> dict:
    return _in_metadata(Calls(os.system, f"touch {marker}"))


def _popen(marker: Path) -> dict:
    return _in_metadata(Calls(subprocess.Popen, ["touch", str(marker)]))


def _evaluated(marker: Path) -> dict:
    return _in_metadata(Calls(eval, f"open({str(marker)!r}, 'w')"))


def _written(path: Path, *parts: bytes) -> Path:
    path.write_bytes(b"".join(parts))
    return path


def _imports(path: Path, marker: Path) -> Path:
    module = path.parent / "module_of_a_pickle.py"
    module.write_text(f"open({str(marker)!r}, 'w').close()\nthing = 1\n", encoding="utf-8")
    return zip_around(b"\x80\x02cmodule_of_a_pickle\nthing\n.", path)


def _tar(path: Path) -> Path:
    with tarfile.open(path, "w") as archive:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            entry = tarfile.TarInfo(name)
            entry.size = 4
            archive.addfile(entry, io.BytesIO(b"data"))
    return path


def _cut(path: Path, share: float, *, legacy: bool) -> Path:
    whole = save(pretrained(), path, legacy=legacy).read_bytes()
    return _written(path, whole[: int(share * len(whole))])


def _nested_key() -> bytes:
    """A dictionary whose key takes 2^60 steps to hash."""
    return b"\x80\x02})q\x00" + b"0h\x00h\x00\x86q\x00" * 60 + b"K\x01s."


def _legacy_claim(path: Path, count: int) -> Path:
    content = one_tensor(count, (count,), (1,)).replace(b"tQI0", b"NtQI0")
    head = [pickle.dumps(part, 2) for part in (MAGIC, 1001, {"little_endian": True})]
    return _written(path, *head, content, pickle.dumps(["0"], 2), count.to_bytes(8, "little", signed=True), b"\0" * 16)


def _renamed(path: Path, old: str, new: str) -> Path:
    content = pretrained()
    content["model"][new] = content["model"].pop(old)
    return save(content, path)


HOSTILE: dict[str, Callable[[Path, Path], Path]] = {
    "a command": lambda path, marker: save(_command(marker), path),
    "a command, legacy": lambda path, marker: save(_command(marker), path, legacy=True),
    "a command, protocol 5": lambda path, marker: zip_around(pickle.dumps(_command(marker)["extra_state"], 5), path),
    "a command, by INST": lambda path, marker: zip_around(f"(S'touch {marker}'\nios\nsystem\n.".encode(), path),
    "a process": lambda path, marker: save(_popen(marker), path),
    "an expression": lambda path, marker: save(_evaluated(marker), path),
    "an import": _imports,
    "an unknown class": lambda path, marker: save(_in_metadata(Path("somewhere")), path),
    "a function of torch": lambda path, marker: zip_around(b"\x80\x02ctorch.hub\nload\n.", path),
    "a loader of fairseq": lambda path, marker: zip_around(b"\x80\x02cfairseq.utils\nimport_user_module\n.", path),
    "a huge tensor": lambda path, marker: zip_around(one_tensor(10**12, (10**12,), (1,)), path, data=bytes(64)),
    "a huge view": lambda path, marker: zip_around(one_tensor(16, (10**6, 10**6), (0, 0)), path, data=bytes(64)),
    "a view outside": lambda path, marker: zip_around(one_tensor(16, (4, 4), (10**9, 1)), path, data=bytes(64)),
    "a tensor of endless rank": lambda path, marker: zip_around(one_tensor(16, (2,) * 10**5, (0,) * 10**5), path),
    "a huge storage, legacy": lambda path, marker: _legacy_claim(path, 10**15),
    "a storage beyond the end, legacy": lambda path, marker: _legacy_claim(path, 10**9),
    "a negative storage, legacy": lambda path, marker: _legacy_claim(path, -1),
    "a huge memo": lambda path, marker: zip_around(b"\x80\x02Nr\xff\xff\xff\x7f.", path),
    "a key without end": lambda path, marker: zip_around(_nested_key(), path),
    "a zip bomb": lambda path, marker: zip_around(b"N" * 10**8 + b".", path, compression=zipfile.ZIP_DEFLATED),
    "a long pickle": lambda path, marker: zip_around(b"]" * (2**24 + 1), path),
    "an endless expression": lambda path, marker: save(
        pretrained(conv_feature_layers="[(1, 1, 1)]" + " * 60" * 100), path
    ),
    "a call as layers": lambda path, marker: save(
        pretrained(conv_feature_layers=f"[open({str(marker)!r}, 'w')]"), path
    ),
    "a tensor with a strange name": lambda path, marker: _renamed(path, "mask_emb", "\x1b[2Jmask\nemb"),
    "cut off": lambda path, marker: _cut(path, 0.5, legacy=False),
    "cut off near its end": lambda path, marker: _cut(path, 0.999, legacy=False),
    "cut off, legacy": lambda path, marker: _cut(path, 0.5, legacy=True),
    "cut off early, legacy": lambda path, marker: _cut(path, 0.01, legacy=True),
    "a tar archive": lambda path, marker: _tar(path),
    "any zip archive": lambda path, marker: _written(path, b"PK\x05\x06" + bytes(18)),
    "a text": lambda path, marker: _written(path, b"one line\n"),
    "nothing": lambda path, marker: _written(path),
    "a picture": lambda path, marker: _written(path, b"\x89PNG\r\n\x1a\n", bytes(100)),
    "a pickle": lambda path, marker: _written(path, pickle.dumps({"model": {}})),
    "an old pickle": lambda path, marker: _written(path, pickle.dumps({"model": {}}, 0)),
    "a tensor": lambda path, marker: save(torch.zeros(3), path),
    "bare weights": lambda path, marker: save({"model": pretrained()["model"]}, path),
    "weights without a model": lambda path, marker: save(dict(pretrained()["model"]), path),
    "a model without tensors": lambda path, marker: save({"cfg": {"model": {}}, "model": {"a": 1}}, path),
    "another architecture": lambda path, marker: save(pretrained("transformer_lm"), path),
    "a fine-tuning without its base": lambda path, marker: save(
        fine_tuned() | {"cfg": {"model": {"_name": "wav2vec_ctc"}}}, path
    ),
    "a folder": lambda path, marker: path.mkdir() or path,
    "no file": lambda path, marker: path,
    "a pipe": lambda path, marker: os.mkfifo(path) or path,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_is_refused(
    name: str,
    command: Callable[..., tuple[int | str | None, str, str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    marker, room = tmp_path / "executed", tmp_path / "room"
    room.mkdir()
    monkeypatch.syspath_prepend(room)
    file = HOSTILE[name](room / "checkpoint.pt", marker)
    before = sorted(room.rglob("*"))
    status, out, err = command("convert", file, room / "below" / "out")
    assert (status, out) == (2, ""), err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert err[:-1].isprintable()
    assert len(err) < 1000
    assert not marker.exists()
    assert [path for path in sorted(room.rglob("*")) if "__pycache__" not in path.parts] == before


def test_the_refused_name_is_told(command: Callable[..., tuple], tmp_path: Path) -> None:
    file = save(_command(tmp_path / "executed"), tmp_path / "checkpoint.pt")
    assert "'posix.system'" in command("convert", file, tmp_path / "out")[2]


def test_the_command_would_have_run_in_torch(tmp_path: Path) -> None:
    marker = tmp_path / "executed"
    torch.load(save(_command(marker), tmp_path / "checkpoint.pt"), weights_only=False)
    assert marker.exists()


def test_shared_numbers_do_not_multiply(command: Callable[..., tuple], tmp_path: Path) -> None:
    content = pretrained(encoder_layers=500)
    layer = {name: tensor for name, tensor in content["model"].items() if name.startswith("encoder.layers.0.")}
    for number in range(500):
        content["model"] |= {name.replace(".0.", f".{number}.", 1): tensor for name, tensor in layer.items()}
    status, _, err = command("convert", save(content, tmp_path / "checkpoint.pt"), tmp_path / "out")
    assert status == 2
    assert "same numbers" in err
