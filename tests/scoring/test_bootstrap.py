import numpy as np
import pytest

from unispeech_ft.scoring import UtteranceScore, bootstrap_per, corpus_per


def corpus(errors, phones, speakers=None):
    return [
        UtteranceScore(f"u{i:04}", ["a"] * n, ["b"] * e + ["a"] * (n - e), e, 0, 0, None, speakers and speakers[i])
        for i, (e, n) in enumerate(zip(errors, phones, strict=True))
    ]


def test_one_utterance_and_no_errors_are_well_defined():
    assert bootstrap_per(corpus([2], [4])) == (0.5, 0.5, "utterance")
    assert bootstrap_per(corpus([0, 0], [4, 5])) == (0.0, 0.0, "utterance")


def test_without_reference_phones_there_is_no_interval():
    assert bootstrap_per([]) is None
    assert bootstrap_per(corpus([0, 0], [0, 0])) is None


def test_draws_without_reference_phones_are_left_out():
    interval = bootstrap_per(corpus([1, 0], [2, 0]))
    assert interval == (0.5, 0.5, "utterance")


def test_agrees_with_the_normal_approximation_of_a_binomial():
    rng = np.random.default_rng(7)
    wrong = rng.random(2000) < 0.2
    scores = corpus(wrong.astype(int).tolist(), [1] * 2000)
    interval = bootstrap_per(scores)
    share = corpus_per(scores)
    half = 1.96 * (share * (1 - share) / 2000) ** 0.5
    assert interval.low == pytest.approx(share - half, abs=0.001)
    assert interval.high == pytest.approx(share + half, abs=0.001)


def test_deterministic_whatever_the_order_and_different_by_seed():
    rng = np.random.default_rng(1)
    scores = corpus(rng.integers(0, 10, 50).tolist(), [20] * 50)
    assert bootstrap_per(scores) == bootstrap_per(scores[::-1])
    assert bootstrap_per(scores) != bootstrap_per(scores, seed=1)


@pytest.mark.parametrize(("speakers", "unit"), [(9, "utterance"), (10, "speaker")])
def test_by_speaker_from_ten_speakers(speakers, unit):
    scores = corpus([1] * 40, [4] * 40, [f"s{i % speakers}" for i in range(40)])
    assert bootstrap_per(scores).unit == unit


def test_whole_speakers_are_drawn():
    """Utterances that err alike within a speaker make the honest interval wider."""
    speakers = [f"s{i % 10}" for i in range(200)]
    errors = [8 if i % 10 < 3 else 0 for i in range(200)]
    blocked = bootstrap_per(corpus(errors, [10] * 200, speakers))
    single = bootstrap_per(corpus(errors, [10] * 200))
    assert blocked.high - blocked.low > 2 * (single.high - single.low)


def test_utterances_of_unknown_speakers_are_units_of_their_own():
    speakers = [f"s{i}" if i < 10 else None for i in range(30)]
    scores = corpus([i % 5 for i in range(30)], [5] * 30, speakers)
    own = corpus([i % 5 for i in range(30)], [5] * 30, [f"s{i:02}" for i in range(30)])
    assert bootstrap_per(scores).unit == "speaker"
    found, expected = bootstrap_per(scores), bootstrap_per(own)
    assert found.high - found.low == pytest.approx(expected.high - expected.low, rel=0.1)
