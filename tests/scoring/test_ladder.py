"""The PER ladder: what each rung forgives, and the weighted distance against one written out."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unispeech_ft.phonemes.look_alikes import one_notation
from unispeech_ft.scoring import ladder as rungs
from unispeech_ft.scoring import score

needs_panphon = pytest.mark.skipif(not rungs.has_features(), reason="panphon is not installed")
STRICT, NOTATION, LENGTH, DIACRITICS, BROAD = range(5)
FORGIVEN_FROM = [
    ("t͡ʃ", "tʃ", NOTATION),
    ("tS", "tʃ", NOTATION),
    ("g", "ɡ", NOTATION),
    ("oe:", "øː", NOTATION),
    ("c\u0327", "ç", NOTATION),
    ("а", "a", NOTATION),
    ("ʊː", "ʊ", LENGTH),
    ("e:", "e", LENGTH),
    ("ɑ̃", "ɑ", DIACRITICS),
    ("tʰ", "t", DIACRITICS),
    ("d[", "d", DIACRITICS),
    ("ɑ5", "ɑ1", DIACRITICS),
    ("ˈa", "a", DIACRITICS),
    ("ɚ", "ə", DIACRITICS),
    ("p", "b", BROAD),
    ("e", "aɪ", BROAD),
    ("tʃ", "ts", BROAD),
    ("ç", "x", BROAD),
]
PHONES = st.lists(st.sampled_from(["a", "aː", "ã", "t", "d[", "tS", "tʃ", "s", "ç", "g", "ɡ", "l", "m"]), max_size=12)


def pers(reference: list[str], hypothesis: list[str]) -> list[float | None]:
    return [rung.per for rung in rungs.ladder(score({"u": reference}, {"u": hypothesis}))]


@pytest.mark.parametrize(("first", "second", "rung"), FORGIVEN_FROM)
def test_rung_from_which_a_pair_is_one_phone(first, second, rung):
    assert pers([first], [second]) == [1.0] * rung + [0.0] * (5 - rung)


@pytest.mark.parametrize(("first", "second"), [("p", "f"), ("a", "t"), ("t", "ts"), ("l", "r"), ("m", "b")])
def test_other_classes_stay_errors(first, second):
    assert pers([first], [second]) == [1.0] * 5


def test_a_tone_that_stands_alone_leaves_both_sides():
    assert pers(["m", "a", "˥"], ["m", "a", "˩"]) == [1 / 3, 1 / 3, 1 / 3, 0.0, 0.0]
    assert pers(["˥"], ["˩"])[3:] == [None, None]


@given(PHONES.filter(bool), PHONES)
def test_no_rung_is_stricter_than_the_one_above(reference, hypothesis):
    assert all(above >= below for above, below in pairwise(pers(reference, hypothesis)))


def test_no_ladder_without_reference_phones():
    scores = score({"u": []}, {"u": ["a"]})
    assert rungs.ladder(scores)[0].per is None
    assert rungs.ladder_lines(scores) == []


def test_the_command_prints_it_under_the_per(command, tmp_path):
    reference, hypothesis = tmp_path / "ref", tmp_path / "hyp"
    reference.write_text("u\ta t͡ʃ ʊː p\n", encoding="utf-8")
    hypothesis.write_text("u\ta tʃ ʊ b\n", encoding="utf-8")
    status, out, _ = command("score", reference, hypothesis)
    assert status == 0
    shown = [line.split()[-2] for line in out.split("PER ladder\n")[1].splitlines()[:5]]
    assert shown == ["75.00", "50.00", "25.00", "25.00", "0.00"]
    assert "ladder" not in command("score", reference, hypothesis, "--json")[1]


def written_out(costs: np.ndarray) -> float:
    rows, columns = costs.shape
    table = np.zeros((rows + 1, columns + 1))
    table[:, 0], table[0] = np.arange(rows + 1), np.arange(columns + 1)
    for i in range(rows):
        for j in range(columns):
            table[i + 1, j + 1] = min(table[i, j + 1] + 1, table[i + 1, j] + 1, table[i, j] + costs[i, j])
    return float(table[-1, -1])


@given(st.integers(0, 8), st.integers(0, 8), st.integers(0, 1000))
def test_weighted_distance_equals_one_written_out(rows, columns, seed):
    costs = np.random.default_rng(seed).random((rows, columns))
    assert rungs.weighted_distance(costs) == pytest.approx(written_out(costs))


def test_cost_by_features():
    one, two = np.array([[1.0, -1.0, 0.0, 1.0]]), np.array([[1.0, 1.0, 1.0, 1.0]])
    assert rungs.feature_cost(one, one) == 0.0
    assert rungs.feature_cost(one, two) == pytest.approx((2 + 1) / 2 / 4)
    assert rungs.feature_cost(np.concatenate([one, two]), one) == 0.5
    assert rungs.feature_cost(one, np.empty((0, 4))) == 1.0


def test_per_by_features_of_any_table():
    table = {"p": [[-1.0, 1.0]], "b": [[1.0, 1.0]], "?": []}
    scores = score({"u": ["p", "b", "?", "p"]}, {"u": ["b", "b", "?"]})
    found = rungs.feature_per(scores, lambda phone: np.array(table[phone]).reshape(-1, 2))
    assert found == pytest.approx((0.5 + 1) / 4)


@needs_panphon
def test_panphon_tells_near_from_far():
    features = rungs.panphon_features()
    near, far = (rungs.feature_cost(features("p"), features(other)) for other in ("b", "a"))
    assert 0 < near < far < 1
    assert rungs.feature_cost(features("tS"), features("t͡ʃ")) == 0.0
    scores = score({"u": ["p", "a"]}, {"u": ["b", "a"]})
    assert rungs.ladder(scores, features)[-1] == rungs.Rung("by features", pytest.approx(near / 2))


def test_one_notation_is_idempotent():
    for phone in ("tS", "oe:", "d[", "ɑ̃", "g", "t͡ʃ", "ç"):
        assert one_notation(one_notation(phone)) == one_notation(phone)


@pytest.mark.parametrize(
    ("fold", "errors", "phones"), [("notation", 2, 4), ("length", 1, 4), ("diacritics", 1, 4), ("class", 0, 4)]
)
def test_a_rung_scores_by_its_name(fold, errors, phones, command, tmp_path):
    reference, hypothesis = tmp_path / "ref", tmp_path / "hyp"
    reference.write_text("u\ta t͡ʃ ʊː p\n", encoding="utf-8")
    hypothesis.write_text("u\ta tʃ ʊ b\n", encoding="utf-8")
    status, out, _ = command("score", reference, hypothesis, "--fold", fold, "--json")
    said = json.loads(out)
    assert (status, said["substitutions"], said["reference_phones"]) == (0, errors, phones)
    assert said["scoring"].endswith(f"folded first: {fold}.")
    assert (said["pfer"] is None) == (fold == "class"), "names of classes have no features"
    shown = command("score", reference, hypothesis, "--fold", fold)[1]
    assert ("PER ladder" in shown, "PFER" in shown) == (fold != "class", fold != "class")


def test_a_folding_of_ones_own(command, tmp_path):
    reference, hypothesis, own = tmp_path / "ref", tmp_path / "hyp", tmp_path / "own"
    reference.write_text("u\tp a ʔ r\n", encoding="utf-8")
    hypothesis.write_text("u\tb a ɾ\n", encoding="utf-8")
    own.write_text("p\tb\nʔ\t\nɾ\tr\n", encoding="utf-8")
    status, out, _ = command("score", reference, hypothesis, "--fold", own, "--floor", reference, "--json")
    said = json.loads(out)
    assert (status, said["per"], said["reference_phones"], said["reference_floor"]) == (0, 0, 3, 0)
    status, _, err = command("score", reference, hypothesis, "--fold", "timit")
    assert status == 2
    assert "no folding timit: give notation, length, diacritics, class, or a file" in err


def test_a_class_that_is_two_words_is_one_phone(command, tmp_path):
    file = tmp_path / "ref"
    file.write_text("u\tr ɾ\n", encoding="utf-8")
    assert json.loads(command("score", file, file, "--fold", "class", "--json")[1])["reference_phones"] == 2
