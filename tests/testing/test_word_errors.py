"""Words of a lexicon in synthetic speech, with a model that hears all phones rightly, and with one that guesses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from unispeech_ft.testing import word_errors
from unispeech_ft.testing.word_errors import measure, spoken_words


def test_all_words_of_a_model_that_knows_are_found(small_model, monkeypatch: pytest.MonkeyPatch) -> None:
    clips, lexicon = spoken_words("ky", 8, 40)
    tokenizer = small_model.tokenizer
    said = {clip.name: [phone for _, own in words for phone in own] for clip, words in clips}

    def knowing(_: object, path: Path) -> tuple[np.ndarray, float]:
        rows = [row for phone in said[path.stem] for row in (tokenizer.blank_id, *2 * [tokenizer.ids[phone]])]
        posteriors = np.full((len(rows), len(tokenizer.tokens)), 1e-5)
        posteriors[np.arange(len(rows)), rows] = 1
        return np.log(posteriors).astype(np.float32), 0.0

    known = [(clip, words) for clip, words in clips if set(said[clip.name]) <= set(tokenizer.phones)]
    assert known
    with monkeypatch.context() as patch:
        patch.setattr(word_errors, "log_posteriors", knowing)
        found = measure(small_model, known, lexicon)
        none = measure(small_model, known, [])
    assert found.words == [0, sum(len(words) for _, words in known)]
    assert found.phones == found.greedy == none.phones == [0, sum(len(said[clip.name]) for clip, _ in known)]
    assert none.words == [found.words[1], found.words[1]]
    guessed = measure(small_model, known[:1], lexicon)
    assert guessed.words[0] > 0
