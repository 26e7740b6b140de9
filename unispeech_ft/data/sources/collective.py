"""Releases of Common Voice by name (`data.root: mdc:ky`), from the Mozilla Data Collective through `datacollective`.

Its terms are agreed to by each user on its site; the key that proves it is read by `datacollective` alone, from
MDC_API_KEY or a `.env` file. An archive stays in the cache of the machine that fetched it, and is sent nowhere.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unispeech_ft.errors import UserError, first_line
from unispeech_ft.extras import optional

if TYPE_CHECKING:
    from datacollective.models import DatasetDetails

PREFIX = "mdc:"
LANGUAGE = re.compile(r"[a-z]{2,3}(?:-[A-Za-z]{2,8})*")
SCRIPTED = re.compile(r"Common Voice Scripted Speech (\d+)(?:\.(\d+))?", flags=re.IGNORECASE)
SHA256 = re.compile(r"(?:sha256:)?([0-9a-f]{64})")
PAGE_SIZE = 100
BLOCK_BYTES = 1 << 20
KEY_REMEDY = "make a key in your profile at the Mozilla Data Collective, and set MDC_API_KEY to it (or in a file .env)"


@dataclass(frozen=True)
class Release:
    """An archive that was fetched, as `NAME.json` beside it tells.

    Attributes:
        title: of the dataset, with its release.
        license: as its page names it.
        file: name of the archive.
    """

    id: str
    title: str
    license: str
    file: str


def is_named(root: str | None) -> bool:
    """Whether `data.root` names a release instead of a folder."""
    return root is not None and root.startswith(PREFIX)


def newest_scripted(datasets: list[DatasetDetails]) -> DatasetDetails | None:
    """The newest release of read sentences among datasets; the catalogue also has spontaneous speech and others'."""
    numbered = [(found.groups(), item) for item in datasets if (found := SCRIPTED.search(item.name or ""))]
    return max(numbered, key=lambda pair: tuple(int(part or 0) for part in pair[0]))[1] if numbered else None


def fetch_release(name: str, cache_dir: Path) -> Path:
    """The archive of a release, fetched once; what was cut off is gone on with.

    Args:
        name: `mdc:LANGUAGE` for the newest release of read sentences, or `mdc:ID` with the id of a dataset's page.
        cache_dir: `data.cache_dir`; the archive lies in its folder `collective`.

    Raises:
        UserError: `datacollective` is missing, there is no such release, the key is missing or not accepted, the
            terms are not agreed to, or the connection or the disk fails.
    """
    wanted = name.removeprefix(PREFIX).strip()
    if not re.fullmatch(r"[\w-]+", wanted):
        raise UserError(f"data.root: {name} names no release", remedy="write mdc:ky, or mdc: and the id of a dataset")
    folder = cache_dir / "collective"
    note = folder / f"{wanted}.json"
    release = _noted(note)
    if release is None or not (folder / release.file).is_file():
        release = _fetched(name, wanted, folder)
        note.write_text(json.dumps(asdict(release), ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    print(f"{name}: {release.title}, {release.license}; for use here, not to be hosted anew", file=sys.stderr)
    return folder / release.file


def _noted(note: Path) -> Release | None:
    try:
        return Release(**json.loads(note.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _fetched(name: str, wanted: str, folder: Path) -> Release:
    datacollective = optional("datacollective", "collective", f"data.root {name}", "name a folder or .tar.gz")
    try:
        details = _details(datacollective, wanted)
        if details is None:
            raise UserError(
                f"data.root: no release of Common Voice for {wanted!r} is in the catalogue",
                remedy="check the code, or name the id of the dataset's page (mdc:ID)",
            )
        _show_terms(details)
        folder.mkdir(parents=True, exist_ok=True)
        archive = Path(datacollective.download_dataset(details.id, str(folder), show_progress=sys.stderr.isatty()))
    except UserError:
        raise
    except Exception as error:
        raise _fault(name, error) from None
    _check_whole(archive, details)
    return Release(details.id, details.name or details.id, _license(details), archive.name)


def _details(datacollective: Any, wanted: str) -> DatasetDetails | None:
    if not LANGUAGE.fullmatch(wanted):
        found: DatasetDetails = datacollective.get_dataset_details(wanted)
        return found
    listed = datacollective.list_datasets("Common Voice Scripted Speech", locale=wanted, results_per_page=PAGE_SIZE)
    newest = newest_scripted(listed.items)
    return None if newest is None else datacollective.get_dataset_details(newest.id)


def _license(details: DatasetDetails) -> str:
    return details.license or details.licenseAbbreviation or "no licence named"


def _show_terms(details: DatasetDetails) -> None:
    """What a user agrees to, before anything is fetched."""
    size = f", {int(details.sizeBytes) / 1e6:,.1f} MB" if details.sizeBytes else ""
    print(f"{details.name or details.id}{size}\nlicence: {_license(details)}", file=sys.stderr)
    for key in ("restrictions", "forbiddenUsage", "additionalConditions"):
        said = getattr(details, key, None)
        if isinstance(said, str) and said.strip():
            print(f"{key}: {' '.join(said.split())}", file=sys.stderr)
    print(f"terms: {details.datasetUrl or 'on the page of the dataset'}", file=sys.stderr)


def _check_whole(archive: Path, details: DatasetDetails) -> None:
    """Refuses, and removes, an archive of another size or digest than the catalogue states."""
    stated = SHA256.fullmatch((details.checksum or "").lower())
    size = archive.stat().st_size
    wrong = details.sizeBytes is not None and size != int(details.sizeBytes)
    if not wrong and stated is not None:
        digest = hashlib.sha256()
        with archive.open("rb") as file:
            while block := file.read(BLOCK_BYTES):
                digest.update(block)
        wrong = digest.hexdigest() != stated.group(1)
    if wrong:
        archive.unlink()
        raise UserError(
            f"data.root: {archive.name} arrived damaged ({size} bytes), and was removed", remedy="run the command again"
        )


def _fault(name: str, error: Exception) -> UserError:
    """What kept `datacollective` from fetching, and what to do."""
    from datacollective.errors import AuthenticationError, DownloadError, RateLimitError
    from requests import ConnectionError, Timeout

    if isinstance(error, DownloadError):
        if isinstance(error.__cause__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        if isinstance(error.__cause__, OSError) and error.__cause__.errno is not None:
            what = f"{error.__cause__.strerror}, {error.total_downloaded_bytes} fetched"
        else:
            what = f"the connection broke, {error.total_downloaded_bytes} fetched, {error.remaining_bytes} to go"
        return UserError(f"data.root: {name}: {what}", remedy="the same command goes on from there")
    said = first_line(error)
    if isinstance(error, ValueError) and "API key" in said:
        return UserError(f"data.root: {name} needs a key of the Mozilla Data Collective", remedy=KEY_REMEDY)
    if isinstance(error, AuthenticationError):
        return UserError(f"data.root: {name}: the key in MDC_API_KEY is not accepted", remedy=KEY_REMEDY)
    if isinstance(error, RateLimitError):
        return UserError(f"data.root: {name}: too many requests for now", remedy="wait a while, then repeat")
    if isinstance(error, PermissionError):
        remedy = "agree to the terms on the page of the dataset, then repeat"
        return UserError(f"data.root: {name}: the Mozilla Data Collective refuses ({said[:200]})", remedy=remedy)
    if isinstance(error, FileNotFoundError):
        remedy = "check the id, or name a language (mdc:ky)"
        return UserError(f"data.root: {name}: there is no such dataset", remedy=remedy)
    if isinstance(error, ConnectionError | Timeout):
        remedy = "check the connection, or name the folder or .tar.gz of a release"
        return UserError(f"data.root: {name}: the Mozilla Data Collective cannot be reached", remedy=remedy)
    return UserError(f"data.root: {name} cannot be fetched ({type(error).__name__}: {said[:200]})", remedy="try again")
