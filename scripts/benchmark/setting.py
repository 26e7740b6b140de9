"""What both sides are given: a model with random weights, synthetic clips, and the settings of training.

`S` samples. The sound is noise: what is measured does not depend on what is said.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from unispeech_ft.config.reading import apply_overrides
from unispeech_ft.data.audio import SAMPLE_RATE_HZ, Waveform, pack
from unispeech_ft.data.batch_plan import BatchPlan
from unispeech_ft.data.labels import LabelledSplit
from unispeech_ft.data.prepare import PreparedAudio
from unispeech_ft.errors import raise_all
from unispeech_ft.phonemes.tokenizer import PhoneTokenizer
from unispeech_ft.tasks.ctc_phoneme.config import CtcPhonemeConfig

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Precision = Literal["no", "bf16", "fp16"]

NUM_UTTERANCES = 200
SHORTEST_S, LONGEST_S = 1.0, 6.5
SECONDS_PER_UPDATE = 24.0
PHONES_PER_S = 8
NUM_PHONES = 40
# Of the blank over random scores, in their standard deviations: some ten phones a second, as trained models say.
BLANK_ADVANTAGE = 2.5

_WIDE = {"conv_dim": [512] * 7, "conv_kernel": [10, 3, 3, 3, 3, 2, 2], "conv_stride": [5, 2, 2, 2, 2, 2, 2]}
PRESETS: dict[str, dict[str, Any]] = {
    "tiny": {
        **_WIDE,
        "model_type": "unispeech",
        "hidden_size": 256,
        "num_hidden_layers": 6,
        "num_attention_heads": 4,
        "intermediate_size": 1024,
        "conv_dim": [256] * 7,
        "conv_bias": True,
        "feat_extract_norm": "layer",
        "do_stable_layer_norm": True,
    },
    "wavlm-base": {**_WIDE, "model_type": "wavlm"},
    "wavlm-large": {
        **_WIDE,
        "model_type": "wavlm",
        "hidden_size": 1024,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "intermediate_size": 4096,
        "feat_extract_norm": "layer",
        "do_stable_layer_norm": True,
    },
    "unispeech-large": {
        **_WIDE,
        "model_type": "unispeech",
        "hidden_size": 1024,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "intermediate_size": 4096,
        "conv_bias": True,
        "feat_extract_norm": "layer",
        "do_stable_layer_norm": True,
    },
}


@dataclass(frozen=True)
class Setting:
    """One comparison.

    Attributes:
        preset: name of the model.
        precision: as `accelerate launch --mixed_precision` takes it.
        folder: where the model and both sides' prepared clips lie.
        seconds_per_update: of audio, on either side, in the mean.
        seconds_per_micro_batch: of audio with padding, on our side; None for one micro-batch an update.
        overrides: further keys of our side's configuration and their values, as on a command line.
    """

    preset: str
    device: Literal["cpu", "cuda"]
    precision: Precision
    folder: Path
    num_utterances: int = NUM_UTTERANCES
    seconds_per_update: float = SECONDS_PER_UPDATE
    seconds_per_micro_batch: float | None = None
    overrides: tuple[tuple[str, str], ...] = ()

    @property
    def model_folder(self) -> Path:
        return self.folder / "model"

    @cached_property
    def num_samples(self) -> npt.NDArray[np.int64]:
        """Of each clip."""
        return np.asarray([len(waveform) for waveform in self.waveforms])

    @property
    def clips_per_update(self) -> int:
        """Clips of mean length that fill an update."""
        return max(1, round(self.seconds_per_update * SAMPLE_RATE_HZ / float(self.num_samples.mean())))

    @cached_property
    def padded_s_per_update(self) -> float:
        """The limit of our batch plan with which its updates hold `clips_per_update` in the mean.

        A limit in padded seconds is seldom filled: four clips of 6.5 s do not fit into 24 s.
        """

        def clips_too_many(limit_s: float) -> float:
            plan = BatchPlan(self.num_samples, limit_s, min(self.seconds_per_micro_batch or limit_s, limit_s), seed=1)
            return abs(len(self.num_samples) / len(plan.epoch(0)) - self.clips_per_update)

        lowest_s = max(int(self.num_samples.max()) / SAMPLE_RATE_HZ, 0.9 * self.seconds_per_update)
        return min(np.arange(lowest_s, 1.5 * lowest_s, 0.25).tolist(), key=clips_too_many)

    def config(
        self,
        *,
        frozen: bool = False,
        from_scratch: bool = False,
        cache_dir: Path | None = None,
        overrides: tuple[tuple[str, str], ...] = (),
    ) -> CtcPhonemeConfig:
        """The configuration of our side; the published recipe but for sizes and a constant learning rate."""
        model: dict[str, Any] = {"base": str(self.model_folder)}
        if from_scratch:
            model = {"from_scratch": True, "config": PRESETS[self.preset]}
        limit_s = self.padded_s_per_update
        values: dict[str, Any] = {
            "seed": 1,
            "output_dir": str(self.folder / "run"),
            "model": model,
            "data": {
                "source": "manifest",
                "root": str(self.folder),
                "train": "-",
                "normalize": True,
                "normalize_eps": 1e-7,
                "cache_dir": str(cache_dir or self.folder / "cache"),
            },
            "batch": {
                "seconds_per_update": limit_s,
                "seconds_per_micro_batch": min(self.seconds_per_micro_batch or limit_s, limit_s),
            },
            "schedule": {"name": "constant", "warmup": 0, "updates": 10**6, "freeze_encoder_updates": 0},
            "tracking": {"trackers": []},
        }
        if frozen:
            values["schedule"]["freeze_encoder_updates"] = 10**6
        values, faults = apply_overrides(values, dict(self.overrides + overrides), CtcPhonemeConfig)
        raise_all(faults)
        return CtcPhonemeConfig.model_validate(values)

    @cached_property
    def waveforms(self) -> list[Waveform]:
        """Noise of 1 to 6.5 s, each clip `[S]` at 16 kHz."""
        random = np.random.default_rng(0)
        durations_s = random.uniform(SHORTEST_S, LONGEST_S, self.num_utterances)
        return [random.normal(0, 0.1, round(duration * SAMPLE_RATE_HZ)).astype(np.float32) for duration in durations_s]

    @cached_property
    def phones(self) -> list[list[str]]:
        """Eight random phones a second for each clip."""
        random = np.random.default_rng(1)
        counts = [max(1, len(waveform) * PHONES_PER_S // SAMPLE_RATE_HZ) for waveform in self.waveforms]
        return [[f"p{number}" for number in random.integers(NUM_PHONES, size=count)] for count in counts]

    @cached_property
    def tokenizer(self) -> PhoneTokenizer:
        return PhoneTokenizer.from_inventory([f"p{number}" for number in range(NUM_PHONES)], "transformers")

    def prepared(self) -> LabelledSplit:
        """The clips as our preparation leaves them: decoded, 16 bits, on disk."""
        from datasets import Dataset, load_from_disk

        folder = self.folder / "prepared"
        ids = [f"clip{number}" for number in range(self.num_utterances)]
        if not folder.is_dir():
            packed = [pack(waveform) for waveform in self.waveforms]
            rows = {
                "id": ids,
                "samples": [samples for samples, _ in packed],
                "scale": [scale for _, scale in packed],
                "num_samples": [len(samples) // 2 for samples, _ in packed],
                "fault": [""] * len(ids),
            }
            Dataset.from_dict(rows).save_to_disk(str(folder))
        audio = PreparedAudio(load_from_disk(str(folder)), folder)
        return LabelledSplit("train", ids, self.phones, list(range(len(ids))), [None] * len(ids), audio)


def write_model(setting: Setting) -> None:
    """Saves the model of the setting, with tokenizer and processor, so that either side loads the same weights."""
    from unispeech_ft.models.build import build_model
    from unispeech_ft.models.saving import save_processor, waveform_extractor

    config = setting.config(from_scratch=True)
    built = build_model(config.model, config.mask, config.data, setting.tokenizer, config.seed)
    built.model.config.layerdrop = config.model.layerdrop
    width = built.model.config.hidden_size
    blank = setting.tokenizer.blank_id
    built.model.lm_head.bias.data[blank] = BLANK_ADVANTAGE * built.model.config.initializer_range * width**0.5
    built.model.save_pretrained(setting.model_folder)
    extractor = waveform_extractor(built.model.config, True, config.data.normalize_eps)
    save_processor(setting.model_folder, built.model.config, extractor, setting.tokenizer)


def stock_model(setting: Setting) -> PreTrainedModel:
    """The model as a user of Transformers loads it, with the same dropouts, masks and layer drop as ours."""
    import torch
    from transformers import AutoModelForCTC

    model = AutoModelForCTC.from_pretrained(setting.model_folder, dtype=torch.float32)
    model.freeze_feature_encoder()
    return model.to(setting.device)
