"""The classes that masked prediction predicts, frame by frame, in shards: written once, then read through memory.

A folder of targets holds `targets.json` (what they are), `centroids` (how they were made) and `shard-NNNNN`. A shard
holds `names.npy` (a hash of each recording's name, ascending), `starts.npy` (where its classes begin, and the end) and
`classes.npy` (those of all its recordings, one after another). Every folder appears whole and carries its digests.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from unispeech_ft.data.audio import BadClip
from unispeech_ft.data.blocks import block_folder
from unispeech_ft.errors import UserError, first_line
from unispeech_ft.files import DIGESTS, damage, parse_json

Classes = npt.NDArray[np.uint16]
INFO, CENTROIDS, SHARD = "targets.json", "centroids", "shard"
# Windows of 25 ms leave out the end of a recording; more than this says that the classes are another's.
MISSING_S = 0.1
MOST_CLASSES = 2**16


def hash_of(name: str) -> int:
    """64 bits of a recording's name, as streams give it."""
    import xxhash

    return xxhash.xxh3_64_intdigest(name.encode("utf-8", "surrogateescape"))


def write_shard(folder: Path, classes: Mapping[str, Classes]) -> None:
    """Writes the classes of recordings, by name, into an empty folder."""
    by_hash = sorted((hash_of(name), name) for name in classes)
    ordered = [classes[name] for _, name in by_hash]
    np.save(folder / "names.npy", np.array([number for number, _ in by_hash], dtype=np.uint64))
    np.save(folder / "starts.npy", np.cumsum([0, *map(len, ordered)], dtype=np.int64))
    np.save(folder / "classes.npy", np.concatenate([*ordered, np.zeros(0, dtype=np.uint16)]))


@dataclass(frozen=True)
class Targets:
    """A finished folder of targets.

    Attributes:
        num_classes: `V`.
        rate_hz: classes a second.
        made: everything that `targets.json` says.
    """

    folder: Path
    num_classes: int
    rate_hz: float
    made: Mapping[str, Any]

    @cached_property
    def shards(self) -> list[Path]:
        return [block_folder(self.folder, SHARD, number) for number in range(self.made["num_shards"])]

    @cached_property
    def _index(self) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
        """Hashes of all recordings, ascending, and shard, start and end of each, `[R, 3]`."""
        names, places = [], []
        for number, shard in enumerate(self.shards):
            starts = np.load(shard / "starts.npy")
            names.append(np.load(shard / "names.npy"))
            places.append(np.stack([np.full(len(starts) - 1, number), starts[:-1], starts[1:]], axis=1))
        every = np.concatenate(names)
        order = np.argsort(every, kind="stable")
        return every[order], np.concatenate(places)[order]

    @cached_property
    def _classes(self) -> list[Classes]:
        return [np.load(shard / "classes.npy", mmap_mode="r") for shard in self.shards]

    @property
    def num_recordings(self) -> int:
        return len(self._index[0])

    def _place(self, name: str) -> int:
        return int(np.searchsorted(self._index[0], np.uint64(hash_of(name))))

    def __contains__(self, name: str) -> bool:
        place = self._place(name)
        return place < self.num_recordings and int(self._index[0][place]) == hash_of(name)

    def of(self, name: str) -> Classes:
        """The classes of a recording.

        Raises:
            BadClip: there are none.
        """
        if name not in self:
            raise BadClip(f"{self.folder} holds no classes of it")
        shard, start, end = self._index[1][self._place(name)].tolist()
        found_classes: Classes = self._classes[shard][start:end]
        return found_classes

    def check(self) -> None:
        """Raises UserError where a shard is damaged, or two recordings have one name."""
        for shard in self.shards:
            if fault := damage(shard):
                raise UserError(f"unlabelled.targets: {shard}: {fault}", remedy="run `unispeech-ft targets` once more")
        names = self._index[0]
        if (names[1:] == names[:-1]).any():
            raise UserError(
                f"unlabelled.targets: {self.folder} holds two recordings of one name",
                remedy="give the files other names, and make the targets anew",
            )

    def fingerprint(self) -> str:
        """Identifies the classes, by the digests of the shards."""
        digests = [(shard / DIGESTS).read_text(encoding="utf-8") for shard in self.shards]
        return json.dumps([dict(self.made), digests], sort_keys=True)


@lru_cache(maxsize=4)
def open_targets(folder: str) -> Targets:
    """The targets of a folder, opened once in a process.

    Raises:
        UserError: there are none, or they are not finished.
    """
    path = Path(folder).expanduser()
    try:
        made = parse_json((path / INFO).read_text(encoding="utf-8"))
        targets = Targets(path, int(made["num_classes"]), float(made["rate_hz"]), made)
        absent = [shard.name for shard in targets.shards if not (shard / DIGESTS).is_file()]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"unlabelled.targets: {path} holds no targets ({first_line(error)})",
            remedy="name a folder that `unispeech-ft targets` wrote",
        ) from None
    if absent:
        raise UserError(
            f"unlabelled.targets: {path} lacks {absent[0]} and {len(absent) - 1} more",
            remedy="run the command that made it once more: it goes on where it stopped",
        )
    return targets


def classes_between(classes: Classes, start_s: float, duration_s: float, rate_hz: float) -> Classes:
    """The classes of a piece of a recording, its start rounded to one of them, as the original cuts.

    Raises:
        BadClip: they end long before the piece does.
    """
    own = classes[round(start_s * rate_hz) : round((start_s + duration_s) * rate_hz)]
    if len(own) / rate_hz < duration_s - MISSING_S:
        raise BadClip(f"its classes end after {len(classes) / rate_hz:.2f} s, before its sound does")
    return own


def at_frames(classes: Classes, num_frames: int, frame_s: float, rate_hz: float) -> Classes:
    """The class of every frame of a piece, ⌊t · classes a frame⌋; fewer frames where the classes end first.

    Args:
        num_frames: of the model.
        frame_s: seconds from one frame of the model to the next.
    """
    ratio = frame_s * rate_hz
    count = min(num_frames, int(len(classes) / ratio))
    found: Classes = classes[np.floor(np.arange(count) * ratio).astype(np.int64)]
    return found
