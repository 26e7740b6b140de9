"""A demo corpus of synthetic speech, laid out like a Common Voice release.

Every clip belongs to one *voice list*: the sentences one voice speaks in one split, in order, on a
fresh library. The lists do not know of each other, so the bytes of a clip do not depend on the
number of processes.
"""

from __future__ import annotations

import csv
import hashlib
import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path

from unispeech_ft.errors import UserError
from unispeech_ft.testing.prompts import LANGUAGES, Split, distinct_sentences, prompt_book
from unispeech_ft.testing.recording import Clip, VoiceList, record
from unispeech_ft.testing.voices import voices

SPLITS: tuple[Split, ...] = ("train", "dev", "test")
ACCENT = "synthetic (espeak-ng)"
TSV_COLUMNS = (
    "client_id",
    "path",
    "sentence_id",
    "sentence",
    "sentence_domain",
    "up_votes",
    "down_votes",
    "age",
    "gender",
    "accents",
    "variant",
    "locale",
    "segment",
)

_FORMAT = 1
_MARKER = "synthetic_corpus.json"
_MIN_SECONDS_PER_VOICE = 12.0
_MIN_MEAN_CLIP_S = 1.8
_CLIP_NUMBERS_PER_SPLIT = 100_000
_MAX_HOURS = 40.0
_NOTICE = """# Synthetic speech

Nothing in this folder is a human voice. Every clip was spoken by espeak-ng, and every sentence was made from a
template. The folder has the layout of a Common Voice release so that it can stand in for one in a demo or a test;
it is not part of Common Voice, and error rates on it say nothing about the recognition of people.

How it was made: see `synthetic_corpus.json`, and `scripts/make_demo_corpus.py` of unispeech_ft.
"""


@dataclass(frozen=True)
class CorpusParameters:
    """What decides every byte of a corpus; durations in hours for each language."""

    languages: tuple[str, ...]
    train_hours: float
    dev_hours: float
    test_hours: float
    seed: int
    versions: tuple[str, ...]
    format: int = _FORMAT

    def hours(self, split: Split) -> float:
        """How much speech a split is to have."""
        return {"train": self.train_hours, "dev": self.dev_hours, "test": self.test_hours}[split]


def make_corpus(
    root: str | Path,
    languages: Sequence[str] = LANGUAGES,
    *,
    train_hours: float = 1.0,
    dev_hours: float = 0.1,
    test_hours: float = 0.15,
    seed: int = 0,
    processes: int = 1,
) -> Path:
    """Write a synthetic corpus; leave an identical one as it is, replace another synthetic one.

    Example:
        >>> root = make_corpus("/tmp/demo", ["ky"], train_hours=0.05)  # doctest: +SKIP

    Args:
        root: the folder to make; it holds one folder for each language.
        languages: any of ``ky fr es it en``.
        train_hours: hours of training speech for each language.
        dev_hours: hours of development speech for each language.
        test_hours: hours of test speech for each language.
        seed: decides sentences and noise; the number of processes changes nothing.
        processes: how many processes speak and encode; with more than one, the calling script
            needs an ``if __name__ == "__main__"`` guard.

    Returns:
        The root folder.

    Raises:
        UserError: an unknown language, no language, an amount out of range, or a root that holds
            something else.
    """
    root = Path(root).absolute()
    parameters = CorpusParameters(
        tuple(dict.fromkeys(languages)), train_hours, dev_hours, test_hours, seed, _versions()
    )
    _check(parameters, processes)
    if _existing_parameters(root) == _as_json(parameters):
        return root
    _check_replaceable(root)
    root.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix=f".{root.name}_", dir=root.parent))
    try:
        _build(building, parameters, processes)
        _swap_in(building, root)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return root


def _swap_in(building: Path, root: Path) -> None:
    """Put the finished folder in the place of an empty folder or an older corpus."""
    building.chmod(0o755)
    if root.exists():
        older = building.with_name(f"{building.name}_older")
        os.replace(root, older)
        os.replace(building, root)
        shutil.rmtree(older)
    else:
        os.replace(building, root)


def plan(parameters: CorpusParameters) -> list[VoiceList]:
    """Deal distinct sentences to the voices of every split; pure."""
    return [
        voice_list
        for language in parameters.languages
        for split in SPLITS
        for voice_list in _plan_split(parameters, language, split)
    ]


def _plan_split(parameters: CorpusParameters, language: str, split: Split) -> list[VoiceList]:
    seconds = parameters.hours(split) * 3600
    speakers = voices(split)[: max(1, int(seconds / _MIN_SECONDS_PER_VOICE))]
    per_voice = math.ceil(seconds / len(speakers) / _MIN_MEAN_CLIP_S) + 1
    pool = distinct_sentences(prompt_book(language), split, parameters.seed, per_voice * len(speakers))
    first = SPLITS.index(split) * _CLIP_NUMBERS_PER_SPLIT
    numbered = [(first + index, sentence) for index, sentence in enumerate(pool)]
    return [
        VoiceList(
            language=language,
            split=split,
            voice=voice,
            seed=parameters.seed,
            max_seconds=seconds / len(speakers),
            numbered_sentences=tuple(numbered[index :: len(speakers)]),
        )
        for index, voice in enumerate(speakers)
    ]


def _build(folder: Path, parameters: CorpusParameters, processes: int) -> None:
    for language in parameters.languages:
        (folder / language / "clips").mkdir(parents=True)
    voice_lists = plan(parameters)
    folders = [folder / voice_list.language / "clips" for voice_list in voice_lists]
    if processes == 1:
        spoken = list(map(record, voice_lists, folders))
    else:
        with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
            spoken = list(pool.map(record, voice_lists, folders))
    clips = [clip for recorded in spoken for clip in recorded]
    for language in parameters.languages:
        _write_tables(folder / language, [clip for clip in clips if clip.language == language])
    (folder / "SYNTHETIC.md").write_text(_NOTICE, encoding="utf-8")
    (folder / _MARKER).write_text(_as_json(parameters), encoding="utf-8")


def _write_tables(folder: Path, clips: Sequence[Clip]) -> None:
    for split in SPLITS:
        _write_tsv(folder / f"{split}.tsv", TSV_COLUMNS, [_row(clip) for clip in clips if clip.split == split])
    _write_tsv(folder / "validated.tsv", TSV_COLUMNS, map(_row, clips))
    _write_tsv(
        folder / "clip_durations.tsv",
        ("clip", "duration[ms]"),
        [(clip.path, str(clip.duration_ms)) for clip in clips],
    )


def _row(clip: Clip) -> tuple[str, ...]:
    sentence_id = hashlib.sha256(clip.sentence.encode("utf-8")).hexdigest()
    values = {
        "client_id": clip.client_id,
        "path": clip.path,
        "sentence_id": sentence_id,
        "sentence": clip.sentence,
        "up_votes": "2",
        "down_votes": "0",
        "accents": ACCENT,
        "locale": clip.language,
    }
    return tuple(values.get(column, "") for column in TSV_COLUMNS)


def _write_tsv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n", quoting=csv.QUOTE_NONE, quotechar=None)
        writer.writerow(columns)
        writer.writerows(rows)


def _versions() -> tuple[str, ...]:
    packages = ("espeakng-loader", "soundfile", "soxr", "numpy")
    return tuple(f"{package} {version(package)}" for package in packages)


def _as_json(parameters: CorpusParameters) -> str:
    plan_sha256 = hashlib.sha256(repr(plan(parameters)).encode("utf-8")).hexdigest()
    marker = {"synthetic": True, **asdict(parameters), "plan_sha256": plan_sha256}
    return json.dumps(marker, indent=2) + "\n"


def _existing_parameters(root: Path) -> str | None:
    marker = root / _MARKER
    return marker.read_text(encoding="utf-8") if marker.is_file() else None


def _check(parameters: CorpusParameters, processes: int) -> None:
    if not parameters.languages:
        raise UserError("no language", remedy=f"name one or more of {', '.join(LANGUAGES)}")
    for language in parameters.languages:
        prompt_book(language)
    for split in SPLITS:
        if not 0 < parameters.hours(split) <= _MAX_HOURS:
            raise UserError(
                f"{split} hours: {parameters.hours(split)}",
                remedy=f"give a number above 0, at most {_MAX_HOURS:g}",
            )
    if processes < 1:
        raise UserError(f"processes: {processes}", remedy="give 1 or more")


def _check_replaceable(root: Path) -> None:
    if root.exists() and not (root / _MARKER).is_file() and any(root.iterdir()):
        raise UserError(
            f"{root} holds something other than a synthetic corpus",
            remedy="name an empty or new folder, or remove it yourself",
        )
