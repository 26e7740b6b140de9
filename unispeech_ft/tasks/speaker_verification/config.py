"""The configuration of a speaker verification."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from unispeech_ft.config.labelled import LabelledRunConfig, Size, reads_all_layers, sounds_are_heard
from unispeech_ft.config.reading import ConfigFile
from unispeech_ft.config.sections import Check, Count, NotNegative, Positive, PositiveCount, Probability, Section


class SpeakerVerificationConfig(Section):
    """The head, its loss, and how trials are made and scored."""

    label_column: str | None = Field(None, description="of who speaks; null: speaker, client_id and the like")
    held_out: Probability = Field(0.1, description="share of speakers that validation and test get each")
    head: Literal["ecapa", "xvector"] = Field("ecapa", description="behind the encoder: ECAPA-TDNN or x-vector")
    channels: Size = Field(512, description="of the layers of the head")
    pooled: Size = Field(1536, description="channels that are pooled over time")
    size: Size = Field(256, description="values of a speaker's vector")
    instance_norm: bool = Field(True, description="what enters the head has zero mean and unit variance over a clip")
    features: bool = Field(False, description="the head hears the front end's features as well as the encoder's layers")
    dropout: Probability = Field(0.0, description="of what enters the head")
    loss: Literal["aam", "am"] = Field("aam", description="additive margin on the angle, or on its cosine")
    scale: Positive = Field(32.0, description="factor of the cosines in the loss")
    margin: NotNegative = Field(0.2, description="by which the right speaker has to be nearer")
    margin_from: Count = Field(0, description="update at which the margin begins to grow from 0")
    margin_until: Count = Field(0, description="update from which on it is whole")
    crop_s: Positive = Field(3.0, description="training takes so much of a longer clip, from a drawn place")
    trials: str | None = Field(None, description="list of `1|0 ENROL TEST` lines for the test split; null: all pairs")
    max_trials: PositiveCount = Field(100_000, description="of pairs made from speakers, drawn where there are more")
    norm_top: Count = Field(300, description="AS-norm by so many nearest training speakers; 0: plain cosine")


class SpeakerConfig(LabelledRunConfig):
    """A whole run."""

    defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "model": {"layerdrop": 0.0},
        "data": {"source": "manifest"},
        "mask": {"time_prob": 0.0, "feature_prob": 0.0},
        "optimizer": {"lr": 2e-5, "head_lr": 1e-3, "max_grad_norm": 1.0, "weight_decay": 1e-4},
        "schedule": {
            "name": "cosine",
            "updates": 20_000,
            "warmup": 1_000,
            "init_scale": 0.0,
            "final_scale": 0.0,
            "freeze_encoder_updates": 20_000,
        },
        "evaluation": {"every_updates": 500, "start_after": 0},
    }

    output_dir: str = Field("runs/speaker_verification", description="folder of the run")
    speaker_verification: SpeakerVerificationConfig = SpeakerVerificationConfig()

    def checks(self) -> list[Check]:
        own = self.speaker_verification
        return [
            *super().checks(),
            sounds_are_heard(self.augmentation),
            reads_all_layers(self.model),
            (
                own.head == "ecapa" and own.channels % 8 > 0,
                f"speaker_verification.channels is {own.channels}",
                "use a multiple of 8",
            ),
            (
                own.margin_from > own.margin_until,
                "speaker_verification.margin_from is after margin_until",
                "lower the first or raise the second",
            ),
            (
                own.crop_s > self.batch.seconds_per_micro_batch,
                f"speaker_verification.crop_s ({own.crop_s}) is above batch.seconds_per_micro_batch"
                f" ({self.batch.seconds_per_micro_batch})",
                "lower the first or raise the second",
            ),
        ]


FILE = ConfigFile(SpeakerConfig, "configs/speaker_verification/frozen.yaml", "recipes/speaker_verification.py")
