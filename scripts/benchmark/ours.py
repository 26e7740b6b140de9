"""Our side: the recipe's own step, plan and features, without its journal and checkpoints."""

from __future__ import annotations

import shutil
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from benchmark.measure import Block, now
from benchmark.setting import Setting
from unispeech_ft.kernels.install import place
from unispeech_ft.models.build import build_model
from unispeech_ft.models.layer_graphs import give_rooms
from unispeech_ft.tasks.ctc_phoneme import task as ctc
from unispeech_ft.tasks.ctc_phoneme.config import CtcPhonemeConfig
from unispeech_ft.tasks.ctc_phoneme.evaluate import evaluate_split
from unispeech_ft.training.step import make_optimizer, run_update

if TYPE_CHECKING:
    from accelerate import Accelerator


class Ours:
    """The model and everything around it, ready for updates."""

    def __init__(self, setting: Setting, accelerator: Accelerator) -> None:
        self.setting, self.accelerator = setting, accelerator
        config = setting.config()
        self.built = build_model(config.model, config.mask, config.data, setting.tokenizer, config.seed)
        self.model = self.built.model
        place(self.model, accelerator.device, config.model, config.training)
        self.labelled = setting.prepared()
        self.features = self.cached(setting.folder / "cache")
        self.evaluated: ctc.SplitFeatures | None = None
        self.optimizer: Any = accelerator.prepare(
            make_optimizer(self.model, config.optimizer, fused=config.training.fused_optimizer)
        )
        self.phases = {False: self.updates(config), True: self.updates(setting.config(frozen=True))}

    def close(self) -> None:
        """Gives back what a device holds for updates to come."""
        for phase in self.phases.values():
            phase.close()
        give_rooms(self.model, (), training=False)

    def cached(self, cache_dir: Path) -> ctc.SplitFeatures:
        config = self.setting.config(cache_dir=cache_dir)
        return ctc.split_features(self.labelled, self.built.front_end, config, self.accelerator)

    def task(self, config: CtcPhonemeConfig) -> ctc.CtcPhonemeTask:
        """The recipe's own task on all clips."""
        features = {"train": self.features}
        return ctc.ctc_phoneme_task(config, self.built, self.setting.tokenizer, features, self.accelerator)

    def updates(self, config: CtcPhonemeConfig) -> Generator[tuple[float, float], None, None]:
        """Runs an update each time it is asked; yields its audio seconds and its padded seconds."""
        task = self.task(config)
        lengths, last = self.labelled.num_samples, config.schedule.updates
        self.model.train()
        for planned, share in zip(task.plan.updates(0, last), task.updates(0, last, None), strict=True):
            run_update(
                task, self.optimizer, share, config.optimizer, config.optimizer.lr, config.seed, self.accelerator
            )
            clips = [clip for micro_batch in planned.micro_batches for clip in micro_batch.clips]
            yield float(lengths[clips].sum()) / 16_000, planned.padded_s

    def train(self, count: int, *, frozen: bool = False) -> Block:
        """So many updates."""
        self.model.train()
        started = now(self.setting.device)
        seconds = [next(self.phases[frozen]) for _ in range(count)]
        elapsed = now(self.setting.device) - started
        audio_s, padded_s = (sum(values) for values in zip(*seconds, strict=True))
        return Block(elapsed, count, audio_s, 1 - audio_s / padded_s)

    def evaluate(self, *, first: bool) -> Block:
        """Scores all clips as a run does its validation split; for the first time, with no features in the cache."""
        cache_dir = self.setting.folder / "evaluation-cache"
        if first:
            shutil.rmtree(cache_dir, ignore_errors=True)
        started = now(self.setting.device)
        if first or self.evaluated is None:  # a run opens them once
            self.evaluated = self.cached(cache_dir)
        store = self.evaluated.store
        evaluate_split(self.model, self.setting.tokenizer, self.labelled, store, self.accelerator, timed=False)
        elapsed = now(self.setting.device) - started
        return Block(elapsed, len(self.labelled), float(self.labelled.num_samples.sum()) / 16_000)


def quiet_accelerator(setting: Setting) -> Accelerator:
    """The accelerator of both sides, with all cores."""
    from accelerate import Accelerator

    from unispeech_ft.training.launch import available_cores

    if setting.device == "cpu":
        torch.set_num_threads(available_cores())
    return Accelerator(cpu=setting.device == "cpu", mixed_precision=setting.precision)
