"""Which phone of a head is nearest to one that it lacks, by articulatory features."""

from __future__ import annotations

from collections.abc import Sequence

from unispeech_ft.extras import optional
from unispeech_ft.scoring.ladder import feature_cost, panphon_features, without_diacritics


def nearest_phones(lacking: Sequence[str], known: Sequence[str]) -> dict[str, str]:
    """For each lacking phone the known one with the fewest differing features, of equals the first; none for tones
    that stand alone, nor for what panphon knows no segment of.

    Raises:
        UserError: panphon is not installed.
    """
    optional("panphon", "features", "what is nearest by articulatory features", "leave head.new_phones out")
    features = panphon_features()
    vectors = {phone: features(phone) for phone in known if without_diacritics(phone)}
    found: dict[str, str] = {}
    for phone in filter(without_diacritics, lacking):
        own = features(phone)
        costs = {other: feature_cost(own, theirs) for other, theirs in vectors.items()}
        best = min(costs, key=costs.__getitem__, default=None)
        if best is not None and costs[best] < 1:
            found[phone] = best
    return found
