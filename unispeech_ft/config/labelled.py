"""Sections beside those that every run has: changed copies of clips, simulated conversations, probes, adapters; and
what a run has whose clips carry a class or a speaker each."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from unispeech_ft.config.sections import (
    Check,
    Count,
    ModelConfig,
    NotNegative,
    Positive,
    PositiveCount,
    Probability,
    RunConfig,
    Section,
    whole_speech,
)

# Beyond these speech is no longer like speech; between hundredths the filters of resampling are too long.
SLOWEST, FASTEST = 0.5, 2.0
# No head is larger; a model folder that says so would ask for gigabytes.
Size = Annotated[int, Field(ge=1, le=8_192)]
NumLayers = Annotated[int, Field(ge=1, le=32)]
ChunkS = Annotated[float, Field(gt=0, le=3_600)]


class AugmentationConfig(Section):
    """Changed copies of the training clips, made once: each has its name, and features that stay cached."""

    speeds: tuple[Positive, ...] = Field(
        (),
        strict=False,
        description="a copy at each of these speeds but 1.0, which is the clip; 0.9 is slower and lower",
    )
    copies: Count = Field(0, description="copies, each with a room and a noise of its own")
    noise: str | None = Field(None, description="folder of noises, or simulated")
    rooms: str | None = Field(None, description="folder of room impulse responses, or simulated")
    snr_db: tuple[float, float] = Field((5.0, 20.0), strict=False, description="speech over noise, from and to")
    share: Probability = Field(0.6, description="of those copies get a room; of those copies get a noise")

    @property
    def makes_copies(self) -> bool:
        """Whether there is any copy."""
        return bool(self.copies or set(self.speeds) - {1.0})

    def checks(self) -> list[Check]:
        """Faults that only several keys together show."""
        return [
            (
                not all(SLOWEST <= speed <= FASTEST and round(100 * speed, 6).is_integer() for speed in self.speeds),
                f"augmentation.speeds {list(self.speeds)} holds one that cannot be made",
                f"give hundredths from {SLOWEST} to {FASTEST}, such as 0.9 and 1.1",
            ),
            (
                len(set(self.speeds)) < len(self.speeds),
                "augmentation.speeds names a speed twice",
                "name each once",
            ),
            (
                self.copies > 0 and self.noise is None and self.rooms is None,
                "augmentation.copies is given without noise or rooms",
                "name a folder in augmentation.noise or augmentation.rooms, or write simulated",
            ),
            (
                self.copies > 0 and self.share == 0,
                "augmentation.share is 0, so copies are the clips themselves",
                "raise it, or set augmentation.copies to 0",
            ),
            (
                self.snr_db[0] > self.snr_db[1],
                f"augmentation.snr_db {self.snr_db} ends below its beginning",
                "give the lower one first",
            ),
        ]


class SimulationConfig(Section):
    """Conversations made of single clips (`data.simulate`)."""

    conversations: PositiveCount = Field(2_000, description="to train on")
    scored: PositiveCount = Field(100, description="of validation and of test each")
    speakers: tuple[PositiveCount, PositiveCount] = Field(
        (2, 2), strict=False, description="of a conversation, from and to"
    )
    duration_s: Positive = Field(10.0, description="of a conversation")
    pause_s: NotNegative = Field(
        2.0, description="mean of the pauses between what one speaker says, exponential; 0: all speak all the time"
    )
    level_db: NotNegative = Field(2.5, description="a speaker is up to so much louder or softer")
    room_share: Probability = Field(0.5, description="of the conversations are in a room, where there are rooms")

    def checks(self) -> list[Check]:
        """Faults that only several keys together show."""
        return [
            (
                self.speakers[0] > self.speakers[1],
                f"simulation.speakers {self.speakers} ends below its beginning",
                "give the smaller number first",
            )
        ]


class ProbeConfig(Section):
    """SUPERB's protocol: the encoder stays as it is; a light head learns from the weighted sum of all its layers."""

    enabled: bool = Field(False, description="train a head on the frozen encoder alone, as SUPERB does")
    lrs: tuple[Positive, ...] = Field(
        (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7),
        strict=False,
        min_length=1,
        description="in the place of optimizer.lr and head_lr: a head is trained at each, and the validation split"
        " chooses; of equals the first",
    )

    def checks(self, run: RunConfig) -> list[Check]:
        """What a probe bears in the rest of a configuration."""
        faults = [
            (
                run.schedule.freeze_encoder_updates < run.schedule.updates,
                f"schedule.freeze_encoder_updates ({run.schedule.freeze_encoder_updates}) is below schedule.updates"
                f" ({run.schedule.updates})",
                "set both to the same: the encoder of a probe stays frozen",
            ),
            (
                run.model.layerdrop > 0 or run.mask.hides,
                "model.layerdrop, mask.time_prob or mask.feature_prob is above 0, or mask.policy is given",
                "set all three to 0 and leave it out: a probe takes what the encoder says as it is",
            ),
            (
                len(set(self.lrs)) < len(self.lrs),
                "probe.lrs names a rate twice",
                "name each once",
            ),
            (
                isinstance(run.resume, str) and run.resume != "auto",
                "resume names a folder",
                "use true or auto: a probe goes on at the rate where it stood",
            ),
        ]
        return [(self.enabled and wrong, what, f"{remedy} (probe.enabled)") for wrong, what, remedy in faults]


class AdapterConfig(Section):
    """Small matrices that train in the place of the encoder's weights: merged into them at export (lora), or kept in
    the model as Transformers has them (bottleneck)."""

    kind: Literal["lora", "bottleneck"] | None = Field(
        None,
        description="lora: products of low rank beside projections; bottleneck: two small layers behind each layer;"
        " null: all weights train",
    )
    rank: PositiveCount = Field(16, description="of the products; of a bottleneck its channels")
    alpha: Positive = Field(32.0, description="a product of lora is scaled by alpha ÷ rank")
    where: tuple[Literal["query", "key", "value", "output", "feed_forward"], ...] = Field(
        ("query", "value"), strict=False, description="projections of each layer that get a product of lora"
    )
    norms: bool = Field(False, description="the encoder's layer norms train as well; with bottlenecks true by default")

    @model_validator(mode="before")
    @classmethod
    def _norms_by_kind(cls, values: Any) -> Any:
        """Houlsby et al. (2019) train the norms as well."""
        if isinstance(values, dict) and values.get("kind") == "bottleneck":
            return {"norms": True, **values}
        return values

    def checks(self, run: RunConfig, *, probe: bool) -> list[Check]:
        """Faults that only several keys together show."""
        plain = AdapterConfig()
        return [
            (
                self.kind is None and self != plain,
                "adapter is given without its kind",
                "set adapter.kind lora or bottleneck, or leave the section out",
            ),
            (
                self.kind == "bottleneck" and (self.alpha, self.where) != (plain.alpha, plain.where),
                "adapter.alpha or adapter.where is given, but adapter.kind is bottleneck",
                "leave it out, or set adapter.kind lora",
            ),
            (
                not self.where,
                "adapter.where names no projection",
                "leave it out for query and value, or set adapter.kind null",
            ),
            (
                len(set(self.where)) < len(self.where),
                "adapter.where names a projection twice",
                "name each once",
            ),
            (
                self.kind is not None and run.model.from_scratch,
                f"adapter.kind is {self.kind}, but the encoder starts at random (model.from_scratch)",
                "leave it out: adapters are for a pre-trained encoder",
            ),
            (
                self.kind is not None and probe,
                f"adapter.kind is {self.kind}",
                "leave it out: the encoder of a probe does not train (probe.enabled)",
            ),
        ]


class LabelledRunConfig(RunConfig):
    """What a run has whose clips stand in a folder for each class or speaker, in a manifest, or in a dataset."""

    augmentation: AugmentationConfig = AugmentationConfig()
    probe: ProbeConfig = ProbeConfig()

    def checks(self) -> list[Check]:
        data = self.data
        return [
            *super().checks(),
            *self.augmentation.checks(),
            *self.probe.checks(self),
            whole_speech(data),
            (
                data.root is None,
                "data.root is missing",
                "name the folder of the audio, with a folder for each class or speaker or a manifest (data.train)",
            ),
            (
                data.source == "common_voice",
                f"data.source is {data.source}",
                "leave it out (a manifest, or a folder for each class or speaker), or use hub",
            ),
            (
                data.source == "manifest"
                and data.train is None
                and (data.validation is not None or data.test is not None),
                "data.validation or data.test is given without data.train",
                "name the manifest of training as well",
            ),
        ]


def reads_all_layers(model: ModelConfig) -> Check:
    """What a head bears that reads every layer of the encoder."""
    return (model.layerdrop > 0, f"model.layerdrop is {model.layerdrop}", "set it to 0: the head reads all layers")


def sounds_are_heard(augmentation: AugmentationConfig) -> Check:
    """Noise and rooms are for copies; who writes that there are none may leave the sounds where they stand."""
    return (
        "copies" not in augmentation.model_fields_set and (augmentation.noise or augmentation.rooms) is not None,
        "augmentation.noise or augmentation.rooms is given without augmentation.copies",
        "set augmentation.copies to 1",
    )


def no_copies(augmentation: AugmentationConfig) -> Check:
    """What simulated conversations bear."""
    return (
        augmentation.copies > 0,
        "augmentation.copies is given",
        "leave it out: noise and rooms are part of the simulated conversations",
    )
