"""The published 1-hour split lists, joined to any Common Voice release by clip name.

The lists are those of Rivière et al. (2020) as the UniSpeech authors published them, a folder for each language:
`*Seqs*_16k.tsv` (clip and samples at 16 kHz), `.text` (id and sentence), `_16k.id` (label ids) line by line alike, and
`phonesMatches_reduced.json` (phone → id).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from unispeech_ft.config.sections import DataConfig
from unispeech_ft.data.audio import AUDIO_ENDINGS, SAMPLE_RATE_HZ
from unispeech_ft.data.sources.common_voice import open_release
from unispeech_ft.data.sources.tables import read_table
from unispeech_ft.data.utterances import SPLITS, SYNTHETIC_MARK, Corpus, Rejected, Split, Utterance, not_read
from unispeech_ft.errors import UserError, first_line
from unispeech_ft.files import parse_json

LIST_PATTERNS: dict[Split, str] = {
    "train": "trainSeqs*_16k.tsv",
    "validation": "valSeqs*_16k.tsv",
    "test": "testSeqs*_16k.tsv",
}
# Clips of train, validation and test (UniSpeech, data folder of its public repository).
PUBLISHED_CLIPS: dict[str, tuple[int, int, int]] = {
    "es": (818, 245, 813),
    "fr": (844, 254, 851),
    "it": (720, 223, 706),
    "ky": (750, 227, 752),
    "nl": (926, 276, 912),
    "ru": (697, 202, 688),
    "sv": (1150, 348, 1182),
}
USUAL_FIRST = (".mp3", *(ending for ending in AUDIO_ENDINGS if ending != ".mp3"))
# Digits of the length of a clip.
LONGEST_NUMBER = 12
LACKS = "the release lacks this clip"


@dataclass(frozen=True)
class ListedClip:
    """One line of a list: clip, length at 16 kHz, sentence, and the published labels where they are there."""

    id: str
    num_samples: int
    text: str
    phones: tuple[str, ...] | None


def list_folder(splits: str, language: str) -> Path:
    """The folder of one language's lists, from itself or the folder above.

    Raises:
        UserError: there are none.
    """
    root = Path(splits).expanduser()
    for folder in (root / language, root / language.split("-")[0], root):
        if any(folder.glob(LIST_PATTERNS["train"])):
            return folder
    raise UserError(
        f"data.splits: no lists for {language} in {root}",
        remedy=f"fetch them (python scripts/fetch_splits.py {root} --languages {language}), or set data.splits release",
    )


def _damaged(path: Path, reason: str) -> UserError:
    return UserError(f"data.splits: {path} cannot be read ({reason})", remedy="fetch the lists again")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"data.splits: no file {path}", remedy="fetch the lists again") from None
    except (OSError, ValueError) as error:
        raise _damaged(path, first_line(error)) from None


def read_lines(path: Path) -> list[str]:
    """The lines of one of the lists' files.

    Raises:
        UserError: it is missing or damaged.
    """
    return _text(path).rstrip("\n").split("\n")


def read_dictionary(folder: Path) -> list[str]:
    """Phones in the order of their ids; a row that the published dictionary leaves empty is `<unused ROW>`."""
    path = folder / "phonesMatches_reduced.json"
    if not path.is_file():
        raise UserError(
            f"data.splits: no file {path}", remedy="fetch the lists again, or set phonemes.labels to espeak"
        )
    try:
        rows = {row: phone for phone, row in parse_json(_text(path)).items()}
        return [rows[row] or f"<unused {row}>" for row in range(len(rows))]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise _damaged(path, "not phones with ids from 0 on") from None


def read_list(folder: Path, split: Split, *, with_labels: bool) -> list[ListedClip]:
    """The clips of one list, empty where the folder has no list of this split.

    Raises:
        UserError: a file is missing or damaged, or the files do not agree line by line.
    """
    tables = sorted(folder.glob(LIST_PATTERNS[split]))
    if not tables:
        return []
    table = tables[0]
    rows = [line.split("\t") for line in read_lines(table)[1:]]
    texts = [line.split("\t", 1) for line in read_lines(table.with_name(table.name.replace("_16k.tsv", ".text")))]
    phones: list[tuple[str, ...] | None] = [None] * len(rows)
    if with_labels:
        labels = table.with_suffix(".id")
        dictionary = {str(row): phone for row, phone in enumerate(read_dictionary(folder))}
        try:
            phones = [tuple(dictionary[label] for label in line.split()) for line in read_lines(labels)]
        except KeyError as error:
            raise _damaged(labels, f"no phone has the id {first_line(error)}") from None
    names = [PurePosixPath(row[0]).stem for row in rows]
    if names != [text[0] for text in texts] or len(phones) != len(rows):
        raise UserError(
            f"data.splits: the files of {table.stem} do not agree line by line", remedy="fetch the lists again"
        )
    return [
        ListedClip(name, _num_samples(row, table), text[-1], labelled)
        for name, row, text, labelled in zip(names, rows, texts, phones, strict=True)
    ]


def _num_samples(row: list[str], table: Path) -> int:
    if len(row) < 2 or not row[1].isdecimal() or len(row[1]) > LONGEST_NUMBER:
        raise _damaged(table, f"no length in samples beside {row[0][:80]}")
    return int(row[1])


def find_clips(folder: Path, names: Iterable[str]) -> dict[str, Path]:
    """Where each clip stands below a release's language folder, whatever its ending; those that are not there lack."""
    found, missing = {}, set()
    for name in names:
        path = next((p for suffix in USUAL_FIRST if (p := folder / "clips" / (name + suffix)).is_file()), None)
        if path is None:
            missing.add(name)
        else:
            found[name] = path
    if missing:
        for path in folder.rglob("*"):
            if path.stem in missing and path.suffix.lower() in USUAL_FIRST:
                found.setdefault(path.stem, path)
    return found


def speakers_of_release(folder: Path, wanted: set[str]) -> dict[str, str]:
    """client_id by clip, from all TSV files of a release's language folder."""
    speakers: dict[str, str] = {}
    for tsv in sorted(folder.glob("*.tsv")):
        with tsv.open(encoding="utf-8", errors="replace") as file:
            if not {"client_id", "path"} <= set(file.readline().rstrip("\r\n").replace('"', "").split("\t")):
                continue
        for _, row in read_table(tsv, "data.root").rows:
            name = PurePosixPath(row["path"]).stem
            if name in wanted and row["client_id"]:
                speakers[name] = row["client_id"]
    return speakers


def _listed_only(clips: dict[Split, list[ListedClip]], notes: list[str]) -> Corpus:
    splits = {s: [Utterance(c.id, None, c.text, c.phones) for c in clips[s]] for s in SPLITS}
    samples = {clip.id: clip.num_samples for listed in clips.values() for clip in listed}
    notes = [*notes, "no data.root: lengths are those in the published lists, no audio was looked at"]
    return Corpus(splits, listed_samples=samples, notes=notes)


def list_published(data: DataConfig, *, with_labels: bool, wanted: Collection[Split] = SPLITS) -> Corpus:
    """The published lists, joined to the release in `data.root`; without a root, the lists alone (for a dry run).

    Args:
        wanted: see `data.sources.list_utterances`.

    Raises:
        UserError: lists or release are missing.
    """
    language = str(data.language)
    folder = list_folder(data.splits, language)
    clips: dict[Split, list[ListedClip]] = {split: [] for split in SPLITS}
    notes: list[str] = []
    for split in SPLITS:
        try:
            clips[split] = read_list(folder, split, with_labels=with_labels)
        except UserError as fault:
            notes.append(not_read(split, wanted, fault))
        else:
            notes += [] if clips[split] else [f"{split}: the published list is not in {folder}"]
    if data.root is None:
        return _listed_only(clips, notes)
    release = open_release(data)
    names = {clip.id for listed in clips.values() for clip in listed}
    paths, speakers = find_clips(release, names), speakers_of_release(release, names)
    splits: dict[Split, list[Utterance]] = {}
    rejected: list[Rejected] = []
    for split, listed in clips.items():
        there = [clip for clip in listed if clip.id in paths]
        lacking = [clip for clip in listed if clip.id not in paths]
        splits[split] = [Utterance(c.id, paths[c.id], c.text, c.phones, speakers.get(c.id)) for c in there]
        rejected += [Rejected(split, clip.id, LACKS) for clip in lacking]
        if lacking:
            hours = sum(clip.num_samples for clip in lacking) / SAMPLE_RATE_HZ / 3600
            notes.append(f"{split}: the release lacks {len(lacking)} of {len(listed)} published clips ({hours:.3f} h)")
    complete = PUBLISHED_CLIPS.get(language) == tuple(len(clips[split]) for split in SPLITS)
    synthetic = any((parent / SYNTHETIC_MARK).exists() for parent in (release, release.parent))
    return Corpus(
        splits,
        rejected,
        synthetic=True if synthetic else None,
        published_split=complete and not rejected,
        notes=notes,
    )
