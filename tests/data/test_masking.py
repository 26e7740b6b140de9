"""SpecAugment masks: the published sampler's statistics, the stock one's, and independence of everything but names."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unispeech_ft.config.sections import MaskConfig
from unispeech_ft.data.masking import POLICIES, Masks, sample_masks

PUBLISHED = MaskConfig()
INDEPENDENT = MaskConfig(sampling="independent")
DRAWS = 1_000


def draw(
    mask: MaskConfig, frames: list[int], epoch: int = 0, *, seed: int = 0, channels: int = 64, **names: object
) -> Masks:
    names = {"micro_batch": 0, "clips": list(range(len(frames)))} | names
    return sample_masks(frames, channels, mask, seed=seed, epoch=epoch, **names)  # type: ignore[arg-type]


@pytest.mark.parametrize(("mask", "expected"), [(PUBLISHED, (82, 82)), (INDEPENDENT, (163, 82))])
def test_masked_frames_of_rows_of_300_and_150(mask: MaskConfig, expected: tuple[int, int]) -> None:
    counts = np.array([draw(mask, [300, 150], epoch).time.sum(axis=1) for epoch in range(DRAWS)])
    assert counts.mean(axis=0) == pytest.approx(expected, abs=2)
    if mask is PUBLISHED:
        assert (counts[:, 0] == counts[:, 1]).all()


def runs(row: np.ndarray) -> list[int]:
    edges = np.flatnonzero(np.diff(np.concatenate(([0], row.astype(int), [0]))))
    return (edges[1::2] - edges[::2]).tolist()


@pytest.mark.parametrize(("mask", "expected"), [(PUBLISHED, 1.9), (INDEPENDENT, 15.9)])
def test_length_of_the_runs_in_the_longer_row(mask: MaskConfig, expected: float) -> None:
    lengths = [run for epoch in range(DRAWS) for run in runs(draw(mask, [300, 150], epoch).time[0])]
    assert np.mean(lengths) == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize(("sampling", "expected"), [("original", 0.197), ("independent", 0.226)])
def test_share_of_channels_in_a_batch_of_four(sampling: str, expected: float) -> None:
    mask = MaskConfig(time_prob=0.0, sampling=sampling)
    shares = [draw(mask, [100] * 4, epoch, channels=1024).channels.mean() for epoch in range(2 * DRAWS)]
    assert np.mean(shares) == pytest.approx(expected, abs=0.005)


samplings = st.sampled_from(["original", "independent"])
frames = st.lists(st.integers(1, 60), min_size=1, max_size=6)


@given(frames, samplings, st.floats(0, 1), st.integers(1, 40), st.integers(0, 2**31))
def test_nothing_beyond_a_row_is_masked(lengths: list[int], sampling: str, prob: float, span: int, seed: int) -> None:
    mask = MaskConfig(time_prob=prob, time_length=span, feature_prob=prob, feature_length=span, sampling=sampling)
    masks = draw(mask, lengths, seed=seed, channels=24)
    if prob == 0:
        assert masks == Masks(None, None)
        return
    assert masks.time.shape == (len(lengths), max(lengths))
    assert masks.channels.shape == (len(lengths), 24)
    for row, length in zip(masks.time, lengths, strict=True):
        assert not row[length:].any()
    if sampling == "original":
        assert len(set(masks.time.sum(axis=1).tolist())) == 1
        assert len(set(masks.channels.sum(axis=1).tolist())) == 1


@pytest.mark.parametrize("sampling", ["original", "independent"])
@pytest.mark.parametrize("length", [1, 2, 5, 9, 10, 11])
def test_rows_shorter_than_a_span_are_no_error(sampling: str, length: int) -> None:
    mask = MaskConfig(sampling=sampling)
    for epoch in range(50):
        time = draw(mask, [length, 40], epoch).time
        assert not time[0, length:].any()
        assert not time[0].all(), "a row that is masked altogether teaches nothing"


def same(one: Masks, other: Masks) -> bool:
    return np.array_equal(one.time, other.time) and np.array_equal(one.channels, other.channels)


@pytest.mark.parametrize("mask", [PUBLISHED, INDEPENDENT])
def test_masks_depend_on_names_alone(mask: MaskConfig) -> None:
    lengths = [120, 110, 100]
    before = draw(mask, lengths, 3, seed=5, micro_batch=2, clips=[7, 8, 9], channels=256)
    np.random.default_rng(0).random(100)
    np.random.seed(99)
    assert same(before, draw(mask, lengths, 3, seed=5, micro_batch=2, clips=[7, 8, 9], channels=256))
    for changed in ({"epoch": 4}, {"seed": 6}):
        names = {"epoch": 3, "seed": 5} | changed
        assert not same(before, draw(mask, lengths, micro_batch=2, clips=[7, 8, 9], channels=256, **names))
    other = {"micro_batch": 3, "clips": [7, 8, 9]} if mask is PUBLISHED else {"micro_batch": 2, "clips": [4, 5, 6]}
    assert not same(before, draw(mask, lengths, 3, seed=5, channels=256, **other))


def test_independent_masks_of_a_clip_do_not_depend_on_its_company() -> None:
    alone = draw(INDEPENDENT, [90], 3, micro_batch=0, clips=[42])
    in_company = draw(INDEPENDENT, [120, 90], 3, micro_batch=9, clips=[1, 42])
    assert np.array_equal(alone.time[0], in_company.time[1, :90])
    assert np.array_equal(alone.channels[0], in_company.channels[1])


@pytest.mark.parametrize("name", POLICIES)
def test_a_policy_has_spans_of_random_lengths(name: str) -> None:
    """Park et al. 2019: widths from 0 to F of 80 bands, and to T steps or a share p of the row."""
    policy, mask, lengths = POLICIES[name], MaskConfig(policy=name), [400, 60, 1]  # type: ignore[arg-type]
    drawn = [draw(mask, lengths, epoch, channels=160) for epoch in range(DRAWS)]
    longest = [min(policy.steps // 2, int(policy.share * length)) for length in lengths]
    for row, most in enumerate(longest):
        counts = np.array([masks.time[row].sum() for masks in drawn])
        assert counts.max() <= min(policy.num_times * most, lengths[row])
        assert not any(masks.time[row, lengths[row] :].any() for masks in drawn)
    counts = np.array([masks.time[0].sum() for masks in drawn])
    assert counts.mean() == pytest.approx(policy.num_times * longest[0] / 2, rel=0.15)
    wide = np.array([masks.channels[0].sum() for masks in drawn])
    assert wide.max() <= policy.num_bands * 2 * policy.bands
    assert wide.mean() == pytest.approx(policy.num_bands * policy.bands, rel=0.25)


def test_a_policy_leaves_a_clip_its_own_masks_in_any_company() -> None:
    mask = MaskConfig(policy="LD")
    alone = draw(mask, [90], 3, micro_batch=0, clips=[42])
    in_company = draw(mask, [120, 90], 3, micro_batch=9, clips=[1, 42])
    assert np.array_equal(alone.time[0], in_company.time[1, :90])
    assert np.array_equal(alone.channels[0], in_company.channels[1])


def test_runs_from_before_policies_keep_their_identity() -> None:
    assert "policy" not in MaskConfig().identified()
    assert MaskConfig(policy="SM").identified()["policy"] == "SM"
