"""Unlabelled recordings → tar shards of about as many hours each, which `unlabelled.source: tar` reads.

Recordings go in as they are, byte by byte, in the order of a hash of their names, so that every shard is a sample of
all. The folder holds `shards.json` (what was asked for), `plan` (which recording goes where, listed once) and the
blocks `shard-NNNNN` (`data.blocks`), each with a tar file of that name.
"""

from __future__ import annotations

import io
import tarfile
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from unispeech_ft.data.blocks import Crew, Say, Work, deal, make_blocks, plan_once, planned, settle
from unispeech_ft.data.shards import Example, Source, is_audio, list_files, read_units
from unispeech_ft.data.targets import SHARD, hash_of
from unispeech_ft.errors import UserError

INFO = "shards.json"
# Of a recording whose header soundfile cannot read, such as m4a.
GUESSED_BYTES_A_SECOND = 16_000


@dataclass(frozen=True)
class Cutting:
    """What is to be made; it stands in `shards.json`."""

    source: Source
    root: str
    column: str
    hours_per_shard: float


def _duration_s(path: str) -> float:
    """By its header, or by its size."""
    import soundfile

    try:
        return float(soundfile.info(path).duration)
    except (soundfile.LibsndfileError, RuntimeError):
        return Path(path).stat().st_size / GUESSED_BYTES_A_SECOND


def _usable(example: Example) -> bool:
    return is_audio(example["name"]) and Path(example["path"]).is_file()


def _plan(cutting: Cutting, say: Say) -> list[list[tuple[str, str]]]:
    """The names and paths of each shard's recordings."""
    files = list_files(cutting.source, cutting.root)
    listed = list(read_units([(file, 0, 1) for file in files], cutting.source, cutting.column))
    left_out = [example["name"] for example in listed if not _usable(example)]
    places = [(example["name"], example["path"]) for example in listed if _usable(example)]
    if not places:
        raise UserError(f"{cutting.root}: no recordings", remedy="check ROOT, --source and --column")
    places.sort(key=lambda place: (hash_of(place[0]), place))
    durations_s = [_duration_s(path) for _, path in places]
    shards = deal(places, durations_s, cutting.hours_per_shard * 3600)
    said = f", {len(left_out)} left out, for example {left_out[0]}" if left_out else ""
    say(f"{len(places)} recordings, {sum(durations_s) / 3600:.2f} h, for {len(shards)} shards{said}")
    return shards


def _fill_shard(out: Path, number: int, folder: Path) -> str:
    places = planned(out, number)
    file = folder / f"{SHARD}-{number:05d}.tar"
    with tarfile.open(file, "w", format=tarfile.PAX_FORMAT, encoding="utf-8", errors="surrogateescape") as archive:
        for name, path in places:
            try:
                content = Path(path).read_bytes()
            except OSError as error:
                raise UserError(
                    f"{path} cannot be read any more ({error.strerror})",
                    remedy="bring it back, or start in a new folder",
                ) from None
            member = tarfile.TarInfo(name)  # of no time and nobody, so that the bytes are the recordings' alone
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return f"{file.name}: {len(places)} recordings, {file.stat().st_size / 2**20:.1f} MiB"


def cut_shards(cutting: Cutting, out: Path, crew: Crew, say: Say) -> int:
    """Makes what is missing of a folder of shards.

    Args:
        say: takes lines for people.

    Returns:
        How many shards there are.

    Raises:
        UserError: there are no recordings, one cannot be read, the folder holds other shards, or the workers failed.
        OSError: it cannot be written.
    """
    settle(out / INFO, asdict(cutting))
    num_shards = plan_once(out, partial(_plan, cutting, say))
    make_blocks(Work(out, SHARD, num_shards, partial(_fill_shard, out)), crew, say)
    return num_shards
