"""Faults of sentences: words and characters without phones, and words that hang on the rule of normalisation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from unispeech_ft.audit.findings import Finding, counted
from unispeech_ft.data.utterances import Rejected
from unispeech_ft.phonemes.g2p import G2P, UNREADABLE, differing_words, unknown_words

WORDS_SHOWN = 10
LONG = 1000


def unpronounced(rejected: Sequence[Rejected], split: str) -> list[Finding]:
    """Words that the lexicon lacks, and characters that espeak-ng or epitran cannot read, the commonest first."""
    findings = []
    words = unknown_words(item.reason for item in rejected)
    if words:
        shown = tuple(f"{word} ({count})" for word, count in words.most_common())
        what = f"not in the lexicon: {counted(len(words), 'word')}"
        remedy = "add them to the lexicon, or set phonemes.lexicon_fallback true"
        findings.append(Finding("missing_words", "warning", split, what, len(words), shown, remedy, LONG))
    unread = [item.reason.partition(": ")[2] for item in rejected if item.reason.startswith(UNREADABLE)]
    if unread:
        characters = Counter(character for line in unread for character in line.split())
        shown = tuple(f"{character} ({count})" for character, count in characters.most_common())
        what = f"{len(unread)} sentences hold {len(characters)} characters that are named, skipped or unknown"
        remedy = (
            "write them as they are spoken, set phonemes.language right, or use a lexicon (phonemes.labels lexicon)"
        )
        findings.append(Finding("unreadable_characters", "serious", split, what, len(unread), shown, remedy, LONG))
    return findings


def two_rules(sentences: Iterable[str], g2p: G2P) -> list[Finding]:
    """The most frequent words that `phonemes.normalise` text and published label differently."""
    words = differing_words(sentences, g2p)
    if not words:
        return []
    shown = tuple(
        f"{word} ({count} ×; text: {' '.join(first) or 'nothing'}; published: {' '.join(second) or 'nothing'})"
        for word, count, first, second in words[:WORDS_SHOWN]
    )
    what = (
        f"labelled differently by phonemes.normalise text and published (this run: {g2p.rule}):"
        f" {counted(len(words), 'word')}"
    )
    return [Finding("rule_of_text", "note", "", what, len(words), shown, width=LONG)]
