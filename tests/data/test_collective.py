"""Common Voice by name, against a catalogue on 127.0.0.1: terms first, the key, going on, what a release lacks."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from running import tiny_settings

import unispeech_ft
from unispeech_ft.config.sections import DataConfig
from unispeech_ft.data.sources.collective import fetch_release, is_named
from unispeech_ft.data.sources.common_voice import open_release
from unispeech_ft.errors import UserError
from unispeech_ft.tasks.ctc_phoneme.config import CtcPhonemeConfig

pytest.importorskip("datacollective")

KEY = "a-key-of-a-user"
NAMES = {
    "dataset9": "Common Voice Scripted Speech 9.0 - Kyrgyz",
    "dataset25": "Common Voice Scripted Speech 25.0 - Kyrgyz",
    "talk26": "Common Voice Spontaneous Speech 26.0 - Kyrgyz",
}


class Catalogue(BaseHTTPRequestHandler):
    """The platform's answers; `cut` breaks downloads off after so many bytes."""

    protocol_version = "HTTP/1.1"
    archive: bytes
    agreed = True
    cut: int | None = None
    ranges: list[str | None]
    keys: list[str | None]
    damaged = False

    def log_message(self, format: str, *args: Any) -> None:
        return

    def answer(self, status: int, value: Any) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def details(self, name: str) -> dict[str, Any]:
        digest = hashlib.sha256(self.archive).hexdigest()
        return {
            **{"id": name, "name": NAMES[name], "licenseAbbreviation": "CC0-1.0", "locale": "ky"},
            **{"filename": f"{name}.tar.gz", "sizeBytes": len(self.archive), "checksum": digest},
            "forbiddenUsage": "Do not try to\nfind out who speaks.",
        }

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if url.path == "/api/datasets":
            there = NAMES if parse_qs(url.query)["locale"] == ["ky"] else {}
            self.answer(200, {"items": [self.details(name) for name in there], "total": len(there)})
        elif url.path.startswith("/api/datasets/"):
            name = url.path.rsplit("/", 1)[-1]
            self.answer(*((200, self.details(name)) if name in NAMES else (404, {"message": "no such dataset"})))
        else:
            self.send_archive()

    def do_POST(self) -> None:
        key = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        self.keys.append(key)
        if key != KEY:
            return self.answer(401, {"message": "unknown key"})
        if not self.agreed:
            return self.answer(403, {"message": "the terms have not been agreed to"})
        name = self.path.split("/")[3]
        address = f"http://{self.headers['Host']}/files/{name}"
        checksum = self.details(name)["checksum"]
        self.answer(200, {"downloadUrl": address, "sizeBytes": len(self.archive), "checksum": checksum})

    def send_archive(self) -> None:
        asked = self.headers.get("Range")
        self.ranges.append(asked)
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        body = self.archive[start:]
        body = body[:-1] + b"?" if self.damaged else body
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body if self.cut is None else body[: self.cut])
        self.close_connection = True


def packed(corpus: Path, lost: int) -> bytes:
    """A release archive of a language folder, without some of its clips."""
    content = io.BytesIO()
    clips = sorted(path.name for path in (corpus / "ky" / "clips").iterdir())
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        for path in sorted((corpus / "ky").rglob("*")):
            if path.is_file() and path.name not in clips[:lost]:
                archive.add(path, f"cv-corpus-25.0/ky/{path.relative_to(corpus / 'ky')}")
    return content.getvalue()


@pytest.fixture
def catalogue(spoken_corpus: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Catalogue]]:
    state = {"archive": packed(spoken_corpus, lost=2), "ranges": [], "keys": []}
    handler = type("Bound", (Catalogue,), state)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("MDC_API_URL", f"http://127.0.0.1:{server.server_address[1]}/api")
    monkeypatch.setenv("MDC_API_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield handler
    server.shutdown()
    server.server_close()


def test_the_newest_read_sentences_with_terms_before_the_download(catalogue, tmp_path, capsys):
    archive = fetch_release("mdc:ky", tmp_path)
    assert archive == tmp_path / "collective" / "dataset25.tar.gz"
    assert archive.read_bytes() == catalogue.archive
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith("Common Voice Scripted Speech 25.0 - Kyrgyz, ")
    assert said[1:4] == [
        "licence: CC0-1.0",
        "forbiddenUsage: Do not try to find out who speaks.",
        "terms: on the page of the dataset",
    ]
    last = "mdc:ky: Common Voice Scripted Speech 25.0 - Kyrgyz, CC0-1.0; for use here, not to be hosted anew"
    assert said[-1] == last
    assert KEY not in "".join(said)
    assert KEY.encode() not in b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert fetch_release("mdc:ky", tmp_path) == archive
    assert len(catalogue.ranges) == 1, "it is fetched once"
    assert capsys.readouterr().err.splitlines() == [last], "and whose it is, is said again"


def test_a_download_that_was_cut_off_goes_on(catalogue, tmp_path):
    catalogue.cut = 200_000
    with pytest.raises(UserError, match="the connection broke, .* fetched, .* to go: the same command goes on"):
        fetch_release("mdc:dataset9", tmp_path)
    catalogue.cut = None
    assert fetch_release("mdc:dataset9", tmp_path).read_bytes() == catalogue.archive
    assert catalogue.ranges == [None, f"bytes={200_000 // 65_536 * 65_536}-"], "whole blocks are kept"


def test_a_damaged_archive_is_removed(catalogue, tmp_path):
    catalogue.damaged = True
    with pytest.raises(UserError, match=r"dataset25\.tar\.gz arrived damaged .* and was removed: run"):
        fetch_release("mdc:ky", tmp_path)
    assert list((tmp_path / "collective").iterdir()) == []


@pytest.mark.parametrize(
    ("name", "environment", "agreed", "said"),
    [
        ("mdc:ky", {"MDC_API_KEY": ""}, True, "needs a key of the Mozilla Data Collective: make a key"),
        ("mdc:ky", {"MDC_API_KEY": "another"}, True, "the key in MDC_API_KEY is not accepted: make a key"),
        ("mdc:ky", {}, False, r"refuses \(.*the terms have not been agreed to\): agree to the terms on the page"),
        ("mdc:xx", {}, True, "no release of Common Voice for 'xx' is in the catalogue: check the code"),
        ("mdc:unknown1", {}, True, "there is no such dataset: check the id"),
        ("mdc:", {}, True, "mdc: names no release: write mdc:ky"),
        ("mdc:../ky", {}, True, "names no release"),
        ("mdc:ky", {"MDC_API_URL": "http://127.0.0.1:9/api"}, True, "cannot be reached: check the connection"),
    ],
)
def test_what_goes_wrong_is_one_line(name, environment, agreed, said, catalogue, tmp_path, monkeypatch):
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    catalogue.agreed = agreed
    with pytest.raises(UserError, match=said) as caught:
        fetch_release(name, tmp_path)
    assert "\n" not in str(caught.value)
    assert KEY not in str(caught.value)


def test_without_the_package(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "datacollective", None)
    with pytest.raises(UserError, match=r"is not installed: pip install 'unispeech-ft\[collective\]'"):
        fetch_release("mdc:ky", tmp_path)


def test_clips_that_the_release_lost_are_counted(catalogue, spoken_corpus, tmp_path):
    settings = tiny_settings(spoken_corpus, tmp_path)
    settings["data"] |= {"root": "mdc:ky", "cache_dir": str(tmp_path / "cache"), "max_bad_fraction": 0.9}
    speech = unispeech_ft.prepare(CtcPhonemeConfig.model_validate(settings))
    there = len(list((spoken_corpus / "ky" / "clips").iterdir()))
    assert sum(len(split) for split in speech.splits.values()) == there - 2
    assert [rejected.reason for rejected in speech.left_out].count("no such file") == 2
    assert any("2" in note and "no such file" in note for note in speech.notes), speech.notes
    data = DataConfig(root="mdc:ky", language="ky", cache_dir=str(tmp_path / "cache"))
    assert open_release(data).name == "ky"
    assert is_named(data.root)
    assert not is_named("cv-corpus-25.0/ky")
    assert len(catalogue.ranges) == 1
