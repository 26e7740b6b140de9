"""How sure a PER is: percentile bootstrap over speakers or utterances.

Utterances of one speaker err alike, so drawing them one by one makes the interval too narrow; where at least
`MIN_SPEAKERS` speakers are known, whole speakers are drawn.

Shapes: `U` units (speakers or utterances), `D` draws.
Source: Bisani and Ney 2004, "Bootstrap estimates for confidence intervals in ASR performance evaluation".
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from unispeech_ft.scoring.per import UtteranceScore

MIN_SPEAKERS = 10
ITEMS_PER_CHUNK = 1 << 18

BootstrapUnit = Literal["speaker", "utterance"]


class Interval(NamedTuple):
    """A 95 % interval of PER (fractions) and what was drawn to find it."""

    low: float
    high: float
    unit: BootstrapUnit


def bootstrap_per(scores: Sequence[UtteranceScore], draws: int = 10_000, seed: int = 0) -> Interval | None:
    """95 % percentile interval of the corpus PER.

    Units are drawn with replacement, as many as there are; each draw's PER is its Σ errors ÷ Σ reference phones.
    By speaker where ten or more distinct speakers are known (an utterance without one is then a unit of its own),
    else by utterance. Draws without a reference phone have no PER and are left out. The result depends on ids,
    speakers and seed, not on the order of `scores`; one utterance gives its own PER twice.

    Args:
        scores: the utterances.
        draws: number of draws `D`.
        seed: of the draws.

    Returns:
        The interval, or None when there are no reference phones.
    """
    unit, groups = bootstrap_units(scores)
    counts = np.array([[sum(u.errors for u in group), sum(len(u.reference) for u in group)] for group in groups])
    counts = counts.astype(np.int64).reshape(-1, 2)
    if not counts[:, 1].any():
        return None
    totals = draw_totals(counts, draws, seed)
    totals = totals[totals[:, 1] > 0]
    if not len(totals):
        return None
    low, high = np.percentile(totals[:, 0] / totals[:, 1], [2.5, 97.5])
    return Interval(float(low), float(high), unit)


def bootstrap_units(scores: Sequence[UtteranceScore]) -> tuple[BootstrapUnit, list[list[UtteranceScore]]]:
    """The utterances of each unit `U`, in the order of the units' names."""
    speakers = {utterance.speaker for utterance in scores if utterance.speaker}
    by_speaker = len(speakers) >= MIN_SPEAKERS
    groups: dict[tuple[bool, str], list[UtteranceScore]] = {}
    for utterance in scores:
        speaker = utterance.speaker if by_speaker else None
        groups.setdefault((bool(speaker), speaker or utterance.id), []).append(utterance)
    return ("speaker" if by_speaker else "utterance"), [groups[name] for name in sorted(groups)]


def draw_totals(counts: npt.NDArray[np.int64], draws: int, seed: int) -> npt.NDArray[np.int64]:
    """Sums of the units' counts `[U, K]` over each draw: `[D, K]`, made in chunks to bound the memory."""
    rng = np.random.default_rng(seed)
    columns = np.ascontiguousarray(counts.T)
    rows = max(1, ITEMS_PER_CHUNK // len(counts))
    totals = np.empty((draws, len(columns)), dtype=np.int64)
    for start in range(0, draws, rows):
        stop = min(start + rows, draws)
        drawn = rng.integers(len(counts), size=(stop - start, len(counts)))
        for place, column in enumerate(columns):
            totals[start:stop, place] = column[drawn].sum(axis=1)
    return totals
