"""SI-SDR by hand, against another library, and in the best order of speakers."""

from __future__ import annotations

import numpy as np
import pytest

from unispeech_ft.scoring.separation import best_order, improvement, si_sdr


def test_by_hand() -> None:
    reference = np.array([1.0, -1.0, 1.0, -1.0])
    rest = np.array([1.0, 1.0, -1.0, -1.0])  # neither is a part of the other
    assert si_sdr(reference + 0.1 * rest, reference) == pytest.approx(20, abs=1e-6)
    assert si_sdr(-7 * (reference + 0.1 * rest) + 3, reference) == pytest.approx(20, abs=1e-6)
    assert si_sdr(reference + rest, reference) == pytest.approx(0, abs=1e-6)
    assert si_sdr(rest, reference) < -100 < 100 < si_sdr(2 * reference, reference)


def test_silence_has_a_ratio() -> None:
    sound = np.array([1.0, -1.0, 2.0, -2.0])
    for pair in ((sound, 0 * sound), (0 * sound, sound), (0 * sound, 0 * sound)):
        assert np.isfinite(si_sdr(*pair))


def test_it_is_that_of_another_library() -> None:
    audio = pytest.importorskip("torchmetrics.functional.audio")
    import torch

    random = np.random.default_rng(0)
    for _ in range(5):
        reference, rest = random.normal(size=(2, 1600))
        estimate = 0.3 * reference + random.uniform(0, 1) * rest + 0.1
        theirs = audio.scale_invariant_signal_distortion_ratio(
            torch.from_numpy(estimate), torch.from_numpy(reference), zero_mean=True
        )
        assert si_sdr(estimate, reference) == pytest.approx(float(theirs), abs=1e-4)


def test_the_best_order_counts() -> None:
    random = np.random.default_rng(1)
    sources = random.normal(size=(3, 4000))
    mixed = sources.sum(axis=0)
    estimates = (sources + 0.1 * random.normal(size=(3, 4000)))[[2, 0, 1]]
    order, ratio = best_order(estimates, sources)
    assert order == [2, 0, 1]
    assert ratio == pytest.approx(20, abs=0.5)
    alone = np.mean([si_sdr(mixed, source) for source in sources])
    assert improvement(estimates, sources, mixed) == pytest.approx(ratio - alone)
    assert improvement(np.stack([mixed] * 3), sources, mixed) == pytest.approx(0, abs=1e-9)
