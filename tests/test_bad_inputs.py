"""Damaged and hostile inputs end in a fault that says what to do: no traceback, no hang, no prompt, no gigabytes."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from benchmark.setting import Setting, write_model

from unispeech_ft.config.reading import read_configs
from unispeech_ft.config.sections import DataConfig
from unispeech_ft.data.audio import BadClip, read_audio
from unispeech_ft.data.sources import list_utterances
from unispeech_ft.errors import UserError
from unispeech_ft.models.saved import load_saved
from unispeech_ft.phonemes.lexicon import read_lexicon
from unispeech_ft.scoring.files import read_phone_file
from unispeech_ft.tasks.ctc_phoneme.config import FILE

LIMIT_S, MOST_MIB, LONGEST_FAULT = 20, 1500, 3000
NUMBERS = ("-1", "0", "1e309", "9" * 5000, "300000000", "NaN", "null", "true", '"x"', "[]", "{}", "0.5")
INSERTS = (b"\0", b"\xed\xa0\x80", b"\xff\xfe", b"../../", b"[" * 2000, b"*a ", b"\r", "é\u0301".encode(), b"\x1b[2J")


def mutate(random: np.random.Generator, content: bytes) -> bytes:
    """The content with one to three faults in it."""
    for _ in range(random.integers(1, 4)):
        place = int(random.integers(0, max(1, len(content))))
        other = int(random.integers(place, len(content) + 1))
        kind = random.integers(0, 8)
        if kind == 0:
            content = content[:place]
        elif kind == 1:
            held = bytearray(content)
            for index in random.integers(0, max(1, len(held)), size=8):
                held[index : index + 1] = bytes([int(random.integers(0, 256))])
            content = bytes(held)
        elif kind == 2:
            content = content[:other] + content[place:other] * 3 + content[other:]
        elif kind in (3, 4):
            content = content[:place] + INSERTS[random.integers(0, len(INSERTS))] + content[place:]
        elif kind == 5:
            content = content[:place] + content[other:]
        else:
            found = list(re.finditer(rb"-?\d+(\.\d+)?", content))
            if found:
                number = found[random.integers(0, len(found))]
                new = NUMBERS[random.integers(0, len(NUMBERS))].encode()
                content = content[: number.start()] + new + content[number.end() :]
    return content


@contextmanager
def limited() -> Iterator[None]:
    """A limit on the time of a case; nobody answers a prompt."""

    def late(*_: Any) -> None:
        raise AssertionError(f"it took more than {LIMIT_S} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(LIMIT_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def yaml_file(folder: Path, content: bytes) -> None:
    file = folder / "run.yaml"
    file.write_bytes(content)
    read_configs(FILE, ["--config", str(file)])


def manifest(folder: Path, content: bytes, name: str) -> None:
    (folder / name).write_bytes(content)
    data = DataConfig(source="manifest", root=str(folder), train=str(folder / name))
    for split in list_utterances(data).splits.values():
        for utterance in split:
            if utterance.path is not None:
                read_audio(utterance.path)


def audio(folder: Path, content: bytes, name: str) -> None:
    (folder / name).write_bytes(content)
    read_audio(folder / name)


def model(folder: Path, content: bytes, name: str) -> None:
    before = (folder / "model" / name).read_bytes()
    (folder / "model" / name).write_bytes(content)
    try:
        load_saved(folder / "model")
    finally:
        (folder / "model" / name).write_bytes(before)


def lexicon(folder: Path, content: bytes) -> None:
    (folder / "lexicon.tsv").write_bytes(content)
    read_lexicon(folder / "lexicon.tsv")


def results(folder: Path, content: bytes, name: str) -> None:
    (folder / name).write_bytes(content)
    read_phone_file(folder / name)


MANIFEST_TSV = "path\tsentence\tspeaker\tstart\tend\na.wav\tone two\tx\t0.1\t0.5\nb.wav\tthree\ty\t\t\n"
MANIFEST_JSON = "".join(
    json.dumps({"audio_filepath": "a.wav", "text": "one two", "offset": 0.1, "duration": 0.4, "speaker": name}) + "\n"
    for name in "xyz"
)
CONFIG = """model: {base: some/model, layerdrop: 0.1}
data: {root: data/cv, language: ky, max_duration_s: 20.0}
batch: {seconds_per_update: 120.0}
optimizer: {lr: 3.0e-5}
seed: [1, 2]
"""
PHONES_TSV = "a\ta b c\nb\ta c\n"
PHONES_JSON = '{"id": "a", "phones": ["a", "b"]}\n{"id": "b", "phones": ["a"]}\n'


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bad")
    tone = 0.1 * np.sin(np.arange(16_000) / 10)
    for name in ("a.wav", "b.wav", "a.flac"):
        soundfile.write(folder / name, tone, 16_000)
    soundfile.write(folder / "a.mp3", tone, 16_000)
    setting = Setting("tiny", "cpu", "no", folder / "setting", num_utterances=2)
    write_model(setting)
    shutil.copytree(setting.model_folder, folder / "model")
    return folder


def kinds(folder: Path) -> list[tuple[str, bytes, Callable[[bytes], None]]]:
    """Name, a sound input, and what reads a mutated one."""
    found: list[tuple[str, bytes, Callable[[bytes], None]]] = [
        ("yaml", CONFIG.encode(), lambda content: yaml_file(folder, content)),
        ("tsv", MANIFEST_TSV.encode(), lambda content: manifest(folder, content, "list.tsv")),
        ("jsonl", MANIFEST_JSON.encode(), lambda content: manifest(folder, content, "list.jsonl")),
        ("lexicon", "one\tw ʌ n\ntwo\tt uː\n".encode(), lambda content: lexicon(folder, content)),
        ("phones.tsv", PHONES_TSV.encode(), lambda content: results(folder, content, "phones.tsv")),
        ("phones.jsonl", PHONES_JSON.encode(), lambda content: results(folder, content, "phones.jsonl")),
    ]
    for name in ("a.wav", "a.flac", "a.mp3"):
        content = (folder / name).read_bytes()
        found.append((name, content, lambda content, name=name: audio(folder, content, f"bad-{name}")))  # type: ignore[misc]
    for file in sorted((folder / "model").iterdir()):
        read = lambda content, name=file.name: model(folder, content, name)  # type: ignore[misc]  # noqa: E731
        found.append((file.name, file.read_bytes(), read))
    return found


def check(read: Callable[[bytes], None], content: bytes) -> str | None:
    """What is wrong with the answer; None where it is well."""
    started = time.monotonic()
    try:
        with limited():
            read(content)
    except UserError as error:
        return f"a fault of {len(str(error))} letters" if len(str(error)) > LONGEST_FAULT else None
    except BadClip as reason:
        return f"a reason of {len(str(reason))} letters" if len(str(reason)) > 500 else None
    except BaseException as error:
        return f"{type(error).__name__}: {str(error)[:200]} after {time.monotonic() - started:.1f} s"
    return None


def run_cases(folder: Path, numbers: range) -> list[str]:
    """What went wrong, by case."""
    choices, wrong = kinds(folder), []
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in numbers:
        random = np.random.default_rng([2026, number])
        name, sound, read = choices[number % len(choices)]
        fault = check(read, mutate(random, sound))
        if fault:
            wrong.append(f"{number} {name}: {fault}")
    grown_mib = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak) / 1024
    if grown_mib > MOST_MIB:
        wrong.append(f"memory grew by {grown_mib:.0f} MiB")
    return wrong


def test_two_hundred_mutated_inputs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("it asked"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert all(check(read, sound) is None for _, sound, read in kinds(folder)[1:]), "the inputs themselves are sound"
    assert run_cases(folder, range(200)) == []


@pytest.mark.slow
def test_a_thousand_mutated_inputs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("it asked"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert run_cases(folder, range(200, 1200)) == []


@pytest.mark.parametrize("kind", ["fifo", "device", "folder", "loop", "empty", "none"])
def test_what_is_no_file(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "clip.wav"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    elif kind == "loop":
        path.symlink_to(path)
    elif kind == "empty":
        path.write_bytes(b"")
    with limited(), pytest.raises(BadClip):
        read_audio(path)


@pytest.mark.parametrize("rate_hz", [1, 100, 2**31 - 1])
def test_rates_that_no_recorder_has(rate_hz: int, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "clip.wav", np.full(20_000, 0.1), rate_hz)
    with limited(), pytest.raises(BadClip):
        read_audio(tmp_path / "clip.wav")


@pytest.mark.parametrize(
    "name", ["a\0.wav", ".", "..", "loop.wav", "\ud800.wav", "x" * 200_000, "~nosuchuser/a.wav", ""]
)
def test_paths_of_a_manifest_that_name_no_clip(name: str, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "good.wav", 0.1 * np.sin(np.arange(16_000) / 10), 16_000)
    (tmp_path / "loop.wav").symlink_to(tmp_path / "loop.wav")
    rows = [{"path": "good.wav", "sentence": "one"}, {"path": name, "sentence": "two"}]
    (tmp_path / "list.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    with limited():
        corpus = list_utterances(DataConfig(source="manifest", root=str(tmp_path), train=str(tmp_path / "list.jsonl")))
    assert [item.path.name for item in corpus.splits["train"] if item.path and item.path.is_file()] == ["good.wav"]
    for item in corpus.splits["train"]:
        if item.path and item.path.name != "good.wav":
            with pytest.raises(BadClip):
                read_audio(item.path)
