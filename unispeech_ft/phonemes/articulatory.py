"""panphon's table of articulatory features, which takes most of a second to build: once a process.

Source: Mortensen et al. 2016, "PanPhon: A Resource for Mapping IPA Segments to Articulatory Feature Vectors".
"""

from __future__ import annotations

import functools
from typing import Any


def feature_table() -> Any:
    """The `panphon.FeatureTable`, which is not to be changed.

    Raises:
        ImportError: panphon is not installed.
    """
    import panphon

    return _built(panphon.FeatureTable)


@functools.cache
def _built(kind: type) -> Any:
    return kind()
