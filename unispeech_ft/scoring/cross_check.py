"""A second opinion on every PER that is written down: jiwer counts the same errors, or something is wrong with us."""

from collections.abc import Sequence

from unispeech_ft.scoring.per import UtteranceScore


def jiwer_errors(scores: Sequence[UtteranceScore]) -> int:
    """Substitutions, deletions and insertions over all utterances, as jiwer counts them on space-joined phones."""
    import jiwer

    spoken = [item for item in scores if item.reference]
    unexpected = sum(len(item.hypothesis) for item in scores if not item.reference)
    if not spoken:
        return unexpected
    words = jiwer.process_words(
        [" ".join(item.reference) for item in spoken], [" ".join(item.hypothesis) for item in spoken]
    )
    return int(words.substitutions + words.deletions + words.insertions) + unexpected
