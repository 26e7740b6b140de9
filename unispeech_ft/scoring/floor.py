"""Reference floor: two labellings of the same speech scored against each other, as if one were recognised.

Where the labels themselves are that uncertain, a PER below the floor says more about the labelling than about the
model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from unispeech_ft.errors import UserError
from unispeech_ft.scoring.alignment import distance


@dataclass(frozen=True)
class Floor:
    """PER of a second labelling (a fraction), over the utterances that both labellings have."""

    per: float
    utterances: int
    of_utterances: int

    def line(self) -> str:
        """For people, to stand under the PER."""
        return (
            f"reference floor {100 * self.per:.2f} % (a second labelling against the references,"
            f" {self.utterances} of {self.of_utterances} utterances)"
        )


def reference_floor(references: Mapping[str, Sequence[str]], second: Mapping[str, Sequence[str]]) -> Floor:
    """Scores a second labelling against the references, over the ids that stand in both.

    Raises:
        UserError: no id stands in both, or those that do have no reference phones.
    """
    shared = references.keys() & second.keys()
    phones = sum(len(references[name]) for name in shared)
    if not phones:
        raise UserError(
            f"the second labelling has no utterance of the {len(references)} references",
            remedy="label the same utterances, under the same ids",
        )
    errors = sum(distance(references[name], second[name]) for name in shared)
    return Floor(errors / phones, len(shared), len(references))
