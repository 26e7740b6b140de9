"""Recordings compared by a trained model: one vector each, and the cosine of every pair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from unispeech_ft.data.audio import BadClip, read_audio
from unispeech_ft.data.row import row_of
from unispeech_ft.errors import UserError
from unispeech_ft.models.loader import model_folder, small_files
from unispeech_ft.models.saved import saved_front_end
from unispeech_ft.scoring.verification import equal_error_rate, error_rates
from unispeech_ft.tasks.speaker_verification.model import load_speaker_model, speaker_vectors
from unispeech_ft.tasks.speaker_verification.trials import KINDS

# torch's own, as in training.
EPS = 1e-5
SHORTEST_S = 0.1


@dataclass(frozen=True)
class Pair:
    """Two recordings.

    Attributes:
        target: whether one person is known to speak in both; None where it is not known.
        same: whether the model says so; None where it has no threshold.
    """

    first: str
    second: str
    cosine: float
    target: bool | None
    same: bool | None


def read_pairs(path: Path) -> list[tuple[bool | None, str, str]]:
    """Lines of `1|0 A B`, `A B target|nontarget` or `A B`.

    Raises:
        UserError: it cannot be read, or a line is of no such form.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--trials: {path} cannot be read ({error})", remedy="name a text file of pairs") from None
    found: list[tuple[bool | None, str, str]] = []
    for number, line in enumerate(lines, start=1):
        fields = line.split()
        match fields:
            case []:
                continue
            case [first, second]:
                found.append((None, first, second))
            case [kind, first, second] if kind in KINDS:
                found.append((KINDS[kind], first, second))
            case [first, second, kind] if kind in KINDS:
                found.append((KINDS[kind], first, second))
            case _:
                raise UserError(f"--trials: {path.name}:{number} is no pair: {line[:80]!r}", remedy="write `1 A B`")
    if not found:
        raise UserError(f"--trials: {path} holds no pair", remedy="write a line `1 A B` for each")
    return found


@torch.no_grad()
def compare_recordings(name: str, pairs: Sequence[tuple[bool | None, str, str]], root: Path) -> list[Pair]:
    """The cosine of each pair.

    Args:
        name: run directory or model folder.
        root: that relative paths begin from.

    Raises:
        UserError: the model or a recording cannot be read.
    """
    name = model_folder(name)
    network = load_speaker_model(name)
    front_end = saved_front_end(name, small_files(name), network, EPS)
    vectors: dict[str, np.ndarray] = {}
    for file in dict.fromkeys(file for _, *files in pairs for file in files):
        try:
            samples = read_audio(root / file)
        except BadClip as error:
            raise UserError(f"{file}: {error}", remedy=error.remedy or "name a recording that can be read") from None
        if len(samples) < SHORTEST_S * 16_000:
            raise UserError(f"{file} is {len(samples) / 16_000:.2f} s long", remedy=f"{SHORTEST_S} s are needed")
        vector = speaker_vectors(network, row_of([front_end(samples).numpy()]))[0].double().numpy()
        vectors[file] = vector / np.linalg.norm(vector)
    threshold = network.config.head.get("threshold")
    found = []
    for target, first, second in pairs:
        cosine = float(vectors[first] @ vectors[second])
        found.append(Pair(first, second, cosine, target, None if threshold is None else cosine >= threshold))
    return found


def eer_line(pairs: Sequence[Pair]) -> str:
    """The EER of the pairs of which is known who speaks, for people."""
    known = [pair for pair in pairs if pair.target is not None]
    targets = np.asarray([pair.target for pair in known], dtype=bool)
    if not targets.any() or targets.all():
        return f"{len(pairs)} pairs; an EER needs pairs known to be of one speaker, and of two"
    eer = equal_error_rate(error_rates(np.asarray([pair.cosine for pair in known]), targets))
    return f"EER {100 * eer:.2f} % ({len(known)} pairs, {int(targets.sum())} of one speaker)"
