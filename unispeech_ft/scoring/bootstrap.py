"""How sure a PER is: percentile bootstrap over speakers or utterances.

Utterances of one speaker err alike, so drawing them one by one makes the interval too narrow; where at least
`MIN_SPEAKERS` speakers are known, whole speakers are drawn.

Shapes: `U` units (speakers or utterances), `D` draws.
Source: Bisani and Ney 2004, "Bootstrap estimates for confidence intervals in ASR performance evaluation".
"""

import warnings
from collections.abc import Callable, Sequence
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


def interval_text(low: float, high: float, unit: str | None) -> str:
    """A 95 % interval of fractions in words: `24.70–37.20 %, by speaker`."""
    return f"{100 * low:.2f}–{100 * high:.2f} %, by {unit}"


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
    errors = [sum(utterance.errors for utterance in group) for group in groups]
    phones = [sum(len(utterance.reference) for utterance in group) for group in groups]
    ends = percentile_interval(lambda e, n: e / n, (errors, phones), draws, seed)
    return Interval(*ends, unit) if ends else None


def percentile_interval(
    statistic: Callable[..., npt.NDArray[np.float64]], counts: Sequence[Sequence[int]], draws: int, seed: int
) -> tuple[float, float] | None:
    """Ends of the 95 % percentile interval of a figure that is computed from sums over units.

    Args:
        statistic: sums of each of the counts, `[D]` each → the figure of every draw `[D]`; one that is not finite is
            left out.
        counts: what is summed, each `[U]`.

    Returns:
        The ends, or None where no draw has the figure.
    """
    columns = [np.asarray(column, dtype=np.int64) for column in counts]
    units = len(columns[0])

    def figure(*drawn: npt.NDArray[np.int64], axis: int = -1) -> npt.NDArray[np.float64]:
        figures = np.atleast_1d(statistic(*(column.sum(axis=axis) for column in drawn)))
        return np.where(np.isfinite(figures), figures, np.nan)

    with np.errstate(divide="ignore", invalid="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if units < 2:  # SciPy wants two; of one, every draw is the same.
            figures = figure(*columns)
        else:
            from scipy.stats import bootstrap

            options = {"paired": True, "vectorized": True, "method": "percentile", "rng": np.random.default_rng(seed)}
            batch = max(1, ITEMS_PER_CHUNK // units)
            figures = bootstrap(columns, figure, n_resamples=draws, batch=batch, **options).bootstrap_distribution
    figures = figures[~np.isnan(figures)]
    if not len(figures):
        return None
    low, high = np.percentile(figures, [2.5, 97.5])
    return float(low), float(high)


def bootstrap_units(scores: Sequence[UtteranceScore]) -> tuple[BootstrapUnit, list[list[UtteranceScore]]]:
    """The utterances of each unit `U`, in the order of the units' names."""
    speakers = {utterance.speaker for utterance in scores if utterance.speaker}
    by_speaker = len(speakers) >= MIN_SPEAKERS
    groups: dict[tuple[bool, str], list[UtteranceScore]] = {}
    for utterance in scores:
        speaker = utterance.speaker if by_speaker else None
        groups.setdefault((bool(speaker), speaker or utterance.id), []).append(utterance)
    return ("speaker" if by_speaker else "utterance"), [groups[name] for name in sorted(groups)]
