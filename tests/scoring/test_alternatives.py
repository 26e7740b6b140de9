"""Other phones that a phone may have been, against sums over its frames one by one."""

from __future__ import annotations

import numpy as np
import pytest

from unispeech_ft.phonemes.tokenizer import PhoneTokenizer
from unispeech_ft.scoring.alternatives import likeliest, mean_posteriors
from unispeech_ft.scoring.greedy import Segment, segments
from unispeech_ft.scoring.timing import FrameGrid, phone_times


def test_they_are_the_means_over_the_frames_that_mark_a_phone() -> None:
    tokenizer = PhoneTokenizer.from_inventory(["a", "b", "t͡ʃ"], "transformers")
    posteriors = np.random.default_rng(0).dirichlet(np.ones(7), 40)
    logs = np.log(posteriors).astype(np.float32)
    marks = segments(logs.argmax(axis=1), tokenizer.blank_id, tokenizer.special_ids)
    means = mean_posteriors(marks, logs, tokenizer)
    times = phone_times(marks, logs, FrameGrid(0.02), 0.8)
    assert len(means) == len(marks) > 5
    for mark, mean, time in zip(marks, means, times, strict=True):
        frames = range(mark.start_frame, mark.end_frame)
        for phone in tokenizer.phones:
            brute = sum(posteriors[t, tokenizer.ids[phone]] for t in frames) / len(frames)
            assert mean[phone] == pytest.approx(brute, abs=1e-6)
        own = tokenizer.tokens[mark.label]
        assert mean[own] == pytest.approx(time.posterior, abs=1e-6)
        specials = sum(posteriors[t, row] for t in frames for row in tokenizer.special_ids) / len(frames)
        assert sum(mean.values()) + specials == pytest.approx(1, abs=1e-6)
        (first, second) = likeliest(mean, own, 5)
        assert {first[0], second[0], own} == set(tokenizer.phones)
        assert first[1] >= second[1]
        assert likeliest(mean, own, 1) == (first,)


def test_none_of_no_phones() -> None:
    tokenizer = PhoneTokenizer.from_inventory(["a"], "transformers")
    assert mean_posteriors([], np.zeros((3, 5), np.float32), tokenizer) == []
    (only,) = mean_posteriors([Segment(4, 0, 2)], np.zeros((3, 5), np.float32), tokenizer)
    assert likeliest(only, "a", 3) == ()
