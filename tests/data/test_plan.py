"""The batch plan: every clip once an epoch, limits kept, the same plan everywhere, whole micro-batches a process."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unispeech_ft.data.batch_plan import BatchPlan, MicroBatch, Update, evaluation_batches
from unispeech_ft.errors import UserError

RATE_HZ = 16_000
LIMIT_S, UPDATE_S = 10.0, 25.0

lengths = st.lists(st.integers(1, int(LIMIT_S * RATE_HZ)), min_size=1, max_size=80)
seeds = st.integers(0, 2**31)
epochs = st.integers(0, 2_000)


def plan_of(samples: list[int], seed: int = 0, update_s: float = UPDATE_S) -> BatchPlan:
    return BatchPlan(np.array(samples, dtype=np.int64), update_s, LIMIT_S, seed)


def clips_of(update: list[MicroBatch]) -> list[int]:
    return [clip for micro_batch in update for clip in micro_batch.clips]


@given(lengths, seeds, epochs)
def test_every_clip_stands_exactly_once_in_an_epoch(samples: list[int], seed: int, epoch: int) -> None:
    planned = [clip for update in plan_of(samples, seed).epoch(epoch) for clip in clips_of(update)]
    assert sorted(planned) == list(range(len(samples)))


@given(lengths, seeds, epochs)
def test_the_limits_hold(samples: list[int], seed: int, epoch: int) -> None:
    updates = plan_of(samples, seed).epoch(epoch)
    for update in updates:
        assert update
        assert sum(micro_batch.padded_samples for micro_batch in update) <= UPDATE_S * RATE_HZ
        for micro_batch in update:
            assert micro_batch.clips
            assert micro_batch.padded_samples == max(samples[clip] for clip in micro_batch.clips) * len(
                micro_batch.clips
            )
            assert micro_batch.padded_samples <= LIMIT_S * RATE_HZ
    indices = [micro_batch.index for update in updates for micro_batch in update]
    assert indices == list(range(len(indices)))
    assert {micro_batch.epoch for update in updates for micro_batch in update} == {epoch}


@given(lengths, seeds, epochs)
def test_the_plan_is_a_function_of_lengths_seed_and_epoch(samples: list[int], seed: int, epoch: int) -> None:
    fresh, used = plan_of(samples, seed), plan_of(samples, seed)
    for other in (epoch + 1, 0, 3):
        used.epoch(other)
    assert used.epoch(epoch) == fresh.epoch(epoch)


def hour_of_speech(seed: int) -> BatchPlan:
    seconds = np.random.default_rng(5).uniform(1.0, 10.6, 750)
    return BatchPlan(np.round(seconds * RATE_HZ).astype(np.int64), 250.0, 62.5, seed)


def test_epochs_and_seeds_differ() -> None:
    def company(seed: int, epoch: int) -> set[frozenset[int]]:
        return {frozenset(item.clips) for update in hour_of_speech(seed).epoch(epoch) for item in update}

    draws = [company(0, 0), company(0, 1), company(0, 2), company(1, 0)]
    for one, other in itertools.combinations(draws, 2):
        assert len(one & other) < 0.2 * len(one), "clips should meet other clips in another epoch"


@given(lengths, seeds, st.integers(0, 60), st.integers(0, 20), st.integers(0, 20))
@settings(max_examples=60)
def test_updates_from_anywhere_are_a_slice_of_the_run(
    samples: list[int], seed: int, first: int, until: int, more: int
) -> None:
    whole = list(plan_of(samples, seed).updates(0, first + until + more))
    assert [update.number for update in whole] == list(range(first + until + more))
    assert list(plan_of(samples, seed).updates(first, first + until)) == whole[first : first + until]


@given(lengths, seeds)
def test_updates_are_the_epochs_one_after_another(samples: list[int], seed: int) -> None:
    plan = plan_of(samples, seed)
    expected = [(epoch, tuple(update)) for epoch in range(3) for update in plan.epoch(epoch)]
    found = [(update.epoch, update.micro_batches) for update in plan.updates(0, len(expected))]
    assert found == expected


@given(lengths, seeds, st.integers(1, 9))
def test_the_shares_of_all_processes_make_up_the_update(samples: list[int], seed: int, processes: int) -> None:
    for update in plan_of(samples, seed).updates(0, 4):
        shares = [update.share(rank, processes) for rank in range(processes)]
        together = [micro_batch for share in shares for micro_batch in share]
        assert sorted(together, key=lambda item: item.index) == list(update.micro_batches)
        sizes = [len(share) for share in shares]
        assert max(sizes) - min(sizes) <= 1
        assert update.num_sentences == sum(len(item.clips) for item in update.micro_batches)
        assert update.padded_s == pytest.approx(sum(item.padded_samples for item in update.micro_batches) / RATE_HZ)


def test_a_process_may_have_nothing_to_do() -> None:
    only = MicroBatch(0, 0, (3, 4), 100)
    update = Update(0, 0, (only,))
    assert [update.share(rank, 3) for rank in range(3)] == [(only,), (), ()]


def test_little_is_padding() -> None:
    plan = hour_of_speech(1337)
    for epoch in range(5):
        assert 0 <= plan.padding_share(epoch) <= 0.05
    padded = [update.padded_s for update in plan.updates(0, 60)]
    assert np.mean(padded) > 0.75 * 250, "updates should be nearly full"


def test_no_clips() -> None:
    with pytest.raises(UserError, match="no utterance"):
        plan_of([])


def test_a_clip_longer_than_a_micro_batch() -> None:
    with pytest.raises(UserError, match=r"a clip of 11\.0 s .*seconds_per_micro_batch"):
        plan_of([RATE_HZ, 11 * RATE_HZ])


@given(lengths)
def test_evaluation_batches_hold_every_clip_once_longest_first(samples: list[int]) -> None:
    batches = evaluation_batches(samples, LIMIT_S)
    assert sorted(itertools.chain.from_iterable(batches)) == list(range(len(samples)))
    longest = [max(samples[clip] for clip in batch) for batch in batches]
    assert longest == sorted(longest, reverse=True)
    assert all(top * len(batch) <= LIMIT_S * RATE_HZ for top, batch in zip(longest, batches, strict=True))
