"""The area under the ROC curve of pronunciation scores on mistakes that are known, beside that of plain posteriors."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from unispeech_ft.errors import UserError
from unispeech_ft.models.saved import SavedModel
from unispeech_ft.testing.known_times import as_files
from unispeech_ft.testing.mispronounced import Mispronounced
from unispeech_ft.transcription.alignment import align_file
from unispeech_ft.transcription.pronunciation import pronounce_file

SCORES = ("goodness of pronunciation", "posterior of the forced alignment")


@dataclass(frozen=True)
class Area:
    """How often a phone that was said scores above one that was not; counts of both."""

    area: float
    wrong: int
    phones: int


def area(scores: np.ndarray, wrong: np.ndarray) -> Area:
    """Scores and whether each phone is wrong, `[N]` each.

    Raises:
        UserError: all are right, or all wrong.
    """
    from scipy.stats import mannwhitneyu

    if wrong.all() or not wrong.any():
        raise UserError("all phones are right, or all wrong", remedy="use more clips")
    above = mannwhitneyu(scores[~wrong], scores[wrong]).statistic
    return Area(float(above / (wrong.sum() * (~wrong).sum())), int(wrong.sum()), len(wrong))


def measure(saved: SavedModel, clips: Iterable[Mispronounced]) -> dict[str, Area]:
    """The areas by kind of score; clips with a phone that the model lacks are left out.

    Raises:
        UserError: nothing could be compared.
    """
    scores: dict[str, list[float]] = {name: [] for name in SCORES}
    wrong: list[bool] = []
    for clip, path in as_files(clips, saved.tokenizer.phones):
        found = pronounce_file(saved, path, [("", [clip.phones])])
        scores[SCORES[0]] += [item.right for item in found.phones]
        scores[SCORES[1]] += [item.posterior for item in align_file(saved, path, clip.phones).phones]
        wrong += clip.wrong
    return {name: area(np.array(values), np.array(wrong)) for name, values in scores.items()}
