import jiwer
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unispeech_ft.errors import UserError, UserErrors
from unispeech_ft.scoring import align, corpus_per, distance, score, shuffled_per

phones = st.lists(st.sampled_from(["t", "a", "tʃ", "aː", "ʃ", "d["]), max_size=12)
corpora = st.lists(st.tuples(phones.filter(bool), phones), min_size=1, max_size=8)


def scored(pairs):
    return score({f"u{i}": ref for i, (ref, _) in enumerate(pairs)}, {f"u{i}": hyp for i, (_, hyp) in enumerate(pairs)})


def test_known_alignment():
    found = align(["t", "a", "tʃ"], ["a", "s", "aː"])
    assert found.errors == 3
    assert align(["t", "a"], []).pairs == [("t", None), ("a", None)]
    assert align([], ["a"]).pairs == [(None, "a")]
    assert align([], []).pairs == []
    substituted = align(["a", "tʃ", "a"], ["a", "t", "a"])
    assert (substituted.substitutions, substituted.deletions, substituted.insertions) == (1, 0, 0)


def test_phones_are_units_and_not_letters():
    assert distance(["tʃ"], ["t", "ʃ"]) == 2
    assert corpus_per(scored([(["tʃ", "a"], ["t", "a"])])) == 0.5


@given(phones, phones)
def test_alignment_is_complete_and_deterministic(reference, hypothesis):
    found = align(reference, hypothesis)
    assert [ref for ref, _ in found.pairs if ref is not None] == reference
    assert [hyp for _, hyp in found.pairs if hyp is not None] == hypothesis
    assert sum(ref != hyp for ref, hyp in found.pairs) == found.errors == distance(reference, hypothesis)
    assert found.deletions == sum(hyp is None for _, hyp in found.pairs)
    assert found == align(list(reference), list(hypothesis))


@given(corpora)
def test_totals_agree_with_jiwer(pairs):
    theirs = jiwer.process_words([" ".join(ref) for ref, _ in pairs], [" ".join(hyp) for _, hyp in pairs])
    scores = scored(pairs)
    assert corpus_per(scores) == theirs.wer
    assert sum(u.substitutions for u in scores) == theirs.substitutions
    assert sum(u.deletions for u in scores) == theirs.deletions
    assert sum(u.insertions for u in scores) == theirs.insertions


def test_per_of_no_reference_phones_is_unknown():
    assert corpus_per(scored([([], ["a"])])) is None
    assert corpus_per([]) is None
    assert corpus_per(scored([([], ["a"]), (["t"], ["t"])])) == 1.0


def test_durations_and_speakers_are_carried_by_id():
    scores = score({"b": ["t"], "a": []}, {"a": [], "b": ["t"]}, durations_s={"b": 1.5}, speakers={"a": "s"})
    assert [(u.id, u.duration_s, u.speaker) for u in scores] == [("b", 1.5, None), ("a", None, "s")]


def test_ids_must_agree():
    with pytest.raises(UserErrors) as caught:
        score({"a": ["t"], "b": ["t"]}, {"a": ["t"], "z": ["t"]})
    missing, unknown = caught.value.lines
    assert "b" in missing
    assert "explicit empty hypothesis" in missing
    assert "z" in unknown


def test_many_missing_ids_are_counted():
    with pytest.raises(UserError, match=r"9 of 9 .* and 4 more"):
        score({f"u{i}": ["t"] for i in range(9)}, {})


def test_strings_and_broken_phones_are_refused():
    with pytest.raises(TypeError, match="list of phones"):
        score({"a": "t a"}, {"a": ["t"]})
    with pytest.raises(TypeError, match="list of phones"):
        align("ta", ["t"])
    with pytest.raises(UserError, match="a: 't a' is not a phone"):
        score({"a": ["t a"]}, {"a": ["t"]})
    with pytest.raises(UserError, match="a: '' is not a phone"):
        score({"a": ["t"]}, {"a": [""]})


def test_shuffled_per_never_pairs_an_utterance_with_itself():
    perfect = scored([([f"p{i}"] * 5, [f"p{i}"] * 5) for i in range(20)])
    for seed in range(10):
        assert shuffled_per(perfect, seed) == 1.0
    assert shuffled_per(perfect[::-1]) == shuffled_per(perfect)
    assert shuffled_per(perfect[:1]) is None
    assert shuffled_per(scored([([], []), ([], [])])) is None
