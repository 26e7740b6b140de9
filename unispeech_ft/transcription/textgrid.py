"""Transcripts as Praat TextGrids, written by praatio: tiers `words`, where they are known, and `phones`,
contiguous, pauses as empty intervals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from unispeech_ft.errors import UserError, first_line, raise_all
from unispeech_ft.transcription.transcripts import Transcript

TIER, WORD_TIER = "phones", "words"
# Praat compares times; digits below the microsecond are noise of binary fractions.
DIGITS = 6
ENDING = ".TextGrid"


def textgrid_paths(folder: Path, given: Iterable[str | Path], files: Sequence[Path]) -> list[Path]:
    """`output_paths` of TextGrids."""
    return output_paths(folder, given, files, ENDING)


def output_paths(folder: Path, given: Iterable[str | Path], files: Sequence[Path], ending: str) -> list[Path]:
    """Where the file of each recording goes: by its name, below `folder` as it lies below the folder searched.

    Args:
        folder: of the files.
        given: recordings and folders as the user named them.
        files: the recordings.

    Raises:
        UserError: two recordings would write the same file.
    """
    searched = [path for path in map(Path, given) if path.is_dir()]
    paths = []
    for file in files:
        root = next((root for root in searched if file.is_relative_to(root)), None)
        paths.append(folder / (file.relative_to(root) if root else Path(file.name)).with_suffix(ending))
    same = [path for path, count in Counter(paths).items() if count > 1]
    remedy = "give them different names, or transcribe them into different folders"
    raise_all([UserError(f"several recordings would write {path}", remedy=remedy) for path in same])
    return paths


def write_textgrid(transcript: Transcript, path: Path) -> None:
    """Writes the words and phones of a recording; see `write_tiers`."""
    tiers = {TIER: [(item.start_s, item.end_s, item.phone) for item in transcript.phones]}
    if transcript.words:
        tiers = {WORD_TIER: [(item.start_s, item.end_s, item.word) for item in transcript.words]} | tiers
    write_tiers(path, transcript.duration_s, tiers)


def read_phones(path: Path) -> list[tuple[float, float, str]]:
    """(start, end, phone) in seconds of the tier `phones`, pauses as empty phones.

    Raises:
        UserError: it cannot be read, or has no such tier.
    """
    from praatio import textgrid
    from praatio.utilities.errors import PraatioException

    try:
        grid = textgrid.openTextgrid(str(path), includeEmptyIntervals=True)
        return [(item.start, item.end, item.label) for item in grid.getTier(TIER).entries]
    except (OSError, ValueError, KeyError, IndexError, PraatioException) as error:
        raise UserError(
            f"{path} cannot be read ({first_line(error)})", remedy=f"give TextGrids with a tier named {TIER}"
        ) from None


def write_tiers(path: Path, duration_s: float, tiers: Mapping[str, Sequence[tuple[float, float, str]]]) -> None:
    """Writes one TextGrid (UTF-8, Praat's long form); its folder is made if missing.

    Args:
        tiers: (start, end, label) in seconds, by the name of the tier.

    Raises:
        UserError: it cannot be written.
    """
    from praatio.data_classes.interval_tier import IntervalTier
    from praatio.data_classes.textgrid import Textgrid

    end_s = round(duration_s, DIGITS)
    grid = Textgrid(0.0, end_s)
    for name, entries in tiers.items():
        spans = [(round(start, DIGITS), min(round(end, DIGITS), end_s), label) for start, end, label in entries]
        grid.addTier(IntervalTier(name, spans, 0.0, end_s))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        grid.save(str(path), format="long_textgrid", includeBlankSpaces=True)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror})", remedy="choose another folder") from error
