"""Source `common_voice`: a release folder, its language folder, the release's `.tar.gz` itself, or its name."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from pathlib import Path, PurePosixPath

from unispeech_ft.config.sections import DataConfig
from unispeech_ft.data.archives import DAMAGE, members
from unispeech_ft.data.sources.collective import fetch_release, is_named
from unispeech_ft.data.sources.tables import read_table
from unispeech_ft.data.utterances import (
    FILTERED,
    SPLIT_NAMES,
    SPLITS,
    SYNTHETIC_MARK,
    Corpus,
    Rejected,
    Split,
    Utterance,
    hold_out,
    not_read,
    unique_ids,
)
from unispeech_ft.errors import UserError, first_line
from unispeech_ft.files import atomic_folder

DEFAULT_NAMES: dict[Split, str] = {"train": "train", "validation": "dev", "test": "test"}
DEMO_FOLDER = Path("data/demo")  # where `unispeech-ft demo` leaves its synthetic release
_ARCHIVES = (".tar.gz", ".tgz", ".tar")


def _is_language_folder(folder: Path) -> bool:
    return (folder / "clips").is_dir() and any(folder.glob("*.tsv")) or _spontaneous(folder) is not None


def _spontaneous(folder: Path) -> Path | None:
    """The table of a spontaneous-speech corpus, which stands beside a folder `audios`; None in other folders."""
    return next(iter(sorted(folder.glob("ss-corpus-*.tsv"))), None) if (folder / "audios").is_dir() else None


def find_language_folder(root: Path, language: str) -> Path:
    """The folder with `clips/` and the TSV files, from a release folder or from itself.

    Raises:
        UserError: there is none; the languages that are there are named.
    """
    if not root.exists():
        made = "`unispeech-ft demo` makes it, and trains on it"
        remedy = made if root == DEMO_FOLDER else "check the path of the Common Voice release"
        raise UserError(f"data.root: no such folder or archive {root}", remedy=remedy)
    candidates = [root / language, *sorted(root.glob(f"*/{language}"))]
    if root.name == language or not any(_is_language_folder(folder) for folder in candidates):
        candidates.insert(0, root)
    for folder in candidates:
        if _is_language_folder(folder):
            return folder
    there = sorted({tsv.parent.name for pattern in ("*/*.tsv", "*/*/*.tsv") for tsv in root.glob(pattern)})
    raise UserError(
        f"data.root: {root} holds no Common Voice data for {language!r} (a folder with clips/ and train.tsv)",
        remedy=f"it holds {', '.join(there)}; set data.language" if there else "name the release's folder or .tar.gz",
    )


def unpack_release(archive: Path, language: str, cache_dir: Path) -> Path:
    """Unpacks one language of a release archive into the cache, once; returns the folder to look in.

    Only plain files below their own folder are taken, within the limits of `data.archives`. The folder is keyed by the
    archive's path, size and time, and appears whole or not at all.

    Raises:
        UserError: the file is not a readable archive, or lacks the language.
    """
    stat = archive.stat()
    key = hashlib.sha256(f"{archive.resolve()}\t{stat.st_size}\t{stat.st_mtime_ns}\t{language}".encode()).hexdigest()
    target = cache_dir / "releases" / key[:16]
    if target.is_dir():
        return target
    try:
        with atomic_folder(target) as partial:
            for tar, member in members(archive):
                parts = PurePosixPath(member.name).parts
                if language in parts[:-1] or parts[-1:] == (SYNTHETIC_MARK,):
                    tar.extract(member, partial, filter="data")
            find_language_folder(partial, language)
    except UserError:
        raise UserError(f"data.root: {archive} holds no folder {language}", remedy="check data.language") from None
    except DAMAGE as error:
        raise UserError(
            f"data.root: {archive} cannot be unpacked ({first_line(error)})",
            remedy="download the archive again, or free disk space",
        ) from None
    return target


def _read_split(folder: Path, name: str, split: Split) -> tuple[list[Utterance], list[Rejected]]:
    path = folder / f"{name.removesuffix('.tsv')}.tsv"
    if not path.is_file():
        there = ", ".join(sorted(tsv.stem for tsv in folder.glob("*.tsv")))
        raise UserError(f"data.{split}: {folder} has no {path.name}", remedy=f"name one of {there}")
    table = read_table(path, f"data.{split}")
    for column in ("path", "sentence"):
        if column not in table.columns:
            raise UserError(f"data.{split}: {path} has no column {column}", remedy="is this a Common Voice TSV?")
    utterances = []
    rejected = [Rejected(split, f"{path.name}:{line}", reason) for line, reason in table.faults]
    lines: dict[tuple[str, str], int] = {}
    for line, row in table.rows:
        clip = row["path"].strip()
        first = lines.setdefault((clip, row["sentence"].strip()), line)
        if first != line:
            rejected.append(Rejected(split, f"{path.name}:{line}", f"{FILTERED}the same as line {first}"))
            continue
        if not clip or PurePosixPath(clip).name != clip:
            rejected.append(Rejected(split, f"{path.name}:{line}", f"its path {clip!r} is no clip name"))
            continue
        # Releases before 2020 name clips without their ending.
        clip = clip if PurePosixPath(clip).suffix else clip + ".mp3"
        speaker = row.get("client_id") or None
        utterances.append(
            Utterance(PurePosixPath(clip).stem, folder / "clips" / clip, row["sentence"].strip(), None, speaker)
        )
    return utterances, rejected


def open_release(data: DataConfig) -> Path:
    """The language folder that the configuration means, unpacked first where it is an archive."""
    root = Path(str(data.root)).expanduser()
    if is_named(data.root):
        root = fetch_release(str(data.root), Path(data.cache_dir).expanduser())
    if root.is_file():
        if not root.name.endswith(_ARCHIVES):
            raise UserError(
                f"data.root: {root} is a file, but not a .tar.gz", remedy="name the release folder or archive"
            )
        root = unpack_release(root, str(data.language), Path(data.cache_dir).expanduser())
    return find_language_folder(root, str(data.language))


def _list_spontaneous(path: Path, data: DataConfig) -> Corpus:
    """A corpus of answers to questions: what nobody has transcribed, or put into a split, is left out."""
    table = read_table(path, "data.root")
    lacking = [name for name in ("audio_file", "transcription") if name not in table.columns]
    if lacking:
        raise UserError(f"data.root: {path} has no column {lacking[0]}", remedy="is this a Common Voice TSV?")
    rejected = [Rejected("train", f"{path.name}:{line}", reason) for line, reason in table.faults]
    found: list[tuple[Utterance, str]] = []
    lines: dict[tuple[str, str], int] = {}
    with_splits = any(str(row.get("split") or "").strip() for _, row in table.rows)
    for line, row in table.rows:
        clip, text = row["audio_file"].strip(), row["transcription"].strip()
        split = str(row.get("split") or "").strip().lower()
        reason = ""
        if not clip or PurePosixPath(clip).name != clip:
            reason = f"its audio_file {clip!r} is no clip name"
        elif not text:
            reason = f"{FILTERED}not transcribed"
        elif with_splits and split not in SPLIT_NAMES:
            reason = f"{FILTERED}its split is {split or 'not named'}"
        elif lines.setdefault((clip, text), line) != line:
            reason = f"{FILTERED}the same as line {lines[clip, text]}"
        if reason:
            rejected.append(Rejected("train", f"{path.name}:{line}", reason))
            continue
        speaker = row.get("client_id") or None
        found.append((Utterance(PurePosixPath(clip).stem, path.parent / "audios" / clip, text, None, speaker), split))
    notes = []
    if with_splits:
        splits = {split: [u for u, name in found if SPLIT_NAMES[name] == split] for split in SPLITS}
    else:
        splits, how = hold_out([utterance for utterance, _ in found], data.hold_out)
        notes.append(f"a corpus without splits: {how}")
    return Corpus({split: unique_ids(utterances) for split, utterances in splits.items()}, rejected, notes=notes)


def list_common_voice(data: DataConfig, wanted: Collection[Split] = SPLITS) -> Corpus:
    """The utterances of the release's own splits.

    Args:
        wanted: see `data.sources.list_utterances`.

    Raises:
        UserError: release, language, split or column is missing.
    """
    folder = open_release(data)
    table = _spontaneous(folder)
    if table is not None:
        return _list_spontaneous(table, data)
    splits: dict[Split, list[Utterance]] = {split: [] for split in SPLITS}
    rejected: list[Rejected] = []
    notes: list[str] = []
    for split in SPLITS:
        try:
            utterances, faults = _read_split(folder, getattr(data, split) or DEFAULT_NAMES[split], split)
        except UserError as fault:
            notes.append(not_read(split, wanted, fault))
            continue
        splits[split] = unique_ids(utterances)
        rejected += faults
    synthetic = any((parent / SYNTHETIC_MARK).exists() for parent in (folder, folder.parent))
    return Corpus(splits, rejected, synthetic=True if synthetic else None, notes=notes)
