"""One hour of speech in, a phone recogniser out."""

from unispeech_ft.api import RunResult, phonemize, prepare, score, train, transcribe
from unispeech_ft.version import VERSION as __version__

__all__ = ["RunResult", "__version__", "phonemize", "prepare", "score", "train", "transcribe"]
