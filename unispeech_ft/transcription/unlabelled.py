"""Recordings that nobody labelled: files, folders of them, and tables that say who speaks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from unispeech_ft.data.held_out import Speakers, held_out, recordings_of
from unispeech_ft.data.sources.manifest import (
    END_COLUMNS,
    PATH_COLUMNS,
    SPEAKER_COLUMNS,
    START_COLUMNS,
    cell_text,
    find_clip,
)
from unispeech_ft.data.sources.published import speakers_of_release
from unispeech_ft.data.sources.tables import ENDINGS, read_table, require_column
from unispeech_ft.data.utterances import Corpus
from unispeech_ft.errors import UserError, warn
from unispeech_ft.transcription.transcripts import audio_files

KEY = "--unlabelled"


class Recording(NamedTuple):
    """A file, and who speaks in it; None where nobody says so."""

    path: Path
    speaker: str | None = None


def list_recordings(names: Iterable[str | Path]) -> tuple[list[Recording], list[UserError]]:
    """The recordings that are named, each once, and what is wrong with the names.

    Args:
        names: files; folders, which stand for all audio files below them; tables with a column of paths and, where
            it is known who speaks, one of speakers. Clips of a Common Voice release have the speakers of its tables.
    """
    tables: list[Path] = []
    others: list[Path] = []
    for path in map(Path, names):
        (tables if path.suffix.lower() in ENDINGS and not path.is_dir() else others).append(path)
    files, faults = audio_files(others)
    faults += [UserError(f"{file}: no such file", remedy="check the path") for file in files if not file.is_file()]
    listed: list[Recording] = []
    for table in tables:
        try:
            listed += _listed(table)
        except UserError as fault:
            faults.append(fault)
    # The first word on who speaks stands.
    found: dict[Path, Recording] = {}
    for item in (*listed, *map(Recording, files)):
        place = item.path.resolve()
        if place not in found or found[place].speaker is None:
            found[place] = item
    return _with_speakers(list(found.values())), faults


def _listed(table: Path) -> list[Recording]:
    rows = read_table(table, KEY)
    path, speaker, *times = (
        require_column(rows, None, names, KEY, table)
        for names in (PATH_COLUMNS, SPEAKER_COLUMNS, START_COLUMNS, END_COLUMNS)
    )
    if path is None:
        wanted = f"name it path; the table has {', '.join(rows.columns) or 'none'}"
        raise UserError(f"{KEY}: {table.name} has no column of audio paths", remedy=wanted)
    if any(times):
        cut = next(filter(None, times))
        raise UserError(
            f"{KEY}: {table.name} names stretches of recordings ({cut}), but whole ones are transcribed",
            remedy=f"cut them out, or remove the column {cut}",
        )
    found: list[Recording] = []
    faults = [reason for _, reason in rows.faults]
    for _, values in rows.rows:
        place = _file(cell_text(values, path), table.absolute().parent)
        if isinstance(place, Path):
            found.append(Recording(place, cell_text(values, speaker)))
        else:
            faults.append(place)
    if not found:
        raise UserError(f"{KEY}: {table.name} names no recording that is there ({faults[0]})", remedy="check its paths")
    if faults:
        warn(f"{table}: {len(faults)} rows are left out, the first since {faults[0]}")
    return found


def _file(name: str | None, folder: Path) -> Path | str:
    """The file that a row names, beside its table or, as Common Voice has them, in `clips`; else why there is none."""
    if not name:
        return "it has no path"
    places = (find_clip(name, place, Path(folder.anchor)) for place in (folder, folder / "clips"))
    return next((place for place in places if isinstance(place, Path) and place.is_file()), f"{name} is not there")


def _with_speakers(recordings: Sequence[Recording]) -> list[Recording]:
    """The recordings, those that nobody names a speaker of with the one that the tables of their release name."""
    clips: dict[Path, set[str]] = defaultdict(set)
    for item in recordings:
        folder = item.path.absolute().parent
        if item.speaker is None and folder.name == "clips":
            clips[folder.parent].add(item.path.stem)
    of = {
        release / "clips" / name: speaker
        for release, names in clips.items()
        for name, speaker in speakers_of_release(release, names).items()
    }
    return [item._replace(speaker=item.speaker or of.get(item.path.absolute().with_suffix(""))) for item in recordings]


def outside(corpus: Corpus, recordings: Sequence[Recording]) -> tuple[list[Recording], list[str]]:
    """Those that are neither of the corpus nor of somebody who is in validation or test, and lines on the others and
    on what does not say who speaks."""
    there = recordings_of(item for split in corpus.splits.values() for item in split)
    tested = held_out(corpus)
    speakers = Speakers(item.speaker for item in tested)
    strange = [item for item in recordings if item.path not in there]
    kept = [item for item in strange if item.speaker not in speakers]
    unknown = sum(item.speaker is None for item in kept)
    counts = {
        "recordings are left out: they are in the corpus": len(recordings) - len(strange),
        "recordings are left out: their speakers are in validation or test": len(strange) - len(kept),
        "recordings do not say who speaks: nobody of validation or test may be in them": unknown,
    }
    lines = [f"{count} of {len(recordings)} {said}" for said, count in counts.items() if count]
    if nameless := sum(not item.speaker for item in tested):
        said = "utterances of validation and test do not say who speaks: none of these people may be in the recordings"
        lines.append(f"{nameless} of {len(tested)} {said}")
    return kept, lines
