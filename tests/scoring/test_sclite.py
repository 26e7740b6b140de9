"""Total errors agree with NIST's sclite (Debian package `sctk`) on realistic pairs.

sclite weighs substitutions 4 and insertions and deletions 3, so S, D and I may divide differently, and on unrelated
pairs even the totals may differ.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from unispeech_ft.scoring import UtteranceScore, score

PAIRS = 2000
# An inventory as sclite reads it: no letters that mean something to it (`;`, `{`, `/`, `@`, parentheses).
INVENTORY = [*"aeiouypbtdkɡqʁmnŋlrszʃʒjwχf", "aː", "eː", "øː", "tʃ", "dʒ"]


def sclite_command() -> list[str] | None:
    """Debian wraps the tools of `sctk` in one command."""
    if found := shutil.which("sclite"):
        return [found]
    return [wrapper, "sclite"] if (wrapper := shutil.which("sctk")) else None


needs_sclite = pytest.mark.skipif(sclite_command() is None, reason="sclite is not installed (Debian: sctk)")


def realistic_pairs(seed: int = 0) -> list[UtteranceScore]:
    """References of 10 to 80 phones, heard with 2 to 30 % errors, a third each; repeats and empty hypotheses occur."""
    random = np.random.default_rng(seed)
    references, hypotheses = {}, {}
    for number in range(PAIRS):
        name = f"spk-{number:04d}"
        reference = [str(phone) for phone in random.choice(INVENTORY, random.integers(10, 81))]
        rate = random.uniform(0.02, 0.3)
        heard: list[str] = []
        for phone in reference:
            fate = random.random() / (rate / 3)
            if fate >= 1:
                heard.append(phone if fate >= 2 else str(random.choice(INVENTORY)))
            if random.random() < rate / 3:
                heard.append(str(random.choice(INVENTORY)))
        references[name], hypotheses[name] = reference, heard
    hypotheses["spk-0000"] = []
    return score(references, hypotheses)


def sclite_errors(scores: list[UtteranceScore], folder: Path) -> list[int]:
    """Substitutions, deletions and insertions of each pair, in the order of the ids, as sclite counts them."""
    for name in ("reference", "hypothesis"):
        lines = (f"{' '.join(getattr(item, name))} ({item.id})\n" for item in scores)
        (folder / name).write_text("".join(lines), encoding="utf-8")
    files = ["-r", str(folder / "reference"), "trn", "-h", str(folder / "hypothesis"), "trn"]
    options = ["-i", "spu_id", "-e", "utf-8", "-s", "-o", "pralign", "stdout"]
    command = [*(sclite_command() or []), *files, *options]
    said = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True).stdout
    found = re.findall(r"id: \((\S+)\)\nScores: \(#C #S #D #I\) \d+ (\d+) (\d+) (\d+)", said)
    counts = {name: int(s) + int(d) + int(i) for name, s, d, i in found}
    assert counts.keys() == {item.id for item in scores}, said[:2000]
    return [counts[item.id] for item in scores]


def test_pairs_are_realistic():
    scores = realistic_pairs()
    per = sum(item.errors for item in scores) / sum(len(item.reference) for item in scores)
    assert len(scores) == PAIRS
    assert 0.1 < per < 0.2


@needs_sclite
def test_totals_agree_with_sclite(tmp_path, capsys):
    scores = realistic_pairs()
    ours, theirs = [item.errors for item in scores], sclite_errors(scores, tmp_path)
    differing = [item.id for item, one, two in zip(scores, ours, theirs, strict=True) if one != two]
    with capsys.disabled():
        print(f"\nsclite: {sum(theirs)} errors, ours {sum(ours)}, on {PAIRS} pairs; {len(differing)} pairs differ")
    assert sum(ours) == sum(theirs)
