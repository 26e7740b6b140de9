"""One hour of speech in, a phone recogniser out."""

import os
import sys

# Before torch loads. OpenMP's threads: those that spin while they wait starve each other once another program wants the
# cores, and those that do not spin at all wake late. Measured with two cores on small models: 2,000 turns take three
# quarters of the time of none, and a fifth more than none beside a third busy process; 10,000 turns take nearly twice
# as long there, and the library's own 300,000 ten times.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("GOMP_SPINCOUNT", "2000")
# Large arrays in pages of 2 MiB: a tenth less time for a step of WavLM Base in bf16.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

from unispeech_ft.api import RunResult, align, phonemize, prepare, score, train, transcribe
from unispeech_ft.version import VERSION as __version__

__all__ = ["RunResult", "__version__", "align", "phonemize", "prepare", "score", "train", "transcribe"]

# Importing Transformers takes seconds, so this does not: who imports it later imports `unispeech_ft.models.ils` too.
if "transformers" in sys.modules:
    import unispeech_ft.models.ils  # noqa: F401
