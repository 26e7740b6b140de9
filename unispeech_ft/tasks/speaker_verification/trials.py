"""Trials: pairs of clips, and whether one speaker says both.

`N` trials.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from unispeech_ft.errors import UserError
from unispeech_ft.randomness import Stream, generator

KINDS = {"1": True, "0": False, "target": True, "nontarget": False}


@dataclass(frozen=True)
class Trials:
    """Attributes:
    pairs: `[N, 2]`, indices of the clips.
    targets: `[N]`, whether one speaker says both.
    """

    pairs: npt.NDArray[np.int64]
    targets: npt.NDArray[np.bool_]


def pairs_of_speakers(speakers: Sequence[str], most: int, seed: int) -> Trials:
    """All pairs of clips; where there are more than `most`, half are targets at most."""
    numbers = np.unique(np.asarray(speakers), return_inverse=True)[1]
    left, right = np.triu_indices(len(numbers), 1)
    same = numbers[left] == numbers[right]
    if len(left) > most:
        random = generator(seed, Stream.TRIALS)
        targets, others = np.flatnonzero(same), np.flatnonzero(~same)
        targets = random.choice(targets, min(len(targets), most // 2), replace=False)
        others = random.choice(others, min(len(others), most - len(targets)), replace=False)
        kept = np.sort(np.concatenate([targets, others]))
        left, right, same = left[kept], right[kept], same[kept]
    return Trials(np.column_stack([left, right]), same)


def read_trials(path: Path, ids: Sequence[str]) -> Trials:
    """A list of VoxCeleb's (`1 ENROL TEST`) or Kaldi's (`ENROL TEST target`) form, over clips by id or path.

    Raises:
        UserError: it cannot be read, a line is of neither form, or it names clips that are not there.
    """
    key = "speaker_verification.trials"
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{key}: {path} cannot be read ({error})", remedy="name a text file of trials") from None
    places = {name: place for place, name in enumerate(ids)}
    rows: list[tuple[int, int, bool]] = []
    unknown: list[str] = []
    for number, line in enumerate(lines, start=1):
        fields = line.split()
        if not fields:
            continue
        if len(fields) == 3 and fields[2] in KINDS and fields[0] not in KINDS:
            fields = [fields[2], *fields[:2]]
        if len(fields) != 3 or fields[0] not in KINDS:
            raise UserError(
                f"{key}: {path.name}:{number} is no trial: {line[:80]!r}",
                remedy="write `1 ENROL TEST` or `0 ENROL TEST`",
            )
        found = [places.get(name, places.get(PurePosixPath(name).with_suffix("").as_posix())) for name in fields[1:]]
        unknown += [name for name, place in zip(fields[1:], found, strict=True) if place is None]
        if None not in found:
            rows.append((int(found[0] or 0), int(found[1] or 0), KINDS[fields[0]]))
    if unknown:
        raise UserError(
            f"{key}: {path.name} names {len(set(unknown))} clips that the test split lacks ({unknown[0]} …)",
            remedy="name files relative to data.root, or leave those lines out",
        )
    trials = Trials(
        np.asarray([row[:2] for row in rows], dtype=np.int64).reshape(-1, 2), np.asarray([r[2] for r in rows])
    )
    check_trials(trials, str(path))
    return trials


def check_trials(trials: Trials, what: str) -> None:
    """Raises UserError where trials are all of one kind."""
    if not trials.targets.any() or trials.targets.all():
        kind = "of one speaker" if trials.targets.all() and len(trials.targets) else "of two speakers"
        raise UserError(
            f"{what}: {len(trials.targets)} trials, all {kind}, have no error rate",
            remedy="give two speakers at least, and two clips of one of them",
        )
