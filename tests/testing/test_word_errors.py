"""Words of a lexicon in synthetic speech, with a model that hears all phones rightly."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from unispeech_ft.phonemes.tokenizer import PhoneTokenizer
from unispeech_ft.testing import word_errors
from unispeech_ft.testing.word_errors import measure, spoken_words


def test_all_words_of_a_model_that_knows_are_found(small_model, monkeypatch: pytest.MonkeyPatch) -> None:
    clips, lexicon = spoken_words("ky", 8, 40)
    phones = sorted(
        {phone for _, own in lexicon for phone in own} | {phone for clip, _ in clips for phone in clip.phones}
    )
    tokenizer = PhoneTokenizer.from_inventory(phones, "transformers")
    saved = replace(small_model, tokenizer=tokenizer)
    said = {clip.name: [phone for _, own in words for phone in own] for clip, words in clips}

    def knowing(_: object, path: Path) -> tuple[np.ndarray, float]:
        rows = [row for phone in said[path.stem] for row in (tokenizer.blank_id, *2 * [tokenizer.ids[phone]])]
        posteriors = np.full((len(rows), len(tokenizer.tokens)), 1e-5)
        posteriors[np.arange(len(rows)), rows] = 1
        return np.log(posteriors).astype(np.float32), 0.0

    monkeypatch.setattr(word_errors, "log_posteriors", knowing)
    found, none = measure(saved, clips, lexicon), measure(saved, clips, [])
    words, phones_said = sum(len(own) for _, own in clips), sum(map(len, said.values()))
    assert found.words == [0, words]
    assert none.words == [words, words]
    assert found.phones == found.greedy == none.phones == [0, phones_said]
