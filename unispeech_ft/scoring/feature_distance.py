"""PFER, the phone feature error rate of recent work on many languages, by panphon's features.

An utterance's distance is the least cost of turning the reference's segments into the hypothesis's, where a
substitution costs the share of the features that are not the same, insertions and deletions 1. The programs of PRiSM
average that over the utterances and call it PFER; divided by the reference's segments it is a rate. Other than the
ladder's last rung it cuts the segments anew, out of the phones written together.

Sources: Bharadwaj et al. 2026, "PRiSM: Benchmarking Phone Realization in Speech Models"; Mortensen et al. 2016
(panphon, `hamming_feature_edit_distance`).

Shapes: `K` segments of an utterance, `F` features.
"""

from __future__ import annotations

import string
import unicodedata
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from unispeech_ft.errors import first_line, warn
from unispeech_ft.phonemes.articulatory import feature_table
from unispeech_ft.phonemes.notation import ipa_phone
from unispeech_ft.scoring.ladder import has_features, weighted_distance
from unispeech_ft.scoring.per import UtteranceScore

WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)


class FeatureErrors(NamedTuple):
    """PFER of a corpus.

    Attributes:
        per_utterance: mean distance, in segments.
        rate: summed distance ÷ segments of the references; None where these have none.
    """

    per_utterance: float
    rate: float | None


def written_together(phones: Sequence[str]) -> str:
    """The phones, espeak-ng's mnemonics as IPA, as one word that PRiSM would have cleaned: no punctuation, decomposed,
    the IPA's g."""
    word = "".join(ipa_phone(phone) for phone in phones).translate(WITHOUT_PUNCTUATION)
    return unicodedata.normalize("NFD", word).replace("g", "ɡ")


def segment_vectors() -> Callable[[str], npt.NDArray[np.float64]]:
    """Word → features of its segments `[K, F]`, as panphon finds them."""
    table = feature_table()

    def vectors(word: str) -> npt.NDArray[np.float64]:
        found = table.word_to_vector_list(word, numeric=True)
        return np.array(found, dtype=np.float64).reshape(-1, len(table.names))

    return vectors


def feature_errors(scores: Sequence[UtteranceScore]) -> FeatureErrors | None:
    """PFER; None without utterances, or where panphon is not installed or fails."""
    if not scores or not has_features():
        return None
    try:
        vectors = segment_vectors()
        pairs = [(vectors(written_together(u.reference)), vectors(written_together(u.hypothesis))) for u in scores]
    except Exception as error:
        warn(f"PFER is left out: panphon fails ({type(error).__name__}: {first_line(error)})")
        return None
    distances = [
        weighted_distance((reference[:, None] != hypothesis[None]).mean(axis=2)) for reference, hypothesis in pairs
    ]
    segments = sum(len(reference) for reference, _ in pairs)
    return FeatureErrors(sum(distances) / len(scores), sum(distances) / segments if segments else None)
