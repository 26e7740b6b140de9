"""One whole comparison: fairness first, then alternating rounds of each phase, evaluation, starts and memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from benchmark.fairness import check_losses, is_fair, trainer_share
from benchmark.measure import Block, Figure, alternate, now, ratio
from benchmark.ours import Ours, quiet_accelerator
from benchmark.setting import Setting, write_model
from benchmark.start import Start, measure_start
from benchmark.theirs import Theirs
from unispeech_ft.config.sections import BatchConfig, ScheduleConfig
from unispeech_ft.models.families import backbone

PIPELINE_TRIAL_CLIPS = 20


@dataclass(frozen=True)
class Effort:
    """How long to measure.

    Attributes:
        rounds: of each phase; every side runs once a round.
        updates: in a round.
        trial_updates: to choose the Trainer's sampling with.
        evaluations: of all clips, on either side.
    """

    rounds: int
    updates: int
    trial_updates: int
    evaluations: int


@dataclass(frozen=True)
class Phase:
    """Training or the frozen phase: rounds of either side, and of a bare loop over the Trainer's batches."""

    ours: list[Block]
    trainer: list[Block]
    bare: list[Block]

    @property
    def ratio(self) -> Figure:
        return ratio(self.ours, self.trainer)


def recipe_hours(training: Sequence[Block], frozen: Sequence[Block]) -> float:
    """Hours that the published recipe's updates would take at the speeds of some rounds, without evaluations."""
    schedule, batch = ScheduleConfig(), BatchConfig()
    rates = [Figure.of([block.audio_rate for block in blocks]).median for blocks in (frozen, training)]
    updates = (schedule.freeze_encoder_updates, schedule.updates - schedule.freeze_encoder_updates)
    return sum(batch.seconds_per_update * count / rate for count, rate in zip(updates, rates, strict=True)) / 3600


@dataclass(frozen=True)
class Comparison:
    """Everything that was measured."""

    losses: tuple[float, float]
    sampling: dict[str, float]
    trainer_arguments: dict[str, Any]
    training: Phase
    frozen: Phase
    pipeline: list[Block]
    pipeline_batch: int
    first_evaluation: list[Block]
    evaluation: list[Block]
    starts: dict[str, Start]
    flops_utilisation: float | None

    @property
    def recipe_hours(self) -> dict[str, float]:
        """By side, see the function of this name."""
        return {
            "ours": recipe_hours(self.training.ours, self.frozen.ours),
            "trainer": recipe_hours(self.training.trainer, self.frozen.trainer),
        }


def _phase(ours: Ours, theirs: Theirs, effort: Effort, *, frozen: bool) -> Phase:
    bare: list[Block] = []

    def trainer() -> Block:
        measured, plain = theirs.train(effort.updates, frozen=frozen)
        bare.append(plain)
        return measured

    ours.train(2, frozen=frozen)
    blocks = alternate({"ours": lambda: ours.train(effort.updates, frozen=frozen), "trainer": trainer}, effort.rounds)
    return Phase(blocks["ours"], blocks["trainer"], bare)


def matrix_rate(device: str) -> float:
    """Floating-point operations a second of a large bf16 matrix product, the best of some tries."""
    size, repeats = 8192, 10
    left, right = (torch.randn(size, size, dtype=torch.bfloat16, device=device) for _ in range(2))
    best = 0.0
    for _ in range(5):
        started = now(device)
        for _ in range(repeats):
            left @ right
        best = max(best, repeats * 2 * size**3 / (now(device) - started))
    return best


def flops_utilisation(ours: Ours, training: Phase) -> float | None:
    """6 × encoder parameters × frames a second ÷ the card's matrix rate; None on a CPU."""
    if ours.setting.device == "cpu":
        return None
    parameters = sum(parameter.numel() for parameter in backbone(ours.model).encoder.parameters())
    frames_per_s = Figure.of([block.audio_rate for block in training.ours]).median * 50
    return 6 * parameters * frames_per_s / matrix_rate(ours.setting.device)


def _measure(setting: Setting, effort: Effort) -> Comparison:
    ours, theirs = Ours(setting, quiet_accelerator(setting)), Theirs(setting)
    losses = check_losses(ours, theirs)
    sampling = theirs.choose(effort.trial_updates)
    training = _phase(ours, theirs, effort, frozen=False)
    frozen = _phase(ours, theirs, effort, frozen=True)
    batch = theirs.best_pipeline_batch(PIPELINE_TRIAL_CLIPS)
    sides = {
        "pipeline": lambda: theirs.evaluate(batch),
        "first": lambda: ours.evaluate(first=True),
        "again": lambda: ours.evaluate(first=False),
    }
    evaluations = alternate(sides, effort.evaluations)
    return Comparison(
        losses=losses,
        sampling=sampling,
        trainer_arguments=theirs.arguments(effort.updates + 1),
        training=training,
        frozen=frozen,
        pipeline=evaluations["pipeline"],
        pipeline_batch=batch,
        first_evaluation=evaluations["first"],
        evaluation=evaluations["again"],
        starts={},
        flops_utilisation=flops_utilisation(ours, training),
    )


def compare(setting: Setting, effort: Effort, *, starts: bool = True) -> Comparison:
    """Measures both sides.

    Raises:
        UserError: the two sides do not compute the same loss.
    """
    write_model(setting)
    comparison = _measure(setting, effort)
    if not starts:
        return comparison
    seen = {
        f"{side}, {state}": measure_start(setting, side, warm=state == "warm")
        for side in ("ours", "trainer")
        for state in ("cold", "warm")
    }
    return replace(comparison, starts=seen)


def as_json(comparison: Comparison) -> dict[str, Any]:
    """The comparison as plain values; a ratio above 1 means that ours is faster, or, of memory, that it takes more."""
    share = trainer_share(comparison.training.trainer, comparison.training.bare)
    memory = None
    if comparison.starts:
        memory = comparison.starts["ours, warm"].host_bytes / comparison.starts["trainer, warm"].host_bytes
        on_device = [comparison.starts[f"{side}, warm"].device_bytes for side in ("ours", "trainer")]
        if on_device[0] and on_device[1]:
            memory = on_device[0] / on_device[1]
    return {
        "ratio": {
            "training": comparison.training.ratio.median,
            "frozen": comparison.frozen.ratio.median,
            "evaluation": ratio(comparison.evaluation, comparison.pipeline).median,
            "first_evaluation": ratio(comparison.first_evaluation, comparison.pipeline).median,
            "memory": memory,
        },
        "fair": is_fair(share),
        "trainer_share_of_bare_loop": share.median,
        "recipe_hours": comparison.recipe_hours,
        **asdict(comparison),
    }
