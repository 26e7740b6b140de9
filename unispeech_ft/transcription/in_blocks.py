"""A whole corpus → JSON lines, in blocks (`data.blocks`).

The folder holds `transcription.json` (what was asked for), `plan` (which recordings are in which block, listed once),
the blocks `part-NNNNN`, and in the end `transcripts.jsonl`, their lines in the order of the recordings.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from pathlib import Path

import torch

from unispeech_ft.data.blocks import Crew, Say, Work, deal, make_blocks, plan_once, planned, settle
from unispeech_ft.errors import UserError, raise_all
from unispeech_ft.models.saved import SavedModel, load_saved, weights_digest
from unispeech_ft.scoring.beam import Search, load_search
from unispeech_ft.transcription.decoding import Decoding
from unispeech_ft.transcription.timed import as_json
from unispeech_ft.transcription.transcripts import audio_files, transcribe_files

INFO, PART, TRANSCRIPTS, FAULTS = "transcription.json", "part", "transcripts.jsonl", "faults.json"
# A block has about so many bytes of recordings: an hour of compressed speech or two, minutes of uncompressed.
BLOCK_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Transcribing:
    """What is asked for.

    Attributes:
        audio: files, and folders of files.
        model, revision: see `load_saved`.
        beam: folder of a phone n-gram; None decodes greedily.
        channel: of recordings with several, from 0; None for the mean of all.
        alternatives: so many other phones are given with each.
    """

    audio: list[str]
    model: str
    revision: str | None
    beam: str | None
    channel: int | None
    alternatives: int = 0

    def settled(self) -> dict[str, object]:
        """What a folder keeps of it."""
        return {key: value for key, value in asdict(self).items() if key != "alternatives" or value}


@lru_cache(maxsize=1)
def _opened(model: str, revision: str | None, beam: str | None) -> tuple[SavedModel, Search | None, str]:
    """The model, the search, and what tells the weights from others; loaded once in a process."""
    saved = load_saved(model, "cuda" if torch.cuda.is_available() else "cpu", revision=revision)
    search = load_search(Path(beam), saved.tokenizer)[0] if beam else None
    return saved, search, weights_digest(saved.built.model)


def _plan(audio: list[str]) -> list[list[str]]:
    files, faults = audio_files(audio)
    raise_all(faults)
    sizes = [file.stat().st_size if file.is_file() else 0 for file in files]
    return deal(list(map(str, files)), sizes, BLOCK_BYTES)


def _fill_part(asked: Transcribing, weights: str, out: Path, number: int, folder: Path) -> str:
    saved, search, own = _opened(asked.model, asked.revision, asked.beam)
    if own != weights:
        raise UserError(f"{asked.model} is another model for a worker", remedy="give all machines the same")
    files = [Path(name) for name in planned(out, number)]
    faults = []
    with (folder / TRANSCRIPTS).open("w", encoding="utf-8", errors="surrogateescape") as lines:
        decoding = Decoding(search, alternatives=asked.alternatives)
        for found in transcribe_files(saved, files, decoding=decoding, channel=asked.channel):
            if isinstance(found, UserError):
                faults.append((found.what, found.remedy))
            else:
                lines.write(as_json(found) + "\n")
    (folder / FAULTS).write_text(json.dumps(faults), encoding="utf-8")
    return f"part {number + 1}: {len(files) - len(faults)} recordings"


def transcribe_in_blocks(asked: Transcribing, out: Path, crew: Crew, say: Say) -> list[UserError]:
    """Makes what is missing of a folder of transcripts.

    Args:
        say: takes lines for people.

    Returns:
        A fault for each recording that has no transcript.

    Raises:
        UserError: there is no such model or no recording, the folder holds other transcripts, or the workers failed.
        OSError: it cannot be written.
    """
    weights = _opened(asked.model, asked.revision, asked.beam)[2]
    settle(out / INFO, asked.settled() | {"weights": weights})
    num_parts = plan_once(out, partial(_plan, asked.audio))
    work = Work(out, PART, num_parts, partial(_fill_part, asked, weights, out), gpu=True)
    make_blocks(work, crew, say)
    parts = list(map(work.folder, range(num_parts)))
    partial_file = out / f".{TRANSCRIPTS}"
    with partial_file.open("wb") as whole:
        for part in parts:
            with (part / TRANSCRIPTS).open("rb") as lines:
                shutil.copyfileobj(lines, whole)
    partial_file.replace(out / TRANSCRIPTS)
    return list(_faults(parts))


def _faults(parts: list[Path]) -> Iterator[UserError]:
    for part in parts:
        for what, remedy in json.loads((part / FAULTS).read_text(encoding="utf-8")):
            yield UserError(what, remedy=remedy)
