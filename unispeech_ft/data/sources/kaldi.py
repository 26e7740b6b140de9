"""Folders in Kaldi's layout: `wav.scp` and `text`, with or without `segments` and `utt2spk`."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

from unispeech_ft.config.sections import DataConfig
from unispeech_ft.data.sources.tables import read_lines
from unispeech_ft.data.utterances import FILTERED, Utterance
from unispeech_ft.errors import UserError

Rejections = list[tuple[str, str]]


def is_kaldi(folder: Path) -> bool:
    return (folder / "wav.scp").is_file() and (folder / "text").is_file()


def _pairs(path: Path, rejected: Rejections) -> Iterator[tuple[int, str, str]]:
    """(line, first word, rest) of each line."""
    if not path.is_file():
        return
    for number, line in read_lines(path.read_bytes()):
        if line is None:
            rejected.append((f"{path.name}:{number}", "not UTF-8"))
            continue
        name, *rest = line.split(None, 1)
        yield number, name, rest[0].strip() if rest else ""


def list_kaldi(folder: Path, root: Path, data: DataConfig, key: str) -> tuple[list[Utterance], Rejections]:
    """The utterances of a folder, and the lines of `text`, `segments` and `wav.scp` that cannot be used.

    Raises:
        UserError: none of its recordings is a file.
    """
    rejected: Rejections = []
    recordings: dict[str, Path] = {}
    for number, name, where in _pairs(folder / "wav.scp", rejected):
        places = [path for base in (folder, root) if os.path.isfile(path := base / where)]
        if name in recordings:
            rejected.append((f"wav.scp:{number}", f"{name} stands there already"))
        elif where.endswith("|") or not places:
            reason = "a command, not a file" if where.endswith("|") else f"no such file {where[:200]}"
            rejected.append((f"wav.scp:{number}", reason))
        else:
            recordings[name] = places[0]
    if not recordings:
        raise UserError(
            f"{key}: no recording of {folder / 'wav.scp'} is a file",
            remedy="write lines of id and path; run its commands once, and name the files they make",
        )
    spans: dict[str, tuple[str, float | None, float | None]] = {name: (name, None, None) for name in recordings}
    if (folder / "segments").is_file():
        spans = {}
        for number, name, rest in _pairs(folder / "segments", rejected):
            try:
                recording, start_s, end_s = _span(rest)
            except ValueError:
                rejected.append((f"segments:{number}", "not utterance, recording, start and a later end in seconds"))
                continue
            if name in spans:
                rejected.append((f"segments:{number}", f"{name} stands there already"))
            else:
                spans[name] = (recording, start_s, end_s)
    speakers = {name: speaker for _, name, speaker in _pairs(folder / "utt2spk", rejected)}
    found, said = [], set()
    for number, name, text in _pairs(folder / "text", rejected):
        if name in said:
            rejected.append((f"text:{number}", f"{name} stands there already"))
            continue
        said.add(name)
        recording, first_s, last_s = spans.get(name, ("", None, None))
        if not text:
            rejected.append((f"text:{number}", f"{FILTERED}no sentence"))
        elif recording not in recordings:
            rejected.append((f"text:{number}", f"no recording of {name}"))
        else:
            found.append(Utterance(name, recordings[recording], text, None, speakers.get(name), first_s, last_s))
    listed = "segments" if (folder / "segments").is_file() else "wav.scp"
    rejected += [(f"{listed}, {name}", f"{FILTERED}no sentence in text") for name in spans if name not in said]
    return found, rejected


def _span(rest: str) -> tuple[str, float, float | None]:
    """Recording, start and end in seconds; a negative end is the recording's.

    Raises:
        ValueError: they are none.
    """
    recording, start, end = rest.split()
    start_s, end_s = float(start), float(end)
    if not (0 <= start_s < math.inf and (end_s < 0 or start_s < end_s < math.inf)):
        raise ValueError(rest)
    return recording, start_s, None if end_s < 0 else end_s
