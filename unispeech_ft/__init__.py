"""One hour of speech in, a phone recogniser out."""

import os

# Before torch loads OpenMP: threads that spin while they wait starve each other once another program wants the cores.
# Measured on two cores with a third busy process: 150 updates of the demo in 31 s instead of more than 300.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("GOMP_SPINCOUNT", "2000")

from unispeech_ft.api import RunResult, align, phonemize, prepare, score, train, transcribe
from unispeech_ft.models.registration import register_when_needed
from unispeech_ft.version import VERSION as __version__

__all__ = ["RunResult", "__version__", "align", "phonemize", "prepare", "score", "train", "transcribe"]

register_when_needed()
