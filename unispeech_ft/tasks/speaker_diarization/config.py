"""The configuration of a speaker diarization."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from unispeech_ft.config.labelled import (
    ChunkS,
    LabelledRunConfig,
    NumLayers,
    SimulationConfig,
    Size,
    no_copies,
    reads_all_layers,
)
from unispeech_ft.config.reading import ConfigFile
from unispeech_ft.config.sections import Check, Count, NotNegative, Positive, PositiveCount, Probability, Section


class SpeakerDiarizationConfig(Section):
    """The head, its loss, and how segments are made of what it says."""

    label_column: str | None = Field(None, description="of who speaks; null: speaker, client_id and the like")
    held_out: Probability = Field(0.2, description="share of speakers that validation and test get each")
    hidden: Size = Field(256, description="cells of the head's recurrent layer, each way")
    layers: NumLayers = Field(1, description="of the recurrent part")
    size: Size = Field(64, description="values of a local speaker's vector")
    features: bool = Field(False, description="the head hears the front end's features as well as the encoder's layers")
    convolutions: Count = Field(0, le=32, description="of three frames, with batch norm, before the recurrent layers")
    dropout: Probability = Field(0.0, description="behind convolutions and recurrent layers")
    powerset: bool = Field(
        False, description="one class for each set of people who speak at once, instead of yes or no for each of them"
    )
    speaker_loss: NotNegative = Field(0.1, description="weight of the loss that tells training speakers apart")
    thresholds: tuple[Probability, ...] = Field(
        (0.3, 0.4, 0.5, 0.6, 0.7),
        strict=False,
        min_length=1,
        description="above which a person speaks; validation chooses",
    )
    medians: tuple[PositiveCount, ...] = Field(
        (1, 11, 25), strict=False, min_length=1, description="frames that are smoothed over; validation chooses"
    )
    chunk_s: ChunkS = Field(10.0, description="longer recordings are heard in chunks of so much")
    apart: Positive = Field(0.7, description="local speakers of two chunks farther apart than this are two people")
    collar_s: NotNegative = Field(0.0, description="on either side of a boundary, not scored")
    recordings: str | None = Field(None, description="folder of real recordings, scored beside the test split")
    rttm: str | None = Field(None, description="who speaks when in them; a recording's name is its file's")


class DiarizationConfig(LabelledRunConfig):
    """A whole run."""

    defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "model": {"layerdrop": 0.0},
        "data": {"source": "manifest"},
        "mask": {"time_prob": 0.0, "feature_prob": 0.0},
        "optimizer": {"lr": 1e-5, "head_lr": 1e-3, "max_grad_norm": 5.0},
        "schedule": {
            "name": "cosine",
            "updates": 30_000,
            "warmup": 1_000,
            "init_scale": 0.0,
            "final_scale": 0.0,
            "freeze_encoder_updates": 30_000,
        },
        "evaluation": {"every_updates": 500, "start_after": 0},
    }

    output_dir: str = Field("runs/speaker_diarization", description="folder of the run")
    speaker_diarization: SpeakerDiarizationConfig = SpeakerDiarizationConfig()
    simulation: SimulationConfig = SimulationConfig()

    def checks(self) -> list[Check]:
        own = self.speaker_diarization
        longest_s = max(self.simulation.duration_s, own.chunk_s)
        return [
            *super().checks(),
            *self.simulation.checks(),
            no_copies(self.augmentation),
            reads_all_layers(self.model),
            (
                self.simulation.speakers[1] > 4,
                f"simulation.speakers {self.simulation.speakers} are more than four",
                "use at most four: all orders of the speakers are tried",
            ),
            (
                (own.recordings is None) != (own.rttm is None),
                "of speaker_diarization.recordings and rttm only one is given",
                "name both, or neither",
            ),
            (
                longest_s > self.batch.seconds_per_micro_batch,
                f"conversations of {longest_s:g} s are above batch.seconds_per_micro_batch"
                f" ({self.batch.seconds_per_micro_batch})",
                "lower the first or raise the second",
            ),
        ]


FILE = ConfigFile(DiarizationConfig, "configs/speaker_diarization/superb.yaml", "recipes/speaker_diarization.py")
