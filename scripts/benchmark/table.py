"""A comparison as lines for a terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from benchmark.fairness import LEAST_SHARE_OF_BARE_LOOP, is_fair, trainer_share
from benchmark.measure import Block, Figure, ratio
from benchmark.run import Comparison, Phase


def _row(name: str, ours: object, theirs: object, quotient: object = "") -> str:
    return f"{name:<36}{ours!s:<26}{theirs!s:<26}{quotient!s}"


def _figure(blocks: Sequence[Block], value: Callable[[Block], float]) -> Figure:
    return Figure.of([value(block) for block in blocks])


def _phase_rows(name: str, phase: Phase) -> list[str]:
    def row(label: str, value: Callable[[Block], float], quotient: object = "") -> str:
        return _row(f"{name}, {label}", _figure(phase.ours, value), _figure(phase.trainer, value), quotient)

    return [
        row("audio s/s", lambda block: block.audio_rate, f"{phase.ratio} ×"),
        row("updates/s", lambda block: block.rate),
        row("padding %", lambda block: 100 * block.padding_share),
    ]


def lines(comparison: Comparison) -> list[str]:
    """Medians with their range; ratios are of values of the same round."""
    result = comparison
    share = trainer_share(result.training.trainer, result.training.bare)
    verdict = "fair" if is_fair(share) else f"UNFAIR: below {LEAST_SHARE_OF_BARE_LOOP:.0%}"
    text = [
        f"loss of one batch: ours {result.losses[0]:.6g}, Trainer's {result.losses[1]:.6g}",
        "Trainer, audio s/s by sampling: " + "; ".join(f"{name} {rate:.1f}" for name, rate in result.sampling.items()),
        f"Trainer's arguments: {result.trainer_arguments}",
        f"Trainer ÷ bare loop over the same batches: {share} ({verdict})",
        "",
        _row("median (lowest–highest)", "ours", "Trainer", "ratio"),
        *_phase_rows("training", result.training),
        *_phase_rows("frozen", result.frozen),
    ]
    hours = [f"{value:.3g}" for value in (result.recipe_hours["ours"], result.recipe_hours["trainer"])]
    text.append(_row("20,000 updates of 250 s, hours", *hours))
    pipeline = _figure(result.pipeline, lambda block: block.rate)
    against = f"pipeline, batches of {result.pipeline_batch}: {pipeline}"
    for name, blocks in (("first evaluation", result.first_evaluation), ("evaluation again", result.evaluation)):
        rate = _figure(blocks, lambda block: block.rate)
        text.append(_row(f"{name}, utterances/s", rate, against, f"  {ratio(blocks, result.pipeline)} ×"))
    if result.starts:
        for state in ("cold", "warm"):
            mine, other = result.starts[f"ours, {state}"], result.starts[f"trainer, {state}"]
            text.append(_row(f"first update, {state}, s", f"{mine.first_update_s:.1f}", f"{other.first_update_s:.1f}"))
        mine, other = result.starts["ours, warm"], result.starts["trainer, warm"]
        quotient = f"{mine.host_bytes / other.host_bytes:.2f} of theirs"
        text.append(
            _row("peak memory, GiB", f"{mine.host_bytes / 2**30:.2f}", f"{other.host_bytes / 2**30:.2f}", quotient)
        )
        if mine.device_bytes and other.device_bytes:
            quotient = f"{mine.device_bytes / other.device_bytes:.2f} of theirs"
            sizes = [f"{start.device_bytes / 2**30:.2f}" for start in (mine, other)]  # type: ignore[operator]
            text.append(_row("peak device memory, GiB", *sizes, quotient))
    if result.flops_utilisation is not None:
        text.append(_row("model FLOPs utilisation", f"{100 * result.flops_utilisation:.1f} %", ""))
    return text
