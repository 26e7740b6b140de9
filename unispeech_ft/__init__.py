"""One hour of speech in, a phone recogniser out."""

import sys

from unispeech_ft.api import (
    RunResult,
    align,
    compare,
    evaluate,
    phonemize,
    prepare,
    pronounce,
    score,
    train,
    transcribe,
)
from unispeech_ft.version import VERSION as __version__

__all__ = [
    "RunResult",
    "__version__",
    "align",
    "compare",
    "evaluate",
    "phonemize",
    "prepare",
    "pronounce",
    "score",
    "train",
    "transcribe",
]

# Importing Transformers takes seconds, so this does not: who imports it later imports `models.prediction` too.
if "transformers" in sys.modules:
    import unispeech_ft.models.prediction
    import unispeech_ft.models.self_conditioned  # noqa: F401
