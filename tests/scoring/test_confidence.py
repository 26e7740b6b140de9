"""Confidence: learnt from posteriors whose meaning is known, its error by hand, and what a folder may hold of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from unispeech_ft.errors import UserError
from unispeech_ft.models.confidence import CONFIDENCE, load_confidence, save_confidence
from unispeech_ft.scoring import UtteranceScore
from unispeech_ft.scoring.confidence import Confidence, calibration_error, learn_confidence, mean_posterior
from unispeech_ft.scoring.timing import PhoneTime

Heard = tuple[list[UtteranceScore], dict[str, list[PhoneTime]]]


def heard(count: int, seed: int, right: float = 1.0) -> Heard:
    """Utterances of 20 phones; of mean posterior p, a share p ** 2 · right of them is right."""
    random = np.random.default_rng(seed)
    scores, times = [], {}
    for number in range(count):
        posterior = float(random.uniform(0.4, 0.99))
        wrong = int(random.binomial(20, 1 - right * posterior**2))
        scores.append(UtteranceScore(f"u{number}", ["a"] * 20, ["a"] * 20, wrong, 0, 0))
        times[f"u{number}"] = [PhoneTime(0.0, 0.1, posterior)] * 20
    return scores, times


def test_it_learns_what_posteriors_mean() -> None:
    confidence = learn_confidence(*heard(400, 0))
    assert confidence is not None
    for posterior in (0.5, 0.7, 0.9):
        assert confidence.of(posterior) == pytest.approx(posterior**2, abs=0.05)
    own = calibration_error(confidence, *heard(400, 1))
    assert own is not None
    assert own < 0.03
    worse = calibration_error(confidence, *heard(400, 1, right=0.5))
    assert worse is not None
    assert worse > 0.2
    assert 0.4 <= confidence.unlike_below < 0.43


def test_the_error_by_hand() -> None:
    scores = [UtteranceScore(f"u{n:02d}", ["a"] * 4, ["a"] * 4, n % 2, 0, 0) for n in range(20)]
    times = {item.id: [PhoneTime(0.0, 1.0, 0.5)] for item in scores}
    # Each of the ten groups: said 0.5, right 1 and 0.75.
    assert calibration_error(Confidence(1.0, 0.0, 0.0, 20), scores, times) == pytest.approx(0.375)


def test_of_little_speech_nothing_is_learnt() -> None:
    scores, times = heard(19, 0)
    assert learn_confidence(scores, times) is None
    assert learn_confidence(*heard(30, 0)) is not None
    assert learn_confidence(scores + heard(30, 1)[0][19:], {}) is None, "nothing was recognised"
    assert calibration_error(Confidence(1.0, 0.0, 0.0, 20), scores, times) is None
    assert mean_posterior([]) is None


def test_all_right_is_no_trouble() -> None:
    scores = [UtteranceScore(f"u{n}", ["a"], ["a"], 0, 0, 0) for n in range(40)]
    confidence = learn_confidence(scores, {item.id: [PhoneTime(0.0, 1.0, 1.0)] for item in scores})
    assert confidence is not None
    assert confidence.of(1.0) > 0.99


def test_a_folder_gives_it_back(tmp_path: Path) -> None:
    assert load_confidence(tmp_path) is None
    confidence = Confidence(1.25, -0.5, 0.75, 104)
    save_confidence(tmp_path, confidence)
    assert load_confidence(tmp_path) == confidence


@pytest.mark.parametrize("text", ["", "[]", '{"slope": 1}', '{"slope": NaN, "offset": 0.0}', '{"slope": "1"}', "\xff"])
def test_a_damaged_file_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / CONFIDENCE).write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match="cannot be read"):
        load_confidence(tmp_path)
