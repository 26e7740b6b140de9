"""Plain words on a pre-training that has gone wrong: the codebook has collapsed."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

# Updates that are looked at together, and how long a warning is not repeated.
LOOKED_AT = 20
QUIET_UPDATES = 500
# A codebook has collapsed where the codes in use are worth fewer than this many for each group, or than this share.
FEWEST_CODES = 2.0
LEAST_SHARE = 0.02


class CodebookWatch:
    """Looks at `code_perplexity` of every update, and warns when the codebook has collapsed.

    Args:
        num_groups: `G`.
        num_codes: `V` codevectors of a group.
        start_after: updates that are left alone, since a codebook may spread late.
    """

    def __init__(self, num_groups: int, num_codes: int, start_after: int) -> None:
        self.num_groups, self.num_codes = num_groups, num_codes
        self.recent: deque[float] = deque(maxlen=LOOKED_AT)
        self.quiet = start_after

    def __call__(self, figures: Mapping[str, float]) -> list[str]:
        """The warnings after one more update."""
        self.quiet -= 1
        if "code_perplexity" not in figures:
            return []
        self.recent.append(figures["code_perplexity"] / self.num_groups)
        if self.quiet >= 0 or len(self.recent) < LOOKED_AT:
            return []
        worth = sum(self.recent) / len(self.recent)
        if worth >= max(FEWEST_CODES, LEAST_SHARE * self.num_codes):
            return []
        self.quiet = QUIET_UPDATES
        return [
            f"the codebook has collapsed: the last {LOOKED_AT} updates used the worth of {worth:.1f} of"
            f" {self.num_codes} codes in each group, so the contrastive task teaches little. Lower optimizer.lr, raise"
            " objective.diversity_weight, or let objective.gumbel_decay fall more slowly"
        ]
