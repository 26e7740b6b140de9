"""Faults of labels: flags and empty tokens among the phones, several notations of one sound, phones hardly learnt.

`labels` are phones by utterance id, of one split.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from unispeech_ft.audit.findings import Finding, Level, counted, level_of_share
from unispeech_ft.phonemes.espeak import LANGUAGE_FLAG
from unispeech_ft.phonemes.look_alikes import LOOK_ALIKES, one_notation, replace_look_alikes
from unispeech_ft.phonemes.notation import ipa_phone, merged
from unispeech_ft.phonemes.tokenizer import UNUSED

Labels = Mapping[str, Sequence[str]]
RARE_TOKENS = 10
UNSEEN_SHARE = 0.005


def count_phones(labels: Labels) -> Counter[str]:
    """How often each phone stands in the labels of a split."""
    return Counter(phone for phones in labels.values() for phone in phones)


def language_flags(labels: Labels, where: str, *, trained: bool) -> list[Finding]:
    """Flags such as `(en)` that espeak-ng leaves among phones.

    Args:
        trained: these labels are trained or scored, so that a flag is a phone to the model.
    """
    found = {phone: n for phone, n in count_phones(labels).items() if LANGUAGE_FLAG.fullmatch(phone)}
    if not found:
        return []
    ids = [name for name, phones in labels.items() if any(phone in found for phone in phones)]
    kinds = " ".join(sorted(found))
    total = sum(found.values())
    what = f"{total} language flags ({kinds}) among the phones of {len(ids)} utterances"
    remedy = "make the labels again (phonemes.labels espeak), or take the flags out of the data"
    if not trained:
        what, remedy = f"{what}; this file is not what is trained or scored", "do not score against this file"
    level: Level = "serious" if trained else "warning"
    return [Finding("language_flags", level, where, what, total, tuple(ids), remedy)]


def empty_tokens(labels: Labels, where: str) -> list[Finding]:
    """Empty or unused dictionary rows that stand in labels."""
    ids = [n for n, phones in labels.items() if any(not p.strip() or p.startswith(UNUSED) for p in phones)]
    if not ids:
        return []
    what = f"{len(ids)} utterances have an empty token among their phones"
    return [Finding("empty_tokens", "serious", where, what, len(ids), tuple(ids), "mend the labels")]


def notations(phones: Iterable[str]) -> list[Finding]:
    """Phones of an inventory that are written in several ways, in mnemonics, with look-alikes, or not in NFC."""
    kinds = sorted(phone for phone in set(phones) if phone and not LANGUAGE_FLAG.fullmatch(phone))
    twice = merged(kinds, lambda phone: (one_notation(phone),))
    findings = []
    if twice:
        pairs = tuple(f"{' '.join(names)} (= {target})" for target, names in twice.items())
        what = f"written in several ways, and so learnt and scored as several phones: {counted(len(pairs), 'sound')}"
        findings.append(
            Finding("mixed_notation", "serious", "", what, len(pairs), pairs, "set phonemes.map to ipa, or to a file")
        )
    mnemonics = tuple(phone for phone in kinds if ipa_phone(phone) != phone)
    if not any(_is_mnemonic(phone) for phone in mnemonics):
        mnemonics = ()
    if mnemonics:
        what = f"in espeak-ng's mnemonics instead of IPA: {counted(len(mnemonics), 'phone')}"
        remedy = "phonemes.map ipa writes them in IPA; keep them to compare with the published figures"
        findings.append(Finding("mnemonics", "warning", "", what, len(mnemonics), mnemonics, remedy))
    alike = tuple(f"{p} (IPA: {one_notation(p)})" for p in kinds if p not in mnemonics and set(p) & set(LOOK_ALIKES))
    if alike:
        what = f"with letters that only look like IPA: {counted(len(alike), 'phone')}"
        findings.append(Finding("look_alikes", "warning", "", what, len(alike), alike, "map them (phonemes.map)"))
    loose = tuple(p for p in kinds if unicodedata.normalize("NFC", p) != p)
    if loose:
        what = f"not in Unicode's composed form (NFC): {counted(len(loose), 'phone')}"
        findings.append(Finding("not_nfc", "warning", "", what, len(loose), loose, "save the labels in NFC"))
    return findings


def _is_mnemonic(phone: str) -> bool:
    """Whether more of espeak-ng's letters stand in a phone than the look-alikes that anyone may type."""
    return replace_look_alikes(phone) != one_notation(phone) and (ipa_phone(phone) != phone)


def coverage(labels: Mapping[str, Labels]) -> list[Finding]:
    """Phones that training hardly has, or lacks while another split has them.

    Args:
        labels: by split; `train` has to be among them.
    """
    known = count_phones(labels["train"])
    rare = tuple(f"{phone} ({n})" for phone, n in sorted(known.items(), key=lambda item: item[1]) if n < RARE_TOKENS)
    findings = []
    if rare:
        what = f"fewer than {RARE_TOKENS} times, too seldom to be learnt: {counted(len(rare), 'phone')}"
        remedy = "add speech that has them, or map them to their nearest phone (phonemes.map)"
        findings.append(Finding("rare_phones", "warning", "train", what, len(rare), rare, remedy))
    for split, other in labels.items():
        there = count_phones(other)
        unseen = {phone: n for phone, n in there.items() if phone not in known}
        if unseen:
            tokens, total = sum(unseen.values()), sum(there.values())
            shown = tuple(f"{phone} ({n})" for phone, n in sorted(unseen.items(), key=lambda item: -item[1]))
            what = (
                f"never in training, and so sure errors: {counted(len(unseen), 'phone')}, {counted(tokens, 'token')}"
                f" ({100 * tokens / total:.2f} %)"
            )
            level = level_of_share(tokens, total, UNSEEN_SHARE)
            remedy = "move utterances that have them to training, or map them (phonemes.map)"
            findings.append(Finding("unseen_phones", level, split, what, len(unseen), shown, remedy))
    return findings
