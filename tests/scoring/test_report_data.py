"""What the report tells: order of phones, kept utterances, cells, groups, checks, curves, and its size."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from telling import telling_result

from unispeech_ft.scoring import report_html, score, summarize
from unispeech_ft.scoring.report import Recordings, parse_curves
from unispeech_ft.scoring.report.data import align_all, kept_utterances, page_data, sounds
from unispeech_ft.scoring.report.figures import draw_curve, thinned
from unispeech_ft.scoring.report.groups import by_duration, by_speaker, collapse_checks, phone_errors
from unispeech_ft.scoring.report.order import ipa_order, phone_class
from unispeech_ft.scoring.timing import PhoneTime


@pytest.fixture
def told():
    return telling_result()


def test_phones_stand_by_manner_and_place_and_any_string_finds_one():
    mixed = ["a", "ŋ", "N", "Ж?", "tʃ", "tS", "s", "iː", "i", "k", "p", "r", "l", "j", "m", "u", "ts", "", "<b>", "ǃ"]
    ordered = ipa_order(mixed)
    expected = ["p", "k", "ts", "tS", "tʃ", "m", "N", "ŋ", "r", "s", "j", "l", "ǃ", "i", "iː", "u", "a"]
    assert ordered[: len(expected)] == expected
    assert sorted(ordered) == sorted(mixed)
    assert [phone_class(phone) for phone in ("tS", "ø", "ʃː", "<b>")] == ["affricate", "vowel", "fricative", "other"]


def data_of(page: str) -> dict:
    return json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1])


def test_cells_count_every_pair_and_name_their_utterances(told):
    scores, recordings = told
    data = data_of(report_html(scores, summarize(scores), "T", recordings=recordings))
    names = data["names"]
    cells = {(said, heard): (count, examples) for said, heard, count, examples in data["cells"]}
    a, o, k = (names.index(phone) for phone in "aok")
    count, examples = cells[a, o]
    assert count == 2
    for utterance, pair in examples:
        assert data["utterances"][utterance]["pairs"][pair] == [a, o]
        assert data["utterances"][utterance]["times"][pair] == [200, 400]
    assert cells[k, a][0] == 1
    assert cells[-1, names.index("n")][0] == 1
    said = sum(len(item.reference) for item in scores)
    assert sum(count for (first, _), (count, _) in cells.items() if first >= 0) == said


def test_kept_utterances_cover_the_confusions_first():
    references = {f"u{n:03}": ["a", "b", "c", "d"] for n in range(200)}
    hypotheses = {name: list(phones) for name, phones in references.items()}
    hypotheses["u100"] = ["a", "b", "c", "x"]
    for n in range(40):
        hypotheses[f"u{n:03}"] = ["z", "z", "z", "z"]
    kept = kept_utterances(align_all(score(references, hypotheses), None), limit=25)
    assert len(kept) == 25
    assert "u100" in [item.score.id for item in kept[:21]]


def test_sound_stops_at_the_budget(told):
    scores, recordings = told
    aligned = align_all(scores, recordings)
    kept = kept_utterances(aligned)
    every = dict(sounds(kept, recordings))
    assert sorted(every) == [0, 1, 2, 3]
    assert every[0].num_samples == len(recordings.waveform(kept[0].score.id))
    budget = len(every[0].encoded) + len(every[1].encoded)
    assert sum(len(sound.encoded) for _, sound in sounds(kept, recordings, budget)) <= budget
    assert page_data(aligned, kept, {})["sound"] == {}


def test_a_page_of_any_size_stays_below_five_megabytes():
    random = np.random.default_rng(0)
    inventory = [f"{letter}{mark}" for letter in "aeioupbtdkgmnszlrfvj" for mark in ["", *"ːʰʲʷ̥̃0123456789"]]
    references, hypotheses = {}, {}
    for n in range(3000):
        name = f"utterance with a long name {n} " + "x" * 150
        references[name] = random.choice(inventory, 45).tolist()
        wrong = random.random(45) < 0.4
        other = random.choice(inventory, 45).tolist()
        hypotheses[name] = [b if w else a for a, b, w in zip(references[name], other, wrong, strict=True)]
    noise = random.normal(0, 0.2, 16_000 * 9).astype(np.float32)
    times = {name: [PhoneTime(0.2 * n, 0.2 * n + 0.2, 1.0) for n in range(45)] for name in references}
    scores = score(references, hypotheses, durations_s=dict.fromkeys(references, 9.0))
    page = report_html(scores, summarize(scores), "Large", recordings=Recordings(times, lambda _: noise))
    assert 2_000_000 < len(page.encode()) < 5_000_000
    assert len(data_of(page)["sound"]) > 20


def test_groups():
    scores = score(
        {"a": ["x"] * 4, "b": ["x"] * 4, "c": ["y"]},
        {"a": ["x"] * 4, "b": ["x", "y"], "c": ["y", "z"]},
        durations_s={"a": 1.0, "b": 2.0, "c": 30.0},
        speakers={"a": "anna", "b": "ben", "c": "ben"},
    )
    assert [(group.name, group.per, group.utterances) for group in by_speaker(scores)] == [
        ("ben", 0.8, 2),
        ("anna", 0, 1),
    ]
    assert [group.name for group in by_duration(scores)] == ["0 to 2 s", "2 to 3 s", "15 s and more"]
    pairs = [pair for item in align_all(scores, None) for pair in item.pairs]
    first, *rest = phone_errors(pairs)
    assert (first.phone, first.said, first.substituted, first.deleted, first.inserted) == ("x", 8, 1, 2, 0)
    assert [row.phone for row in rest] == ["z"]
    assert by_speaker(score({"a": ["x"]}, {"a": []}, speakers={"a": "anna"})) == []


@pytest.mark.parametrize(
    ("hypothesis", "complaint"),
    [
        (lambda reference: [], "hypotheses are empty"),
        (lambda reference: ["a", "b"] * 8, "one and the same hypothesis"),
        (lambda reference: [phone for phone in reference if phone != "a"], "never recognised: a"),
        (lambda reference: reference * 3, "recognised for each one said"),
    ],
)
def test_a_collapsed_model_is_told(hypothesis, complaint):
    random = np.random.default_rng(1)
    references = {str(n): random.choice(list("abcdefgh"), 16).tolist() for n in range(40)}
    right = score(references, references)
    assert all(check.good for check in collapse_checks(right, summarize(right, blank_share=0.6)))
    wrong = score(references, {name: hypothesis(phones) for name, phones in references.items()})
    bad = [check.text for check in collapse_checks(wrong, summarize(wrong, blank_share=0.6)) if not check.good]
    assert any(complaint in text for text in bad)
    blank = collapse_checks(right, summarize(right, blank_share=0.99))
    assert [check.text for check in blank if not check.good] == ["99.0 % of the frames are blank"]


def test_curves_from_metrics():
    lines = [{"event": "update", "update": n + 1, "loss": 500 / (n + 1), "lr": 1.0} for n in range(1000)]
    lines.append({"event": "update", "update": 7, "loss": None, "lr": 1.0})  # was not finite, and left out
    lines += [{"event": "evaluation", "update": n, "per": 1 - n / 2000} for n in (500, 1000)]
    curves = parse_curves("\n".join(map(json.dumps, lines)) + '\n{"event": "upd')
    assert (len(curves.loss), curves.per) == (1000, [(500, 0.75), (1000, 0.5)])
    few = thinned(curves.loss)
    assert len(few) <= 160
    assert few[0][1] == pytest.approx(np.mean([loss for _, loss in curves.loss[:7]]))
    page = report_html([], summarize([]), "T", curves=curves)
    assert (page.count("<polyline"), page.count("<circle")) == (2, 2)
    assert "lowest 50 % at update 1000" in draw_curve(curves.per, "Validation PER", percent=True).said
    for points in ([(1, 2.0)], [(1, 0.0), (2, 0.0)], [(1, -1.0), (2, 3.0)]):
        assert "nan" not in repr(draw_curve(points, "Loss", logarithmic=True))
