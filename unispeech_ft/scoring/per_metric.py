"""PER as a local metric of the `evaluate` library: `evaluate.load(metric_path())`, no network needed.

The library copies this file elsewhere before it imports it, so the imports are absolute.
"""

from typing import Any

import datasets
import evaluate

from unispeech_ft.scoring.alignment import align

_DESCRIPTION = "Phone error rate over lists of phones: unit-cost edit distance ÷ number of reference phones."
_INPUTS = """
Args:
    predictions: a list of phones for each utterance, for example [["t", "a", "tʃ"]]; never a string, never padded.
    references: the same, of the phones that were said.
Returns:
    per: a fraction, None when there are no reference phones.
    substitutions, deletions, insertions, reference_phones: integers.
"""


class PhoneErrorRate(evaluate.Metric):
    """Corpus PER of lists of phones, by the same alignment as `unispeech_ft.scoring`."""

    def _info(self) -> evaluate.MetricInfo:
        phones = datasets.Sequence(datasets.Value("string"))
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation="",
            inputs_description=_INPUTS,
            features=datasets.Features({"predictions": phones, "references": phones}),
        )

    def add_batch(self, *, predictions: Any = None, references: Any = None, **unknown: Any) -> None:
        """Add lists of phones; the library looks only at the first and would take a later string letter by letter.

        Raises:
            TypeError: an utterance is not a list of strings.
        """
        for utterance in (*(predictions or ()), *(references or ())):
            if not isinstance(utterance, list | tuple) or not all(isinstance(phone, str) for phone in utterance):
                raise TypeError(f"expected a list of phones for each utterance, got {utterance!r}")
        super().add_batch(predictions=predictions, references=references, **unknown)

    def _compute(self, predictions: list[list[str]], references: list[list[str]]) -> dict[str, Any]:
        alignments = [align(ref, hyp) for ref, hyp in zip(references, predictions, strict=True)]
        phones = sum(len(reference) for reference in references)
        return {
            "per": sum(alignment.errors for alignment in alignments) / phones if phones else None,
            "substitutions": sum(alignment.substitutions for alignment in alignments),
            "deletions": sum(alignment.deletions for alignment in alignments),
            "insertions": sum(alignment.insertions for alignment in alignments),
            "reference_phones": phones,
        }
