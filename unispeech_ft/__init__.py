"""One hour of speech in, a phone recogniser out."""

from unispeech_ft.api import RunResult, align, phonemize, prepare, score, train, transcribe
from unispeech_ft.models.registration import register_when_needed
from unispeech_ft.version import VERSION as __version__

__all__ = ["RunResult", "__version__", "align", "phonemize", "prepare", "score", "train", "transcribe"]

register_when_needed()
