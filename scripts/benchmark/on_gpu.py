"""One preset on a GPU that is there for minutes: updates of the recipe's size, warm-up counted in updates.

Whatever does not fit into the time is left out and said. Ours and the Trainer run in one process, in turns; peak memory
is what a side adds to what lay there before it.
"""

from __future__ import annotations

import gc
import math
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmark.fairness import check_losses
from benchmark.measure import Block, Figure, alternate, now, ratio
from benchmark.ours import Ours, quiet_accelerator
from benchmark.run import matrix_rate
from benchmark.setting import Setting, write_model
from benchmark.theirs import Theirs
from unispeech_ft.models.families import backbone

PRESETS_ON_GPU = ("unispeech-large", "wavlm-large", "wavlm-base")
FIRST, EARLY = 200, 50
TRAINER_FIRST, UPDATES, TRAINER_UPDATES = 40, 30, 12
FILES, PIPELINE_TRIAL_CLIPS, PIPELINE_BATCHES = 200, 128, (8, 32, 128)
FROZEN_UPDATES, UPDATES_OF_RECIPE, RECIPE_S = 2_000, 20_000, 250.0


class Clock:
    """Seconds that are left of some."""

    def __init__(self, seconds: float) -> None:
        self.end = time.monotonic() + seconds

    def left(self) -> float:
        return self.end - time.monotonic()

    def share(self, of: int) -> Clock:
        return Clock(self.left() / of)


class Compilations:
    """Counts what Triton compiles while it is there."""

    def __init__(self) -> None:
        self.count = 0

    def _one_more(self, *_: Any, **__: Any) -> None:
        self.count += 1

    def __enter__(self) -> Compilations:
        import triton

        self._knobs = triton.knobs.runtime
        self._before = self._knobs.jit_post_compile_hook
        self._knobs.jit_post_compile_hook = self._one_more
        return self

    def __exit__(self, *_: Any) -> None:
        self._knobs.jit_post_compile_hook = self._before


def peak_gib(run: Callable[[], Any]) -> float:
    """Peak of the device's memory during a call, in GiB."""
    torch.cuda.reset_peak_memory_stats()
    run()
    return torch.cuda.max_memory_allocated() / 2**30


def first_updates(ours: Ours) -> dict[str, Any]:
    """Our first updates, warm-up counted."""
    with Compilations() as compilations:
        early = ours.train(EARLY)
        rest = ours.train(FIRST - EARLY)
    return {
        "audio_rate_first_50": early.audio_rate,
        "audio_rate_first_200": (early.audio_s + rest.audio_s) / (early.seconds + rest.seconds),
        "seconds_first_200": early.seconds + rest.seconds,
        "triton_compilations": compilations.count,
    }


def profile(ours: Ours) -> dict[str, Any]:
    """One update: kernels, milliseconds of the device, synchronisations, host milliseconds."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as profiler

    ours.train(3)
    torch.cuda.set_sync_debug_mode("warn")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        next(ours.phases[False])
    torch.cuda.set_sync_debug_mode("default")
    now("cuda")
    started = time.perf_counter()
    next(ours.phases[False])
    host = time.perf_counter() - started
    now("cuda")
    with profiler(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU]) as seen:
        next(ours.phases[False])
        now("cuda")
    kernels = [event for event in seen.events() if event.device_type == torch.autograd.DeviceType.CUDA]
    kernels = [event for event in kernels if "#" not in event.name]  # a note of the optimizer's, no kernel
    return {
        "kernels": len(kernels),
        "device_ms": sum(event.device_time for event in kernels) / 1e3,
        "synchronisations": sum("synchroniz" in str(warning.message) for warning in caught),
        "host_ms_alone": 1e3 * host,
        "table": seen.key_averages().table(sort_by="self_cuda_time_total", row_limit=40, max_name_column_width=100),
    }


def phase(ours: Ours, theirs: Theirs, clock: Clock, *, frozen: bool) -> dict[str, Any]:
    """Rounds of either side in turns, and of a bare loop over the Trainer's batches."""
    bare: list[Block] = []

    def trainer() -> Block:
        measured, plain = theirs.train(TRAINER_UPDATES, frozen=frozen)
        bare.append(plain)
        return measured

    started = time.monotonic()
    sides = {"ours": lambda: ours.train(UPDATES, frozen=frozen), "trainer": trainer}
    ours.train(3, frozen=frozen)
    blocks = alternate(sides, 1)
    rounds = int(min(2, clock.left() / 4 / max(time.monotonic() - started, 1e-3)))
    for side, more in alternate(sides, rounds).items():
        blocks[side] += more
    return {
        "audio_rate": {side: Figure.of([block.audio_rate for block in blocks[side]]) for side in blocks},
        "audio_rate_bare_loop": Figure.of([block.audio_rate for block in bare]),
        "padding_trainer": Figure.of([block.padding_share for block in blocks["trainer"]]),
        "over_trainer": ratio(blocks["ours"], blocks["trainer"]),
        "over_bare_loop": ratio(blocks["ours"], bare),
    }


def evaluations(ours: Ours, theirs: Theirs) -> dict[str, Any]:
    """Scoring all clips, for the first time and again, against the pipeline at its best batch size."""
    theirs.evaluate(PIPELINE_BATCHES[0], 8)
    batch = max(PIPELINE_BATCHES, key=lambda size: theirs.evaluate(size, PIPELINE_TRIAL_CLIPS).rate)
    ours.evaluate(first=True)
    sides = {
        "pipeline": lambda: theirs.evaluate(batch),
        "first": lambda: ours.evaluate(first=True),
        "again": lambda: ours.evaluate(first=False),
    }
    blocks = alternate(sides, 2)
    rates = {side: Figure.of([block.audio_rate for block in blocks[side]]) for side in sides}
    against = {side: ratio(blocks[side], blocks["pipeline"]) for side in ("first", "again")}
    return {"audio_rate": rates, "over_pipeline": against, "pipeline_batch": batch}


def transcriptions(setting: Setting, theirs: Theirs, batch: int) -> dict[str, Any]:
    """A folder of sound files in 32 bits, both sides from file to phones."""
    import soundfile

    from unispeech_ft.models.saved import load_saved
    from unispeech_ft.transcription.transcripts import transcribe_files

    folder = setting.folder / "files"
    folder.mkdir(exist_ok=True)
    paths: list[Path] = []
    for number, waveform in enumerate(setting.waveforms[:FILES]):
        paths.append(folder / f"{number}.wav")
        soundfile.write(paths[-1], waveform, 16_000, subtype="PCM_16")
    audio_s = sum(map(len, setting.waveforms[: len(paths)])) / 16_000
    saved = load_saved(setting.model_folder, setting.device)

    def ours() -> Block:
        started = now(setting.device)
        for _ in transcribe_files(saved, paths):
            pass
        return Block(now(setting.device) - started, len(paths), audio_s)

    def pipeline() -> Block:
        started = now(setting.device)
        # Its own reading of files starts a program for each.
        inputs = [{"raw": soundfile.read(path, dtype="float32")[0], "sampling_rate": 16_000} for path in paths]
        theirs.recogniser(inputs, batch_size=batch)
        return Block(now(setting.device) - started, len(paths), audio_s)

    ours()
    blocks = alternate({"ours": ours, "pipeline": pipeline}, 2)
    rates = {side: Figure.of([block.audio_rate for block in blocks[side]]) for side in blocks}
    return {"audio_rate": rates, "over_pipeline": ratio(blocks["ours"], blocks["pipeline"])}


def _training(ours: Ours, setting: Setting, clock: Clock, found: dict[str, Any]) -> Theirs:
    theirs = Theirs(setting)
    gc.collect()
    gc.freeze()  # as our training loop does; both sides have it
    found["losses"] = check_losses(ours, theirs)
    theirs.model.to("cpu")
    torch.cuda.empty_cache()
    found["memory_gib"] = {"ours": peak_gib(lambda: found.update(first=first_updates(ours)))}
    found["profile"] = profile(ours)
    before = torch.cuda.memory_allocated() / 2**30
    theirs.model.to(setting.device)
    found["memory_gib"]["trainer"] = peak_gib(theirs.fit) - before
    found["accumulation_trainer"] = theirs.accumulation
    found["sampling_trainer"] = theirs.choose(4)
    first = theirs.train(TRAINER_FIRST)[0]
    found["training"] = phase(ours, theirs, clock, frozen=False)
    steady = found["training"]["audio_rate"]["trainer"].median
    seconds = first.seconds + (FIRST - TRAINER_FIRST) * first.audio_s / TRAINER_FIRST / steady
    found["over_trainer_first_200"] = found["first"]["audio_rate_first_200"] / (
        FIRST * first.audio_s / TRAINER_FIRST / seconds
    )
    found["frozen"] = phase(ours, theirs, clock, frozen=True)
    parameters = sum(parameter.numel() for parameter in backbone(ours.model).encoder.parameters())
    rate = found["training"]["audio_rate"]["ours"].median
    found["matrix_tflops"] = matrix_rate(setting.device) / 1e12
    found["flops_utilisation"] = 6 * parameters * 50 * rate / (1e12 * found["matrix_tflops"])
    frozen_s = FROZEN_UPDATES * RECIPE_S / found["frozen"]["audio_rate"]["ours"].median
    whole_s = frozen_s + (UPDATES_OF_RECIPE - FROZEN_UPDATES) * RECIPE_S / rate
    found["recipe_minutes_without_evaluations"] = whole_s / 60
    return theirs


def measure(setting: Setting, clock: Clock) -> dict[str, Any]:
    """Everything of one preset, as far as the time goes."""
    properties = torch.cuda.get_device_properties(0)
    found: dict[str, Any] = {"card": properties.name, "torch": torch.__version__, "precision": setting.precision}
    gc.collect()  # the preset before this one
    torch.cuda.empty_cache()
    write_model(setting)
    ours = Ours(setting, quiet_accelerator(setting))
    theirs = _training(ours, setting, clock, found)
    for name, least_s, step in (
        ("evaluation", 15, lambda: evaluations(ours, theirs)),
        ("transcription", 15, lambda: transcriptions(setting, theirs, found["evaluation"]["pipeline_batch"])),
    ):
        if clock.left() < least_s:
            found[name] = "left out: no time"
            continue
        try:
            found[name] = step()
        except Exception:
            found[name] = traceback.format_exc()
    ours.close()
    gc.unfreeze()
    return found


def _leaves(values: dict[str, Any], path: str = "") -> list[str]:
    text = []
    for name, value in values.items():
        if isinstance(value, dict):
            text += _leaves(value, f"{path}{name}, ")
        elif name != "table":
            shown = f"{value:.4g}" if isinstance(value, float) and math.isfinite(value) else str(value)
            text.append(f"  {path + name:<52}{shown}")
    return text


def lines(preset: str, found: dict[str, Any]) -> list[str]:
    """What was found, a line each."""
    return [preset, *_leaves(found)]
