"""Plain words on a pre-training that has gone wrong: the codebook has collapsed, or what is predicted has."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

# Updates that are looked at together, and how long a warning is not repeated.
LOOKED_AT = 20
QUIET_UPDATES = 500
# What is used has collapsed where it is worth fewer codes or classes than this, or than this share of them.
FEWEST = 2.0
LEAST_SHARE = 0.02
CODEBOOK = (
    "the codebook has collapsed: the last {updates} updates used the worth of {worth:.1f} of {count} codes in each"
    " group, so the contrastive task teaches little. Lower optimizer.lr, raise objective.diversity_weight, or let"
    " objective.gumbel_decay fall more slowly"
)
PREDICTION = (
    "the predictions have collapsed: in the last {updates} updates the worth of {worth:.1f} of {count} classes was"
    " predicted, so the network says much the same of every masked frame. Lower optimizer.lr, warm up for longer"
    " (schedule.warmup), or look at the purity of the targets"
)


class CollapseWatch:
    """Looks at a perplexity of every update, and warns where too few are in use.

    Args:
        figure: its name among the figures of an update.
        groups: that it is summed over.
        count: codes of a group, or classes.
        start_after: updates that are left alone, since use may spread late.
        told: the warning.
    """

    def __init__(self, figure: str, groups: int, count: int, start_after: int, told: str) -> None:
        self.figure, self.groups, self.count, self.told = figure, groups, count, told
        self.recent: deque[float] = deque(maxlen=LOOKED_AT)
        self.start_after = self.quiet = start_after

    def begin(self, first: int) -> None:
        """The run goes on with an update (from 0)."""
        self.quiet = max(0, self.start_after - first)

    def __call__(self, figures: Mapping[str, float]) -> list[str]:
        """The warnings after one more update."""
        self.quiet -= 1
        if self.figure not in figures:
            return []
        self.recent.append(figures[self.figure] / self.groups)
        if self.quiet >= 0 or len(self.recent) < LOOKED_AT:
            return []
        worth = sum(self.recent) / len(self.recent)
        if worth >= max(FEWEST, LEAST_SHARE * self.count):
            return []
        self.quiet = QUIET_UPDATES
        return [self.told.format(updates=LOOKED_AT, worth=worth, count=self.count)]
