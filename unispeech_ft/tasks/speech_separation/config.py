"""The configuration of a speech separation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

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
from unispeech_ft.config.sections import Check, NotNegative, PositiveCount, Probability, Section


class SpeechSeparationConfig(Section):
    """The head, the spectrogram that it masks, and how long recordings are taken apart."""

    label_column: str | None = Field(None, description="of who speaks; null: speaker, client_id and the like")
    held_out: Probability = Field(0.2, description="share of speakers that validation and test get each")
    body: Literal["recurrent", "convolutional"] = Field("recurrent", description="what the head is made of")
    hidden: Size = Field(256, description="cells of its recurrent layers, each way; channels of convolutions")
    layers: NumLayers = Field(3, description="recurrent ones, or rounds of seven dilated convolutions")
    dropout: Probability = Field(0.0, description="of what the head reads, and within it")
    window: PositiveCount = Field(1024, description="samples of the spectrogram's window")
    hop: PositiveCount = Field(320, description="samples from one frame of the spectrogram to the next")
    loss: Literal["magnitudes", "log_magnitudes", "si_sdr"] = Field(
        "magnitudes", description="compares spectrograms, their log(1 + magnitude), or the sound itself"
    )
    chunk_s: ChunkS = Field(10.0, description="longer recordings are taken apart in chunks of so much")
    overlap_s: NotNegative = Field(2.0, description="of two chunks, by which the speakers are known again")


class SeparationConfig(LabelledRunConfig):
    """A whole run."""

    defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "model": {"layerdrop": 0.0},
        "data": {"source": "manifest"},
        "mask": {"time_prob": 0.0, "feature_prob": 0.0},
        "optimizer": {"lr": 1e-5, "head_lr": 1e-3, "max_grad_norm": 5.0},
        "schedule": {
            "name": "cosine",
            "updates": 150_000,
            "warmup": 1_000,
            "init_scale": 0.0,
            "final_scale": 0.0,
            "freeze_encoder_updates": 150_000,
        },
        "evaluation": {"every_updates": 2_000, "start_after": 0},
        "simulation": {"conversations": 14_000, "scored": 500, "duration_s": 6.0, "pause_s": 0.0},
    }

    output_dir: str = Field("runs/speech_separation", description="folder of the run")
    speech_separation: SpeechSeparationConfig = SpeechSeparationConfig()
    simulation: SimulationConfig = SimulationConfig()

    def checks(self) -> list[Check]:
        own, speakers = self.speech_separation, self.simulation.speakers
        return [
            *super().checks(),
            *self.simulation.checks(),
            no_copies(self.augmentation),
            reads_all_layers(self.model),
            (
                not 2 <= speakers[0] == speakers[1] <= 4,
                f"simulation.speakers {speakers} are not one number from two to four",
                "give that number twice: the head has a mask for each speaker",
            ),
            (
                own.hop > 0.75 * own.window,
                f"speech_separation.hop {own.hop} is above three quarters of the window ({own.window})",
                "lower the hop: sound is made of windows that overlap",
            ),
            (
                own.overlap_s > own.chunk_s / 2,
                f"speech_separation.overlap_s {own.overlap_s:g} is above half of chunk_s {own.chunk_s:g}",
                "lower the first or raise the second",
            ),
            (
                self.simulation.duration_s > self.batch.seconds_per_micro_batch,
                f"mixtures of {self.simulation.duration_s:g} s are above batch.seconds_per_micro_batch"
                f" ({self.batch.seconds_per_micro_batch})",
                "lower the first or raise the second",
            ),
        ]


FILE = ConfigFile(SeparationConfig, "configs/speech_separation/superb.yaml", "recipes/speech_separation.py")
