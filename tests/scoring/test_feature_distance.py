"""PFER against panphon's own distance, on words cleaned by PRiSM's rule written out once more."""

from __future__ import annotations

import string
import unicodedata

import pytest

from unispeech_ft.scoring import feature_distance, score, summarize

panphon_distance = pytest.importorskip("panphon.distance")

REFERENCES = {
    "plain": ["p", "a", "t", "a"],
    "marks": ["tʰ", "ɑ̃", "g", "eː", "t͡ʃ", "ç"],
    "long": ["k", "ɯ", "r", "ɡ", "ɯ", "z", "s", "t", "ɑ", "n"],
    "unknown": ["ʘ", "a", "˥"],
    "silent": ["m", "a"],
}
HYPOTHESES = {
    "plain": ["b", "a", "d"],
    "marks": ["t", "ɑ", "ɡ", "e", "ʃ", "x", "s"],
    "long": ["k", "i", "ɡ", "ɯ", "s", "t", "a", "n", "a"],
    "unknown": ["a", "b"],
    "silent": [],
}


def cleaned(phones: list[str]) -> str:
    word = "".join(phones).replace(" ", "").translate(str.maketrans("", "", string.punctuation))
    return unicodedata.normalize("NFD", word).replace("g", "ɡ").strip()


def test_it_is_panphons() -> None:
    judge = panphon_distance.Distance()
    distances, segments = [], 0
    for name, reference in REFERENCES.items():
        hypothesis, said = cleaned(HYPOTHESES[name]), cleaned(reference)
        distances.append(judge.hamming_feature_edit_distance(hypothesis, said))
        segments += len(judge.fm.ipa_segs(said))
    found = feature_distance.feature_errors(score(REFERENCES, HYPOTHESES))
    assert found is not None
    assert found.per_utterance == pytest.approx(sum(distances) / len(distances))
    assert found.rate == pytest.approx(sum(distances) / segments)
    assert min(distances) > 0
    assert len(set(distances)) == len(distances)


def test_what_has_no_rate() -> None:
    assert feature_distance.feature_errors([]) is None
    none = feature_distance.feature_errors(score({"u": []}, {"u": ["a"]}))
    assert none is not None
    assert none == (1.0, None)
    assert summarize(score({"u": []}, {"u": ["a"]})).by_features is None


def test_it_stands_in_the_summary() -> None:
    scores = score(REFERENCES, HYPOTHESES)
    found, summary = feature_distance.feature_errors(scores), summarize(scores)
    assert found is not None
    assert (summary.pfer_segments, summary.pfer) == found
    assert summary.by_features == (
        f"PFER {found.per_utterance:.2f} segments an utterance (as PRiSM counts), {100 * (found.rate or 0):.2f} %"
    )


def test_without_panphon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feature_distance, "has_features", lambda: False)
    assert feature_distance.feature_errors(score(REFERENCES, HYPOTHESES)) is None


def test_the_command_prints_it(command, tmp_path) -> None:
    reference, hypothesis = tmp_path / "ref", tmp_path / "hyp"
    reference.write_text("u\tp a\n", encoding="utf-8")
    hypothesis.write_text("u\tb a\n", encoding="utf-8")
    status, out, _ = command("score", reference, hypothesis)
    assert status == 0
    cost = panphon_distance.Distance().hamming_feature_edit_distance("ba", "pa")
    said = f"PFER {cost:.2f} segments an utterance (as PRiSM counts), {100 * cost / 2:.2f} %"
    assert said in out
