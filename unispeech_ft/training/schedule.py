"""Learning rate over the updates, as a factor of `optimizer.lr`. Pure functions of the number of updates done."""

from __future__ import annotations

import math

from unispeech_ft.config.sections import ScheduleConfig


def _tri_stage(done: int, schedule: ScheduleConfig) -> float:
    """Warm-up, hold, exponential decay (fairseq's tri_stage scheduler; SpecAugment, Park et al. 2019, section 4.2)."""
    into_decay = done - schedule.warmup - schedule.hold
    if into_decay < 0 or schedule.final_scale == 1:
        return 1.0
    if into_decay >= schedule.decay or schedule.final_scale == 0:
        return schedule.final_scale
    return math.exp(math.log(schedule.final_scale) * into_decay / schedule.decay)


def lr_scale(done: int, schedule: ScheduleConfig) -> float:
    """The factor that the next update uses.

    `polynomial` is fairseq's with power 1: after the warm-up a straight line that would reach `final_scale` after
    `decay` updates more, wherever `updates` stops.

    Args:
        done: updates done so far, 0 for the first.
    """
    if done < schedule.warmup:
        return schedule.init_scale + (1 - schedule.init_scale) * done / schedule.warmup
    if schedule.name == "tri_stage":
        return _tri_stage(done, schedule)
    if schedule.name == "constant":
        return 1.0
    if schedule.name == "polynomial":
        left = 1 - (done - schedule.warmup) / max(1, schedule.decay)
        return max(schedule.final_scale, schedule.final_scale + (1 - schedule.final_scale) * left)
    progress = min(1.0, (done - schedule.warmup) / max(1, schedule.updates - schedule.warmup))
    shape = 1 - progress if schedule.name == "linear" else (1 + math.cos(math.pi * progress)) / 2
    return schedule.final_scale + (1 - schedule.final_scale) * shape


def is_frozen(done: int, schedule: ScheduleConfig) -> bool:
    """Whether the next update trains the head only."""
    return done < schedule.freeze_encoder_updates
