"""The recording of an ELAN file, by the media that it links.

Of each medium the path relative to the file comes first, then the whole one, then the name alone in the file's folder,
then a recording there that is named like a video. Letters that are composed otherwise, and capitals, do not matter
where only one file is meant. Nothing is fetched, and only what is audio by its name is taken.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from urllib.parse import unquote
from xml.etree.ElementTree import Element

from unispeech_ft.data.audio import AUDIO_ENDINGS, SOUNDFILE_ENDINGS
from unispeech_ft.data.sources.placed_xml import read_document

SCHEME = re.compile(r"file:(//[^/]*(?=/))?|(?P<other>[a-zA-Z][\w+.-]+):")
DRIVE = re.compile(r"/?[a-zA-Z]:")


@dataclass(frozen=True)
class Linked:
    """What an ELAN file links.

    Attributes:
        recording: the first of its audio files that is there, or else of its videos; None where none is.
        others: further audio files that are there.
        missing: names of what is not there.
    """

    recording: Path | None
    others: tuple[Path, ...] = ()
    missing: tuple[str, ...] = ()


def linked_media(annotation: Path) -> Linked:
    """The media of an ELAN file that lie on this machine; none of a file that cannot be read."""
    try:
        status = annotation.stat()
        media = sorted(_media(annotation, status.st_mtime_ns, status.st_size), key=lambda item: not _is_audio(item))
    except (ValueError, OSError):
        return Linked(None)
    found = {name_of(item): next(filter(None, map(_on_disk, _places(item, annotation.parent))), None) for item in media}
    there = list(dict.fromkeys(path for path in found.values() if path))
    audible = [path for item in media if _is_audio(item) and (path := found[name_of(item)])]
    missing = tuple(name for name, path in found.items() if name and path is None)
    if not there:
        return Linked(None, missing=missing)
    return Linked(there[0], tuple(path for path in dict.fromkeys(audible) if path != there[0]), missing)


@lru_cache(maxsize=4096)
def _media(annotation: Path, modified_ns: int, size: int) -> tuple[Element, ...]:
    """The media of a file as it is now; many recordings may ask for those of every file beside them."""
    del modified_ns, size
    return tuple(read_document(annotation.read_bytes()).root.iter("MEDIA_DESCRIPTOR"))


def name_of(medium: Element) -> str:
    """The name of a medium's file."""
    url = medium.get("MEDIA_URL") or medium.get("RELATIVE_MEDIA_URL") or ""
    return unquote(url.replace("\\", "/")).rpartition("/")[2]


def is_same_name(first: str, second: str) -> bool:
    """Whether names are one, however their letters are composed, and whatever their case."""
    return _folded(first) == _folded(second)


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _is_audio(medium: Element) -> bool:
    ending = os.path.splitext(name_of(medium))[1].lower()
    return ending in SOUNDFILE_ENDINGS or (medium.get("MIME_TYPE") or "").startswith("audio/")


def _places(medium: Element, folder: Path) -> Iterator[Path]:
    for key in ("RELATIVE_MEDIA_URL", "MEDIA_URL"):
        url = (medium.get(key) or "").strip().replace("\\", "/")
        scheme = SCHEME.match(url)
        # A drive's letter is a scheme of one letter.
        if not url or (scheme and scheme["other"]):
            continue
        path = url[scheme.end() :] if scheme else url
        if not DRIVE.match(path):
            yield from (folder / name for name in dict.fromkeys((unquote(path), path)))
    name = name_of(medium)
    yield folder / name
    yield from (folder / f"{os.path.splitext(name)[0]}{ending}" for ending in AUDIO_ENDINGS if name)


def _on_disk(path: Path) -> Path | None:
    """The file of a path, as it is spelled on disk; None where there is none, or it is not audio by its name."""
    if path.suffix.lower() not in AUDIO_ENDINGS:
        return None
    path = Path(os.path.normpath(path))
    try:
        if path.is_file():
            return path
        alike = [other for other in _files(path.parent) if is_same_name(other.name, path.name)]
    except (OSError, ValueError):
        return None
    return alike[0] if len(alike) == 1 else None


def _files(folder: Path) -> Iterable[Path]:
    return (path for path in folder.iterdir() if path.is_file()) if folder.is_dir() else ()
