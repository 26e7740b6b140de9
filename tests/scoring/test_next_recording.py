"""What to record next: the phones whose next example spares most, and speakers who are unlike or only seem so."""

from __future__ import annotations

import numpy as np
import pytest

from unispeech_ft.scoring import UtteranceScore, score
from unispeech_ft.scoring.next_recording import phones_to_record, recording_lines, speaker_spread

REFERENCE = ["a", "b", "c", "d"] * 100


def scores_of(hypothesis: list[str]) -> list[UtteranceScore]:
    return score({"u": REFERENCE}, {"u": hypothesis})


def test_many_errors_and_few_examples_come_first() -> None:
    heard = ["x", "x", "x", "d"] * 20 + ["x", "b", "c", "d"] * 20 + ["a", "b", "c", "d"] * 60
    training = [["a"] * 4_000 + ["b"] * 30 + ["c"] * 10 + ["d"] * 5]
    found = phones_to_record(scores_of(heard), training)
    assert found == [("c", 20, 100, 10), ("b", 20, 100, 30)], "a has most errors, but each example spares few of them"
    [line] = recording_lines(found, None)
    assert line.endswith("c (20 of 100 missed, 10 in training), b (20 of 100 missed, 30 in training)")


def test_a_phone_that_training_lacks_comes_first() -> None:
    heard = ["x", "x", "c", "d"] * 12 + ["a", "b", "c", "d"] * 88
    found = phones_to_record(scores_of(heard), [["b", "c", "d"] * 50])
    assert [(item.phone, item.examples) for item in found] == [("a", 0)]


@pytest.mark.parametrize("wrong", [0, 9])
def test_few_errors_say_nothing(wrong: int) -> None:
    heard = ["x", "b", "c", "d"] * wrong + ["a", "b", "c", "d"] * (100 - wrong)
    assert phones_to_record(scores_of(heard), [["a", *["b", "c", "d"] * 500]]) == []
    assert recording_lines([], None) == []


def test_what_is_inserted_is_not_missed() -> None:
    heard = [*REFERENCE, *["e"] * 50]
    assert phones_to_record(scores_of(heard), [["a", "e"]]) == []


def spoken(pers: list[float], utterances: int, seed: int = 1) -> list[UtteranceScore]:
    """Utterances of 40 phones each; some are harder than others, whoever says them."""
    random = np.random.default_rng(seed)
    found = []
    for speaker, per in enumerate(pers):
        for number in range(utterances):
            errors = int(random.binomial(40, min(1.0, per * random.gamma(4, 1 / 4))))
            name = f"{speaker}-{number}"
            found.append(UtteranceScore(name, ["a"] * 40, ["b"] * 40, errors, 0, 0, None, f"speaker{speaker}"))
    return found


def test_unlike_speakers() -> None:
    spread = speaker_spread(spoken([0.05, 0.1, 0.3, 0.2], 25))
    assert spread is not None
    assert spread.p_value < 0.01
    assert spread.beyond_chance == pytest.approx(np.std([0.05, 0.1, 0.3, 0.2]), abs=0.03)
    assert [group.name for group in spread.speakers] == ["speaker2", "speaker3", "speaker1", "speaker0"]
    [line] = recording_lines([], spread)
    assert line.startswith("record more speakers: the 4 of the test split differ by more than chance")
    assert "the hardest: speaker2 (" in line
    assert "speaker0 (" not in line


def test_alike_speakers_are_called_unlike_as_often_as_chance_has_it() -> None:
    found = [speaker_spread(spoken([0.2] * 5, 12, seed)) for seed in range(40)]
    assert sum(spread is not None and spread.p_value < 0.05 for spread in found) <= 6
    [line] = recording_lines([], found[0])
    assert line.startswith("more speech of the same speakers may serve as well")


def test_the_order_of_the_utterances_says_nothing() -> None:
    scores = spoken([0.1, 0.2, 0.3], 6)
    assert speaker_spread(scores) == speaker_spread(scores[::-1])


@pytest.mark.parametrize("scores", [[], spoken([0.1, 0.4], 50), spoken([0.1, 0.2, 0.4, 0.5], 4)])
def test_too_few_speakers_or_too_little_of_each(scores: list[UtteranceScore]) -> None:
    assert speaker_spread(scores) is None


def test_utterances_of_nobody_known_and_silent_ones_are_left_out() -> None:
    scores = spoken([0.1, 0.2, 0.4], 6)
    extra = [UtteranceScore("n", ["a"] * 40, [], 0, 40, 0), UtteranceScore("s", [], ["a"], 0, 0, 1, None, "speaker0")]
    assert speaker_spread([*scores, *extra]) == speaker_spread(scores)
