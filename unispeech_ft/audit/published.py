"""Faults of published lists: their dictionary, and their two sets of labels against each other.

`.id` is what was trained and scored; `.phone` is what phonemizer printed before the lists were cut.
"""

from __future__ import annotations

from pathlib import Path

from rapidfuzz.distance import Levenshtein

from unispeech_ft.audit.findings import Finding, counted
from unispeech_ft.audit.labels import Labels, count_phones, language_flags
from unispeech_ft.data.sources.published import LIST_PATTERNS, read_dictionary, read_lines, read_list
from unispeech_ft.data.utterances import SPLITS
from unispeech_ft.phonemes.espeak import WORD_MARK
from unispeech_ft.phonemes.tokenizer import UNUSED


def audit_lists(folder: Path) -> list[Finding]:
    """What is wrong with the lists of one language, whether a run takes its labels from them or not.

    Raises:
        UserError: a file is missing, or the files do not agree line by line.
    """
    findings = _dictionary(folder)
    findings += _untrained_rows(folder)
    for split in SPLITS:
        clips = read_list(folder, split, with_labels=True)
        table = next(iter(sorted(folder.glob(LIST_PATTERNS[split]))), None)
        path = table.with_name(table.name.replace("_16k.tsv", ".phone")) if table else None
        if path is None or not path.is_file():
            continue
        lines = read_lines(path)
        printed = [[phone for phone in line.split() if phone != WORD_MARK] for line in lines]
        if len(printed) != len(clips):
            what = f"{len(printed)} lines, but the list has {len(clips)}"
            findings.append(Finding("phone_lines", "warning", path.name, what, abs(len(printed) - len(clips))))
            continue
        by_id: Labels = dict(zip((clip.id for clip in clips), printed, strict=True))
        findings += language_flags(by_id, path.name, trained=False)
        findings += _disagreement(by_id, {clip.id: clip.phones or () for clip in clips}, path.name)
    return findings


def _dictionary(folder: Path) -> list[Finding]:
    empty = [row for row, phone in enumerate(read_dictionary(folder)) if phone.startswith(UNUSED) or not phone.strip()]
    if not empty:
        return []
    rows = tuple(str(row) for row in empty)
    what = f"the dictionary holds an empty token (row {', '.join(rows)})"
    remedy = "the head keeps its row so that published weights fit; no label should use it"
    return [Finding("empty_dictionary_token", "warning", "phonesMatches_reduced.json", what, len(empty), rows, remedy)]


def _untrained_rows(folder: Path) -> list[Finding]:
    known = {phone for clip in read_list(folder, "train", with_labels=True) for phone in clip.phones or ()}
    lacking = tuple(p for p in read_dictionary(folder) if p not in known and not p.startswith(UNUSED))
    if not lacking:
        return []
    what = f"never in training, so that other splits have them or nothing does: {counted(len(lacking), 'phone')}"
    remedy = "each of their tokens in validation or test is a sure error"
    file = "phonesMatches_reduced.json"
    return [Finding("dictionary_phones_untrained", "warning", file, what, len(lacking), lacking, remedy)]


def _disagreement(printed: Labels, trained: Labels, name: str) -> list[Finding]:
    errors = {id_: Levenshtein.distance(list(printed[id_]), list(trained[id_])) for id_ in trained}
    total, tokens = sum(errors.values()), sum(count_phones(trained).values())
    if not total:
        return []
    differing = tuple(sorted((id_ for id_ in errors if errors[id_]), key=lambda id_: -errors[id_]))
    what = (
        f"disagrees with the .id labels in {len(differing)} of {len(errors)} utterances"
        f" ({100 * total / tokens:.2f} % of the tokens)"
    )
    remedy = "score against .id (phonemes.labels published), and say so"
    return [Finding("phone_and_id_disagree", "warning", name, what, total, differing, remedy)]
