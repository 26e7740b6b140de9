"""The configuration of an audio classification: words, speakers, languages, emotions, a label a clip."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from unispeech_ft.config.labelled import LabelledRunConfig, sounds_are_heard
from unispeech_ft.config.reading import ConfigFile
from unispeech_ft.config.sections import Check, Positive, Probability, Section


class AudioClassificationConfig(Section):
    """Where the labels are."""

    label_column: str = Field(
        "label", description="of the manifest; without data.train each folder of data.root is one"
    )
    separator: str | None = Field(
        None,
        min_length=1,
        max_length=1,
        description="between several labels of a clip, `;` for example; null: one label",
    )
    held_out: Probability = Field(0.1, description="share of clips or speakers that validation and test get each")
    crop_s: Positive | None = Field(None, description="training takes so much of a longer clip, from a drawn place")
    class_weights: Literal["none", "balanced"] = Field(
        "none", description="balanced: each class weighs the same, however many clips it has"
    )


class ClassifierConfig(LabelledRunConfig):
    """A whole run."""

    defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "data": {"source": "manifest"},
        "mask": {"time_prob": 0.05, "feature_prob": 0.0},
        "optimizer": {"lr": 3e-5, "max_grad_norm": 1.0},
        "schedule": {
            "name": "linear",
            "updates": 3_000,
            "warmup": 300,
            "init_scale": 0.0,
            "final_scale": 0.0,
            "freeze_encoder_updates": 0,
        },
        "evaluation": {"every_updates": 100, "start_after": 0},
    }

    output_dir: str = Field("runs/audio_classification", description="folder of the run")
    audio_classification: AudioClassificationConfig = AudioClassificationConfig()

    def checks(self) -> list[Check]:
        data = self.data
        return [
            *super().checks(),
            sounds_are_heard(self.augmentation),
            (
                self.probe.enabled and self.audio_classification.crop_s is not None,
                f"audio_classification.crop_s is {self.audio_classification.crop_s}",
                "leave it out: a probe hears each clip once, whole",
            ),
            (
                self.audio_classification.crop_s is None and data.max_duration_s > self.batch.seconds_per_micro_batch,
                f"data.max_duration_s ({data.max_duration_s}) is above batch.seconds_per_micro_batch"
                f" ({self.batch.seconds_per_micro_batch})",
                "lower the first or raise the second",
            ),
        ]


FILE = ConfigFile(ClassifierConfig, "configs/audio_classification/folder.yaml", "recipes/audio_classification.py")
