"""The configuration of a pre-training: the sections of `config` where they exist, and those of its own.

Values are the published stage 1 (UniSpeech, Wang et al. 2021, section 4, and its pre-training script) unless a YAML
says otherwise. Reading is strict (`config.reading`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from unispeech_ft.config.reading import ConfigFile
from unispeech_ft.config.sections import (
    Check,
    DataConfig,
    ModelConfig,
    NotNegative,
    PhonemesConfig,
    Positive,
    PositiveCount,
    Probability,
    RunConfig,
    Section,
)

LANGUAGE = "{language}"


class PretrainingModelConfig(ModelConfig):
    """Which network, and the regularisation it trains with."""

    quantizer_dropout: Probability = Field(0.0, description="on the latents that the quantiser reads")
    extractor_grad_scale: NotNegative = Field(
        1.0, description="factor of the conv extractor's gradient; 0 freezes it (a filter bank from random weights)"
    )


class LabelledConfig(DataConfig):
    """Speech with sentences or phones, as in a fine-tuning; without `root` there is none."""

    languages: list[str] | None = Field(
        None, description="several languages in place of `language`; {language} in root and file names stands for each"
    )


class UnlabelledConfig(Section):
    """Speech without labels, read as a stream; without `root` there is none."""

    source: Literal["folder", "manifest", "parquet", "tar"] = "folder"
    root: str | None = Field(None, description="folder of audio, of parquet files or of tar shards; manifest file")
    audio_column: str = Field("audio", description="of parquet rows; `path` columns of manifests are found anyway")
    share: Probability = Field(0.5, description="of the micro-batches, where there is labelled speech as well")
    min_duration_s: float = Field(1.0, ge=0.1, description="shorter recordings and ends of recordings are left out")
    max_duration_s: Positive = Field(15.6, description="longer recordings are cut into pieces of this length")
    window_s: Positive = Field(300.0, description="seconds that a stream reads ahead and sorts by length")


class ObjectiveConfig(Section):
    """The loss: α·CTC + (1 − α)·(contrastive + weight · diversity). α 1 is CTC alone, 0 contrastive alone."""

    alpha: Probability = 0.5
    replacement: Probability = Field(0.5, description="share of frames whose quantised latent the CTC branch sees (r)")
    negatives: PositiveCount = 100
    contrastive_temperature: Positive = 0.1
    diversity_weight: NotNegative = 0.1
    gumbel_start: Positive = 2.0
    gumbel_end: Positive = 0.1
    gumbel_decay: Probability = Field(0.999995, description="factor of the Gumbel temperature at every update")
    inventory: Literal["shared", "separate"] = Field(
        "shared", description="one row a phone for all languages, or rows of its own for each language (`fr:a`)"
    )


class PretrainingConfig(RunConfig):
    """A whole pre-training run."""

    defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "model": {"layerdrop": 0.0},
        "data": {"normalize": False},
        "batch": {"seconds_per_update": 4800.0, "seconds_per_micro_batch": 75.0},
        "mask": {"time_prob": 0.5, "feature_prob": 0.0},
        "optimizer": {"lr": 1e-3, "eps": 1e-6, "weight_decay": 0.01, "max_grad_norm": 0.0},
        "schedule": {
            "name": "polynomial",
            "updates": 200_000,
            "warmup": 25_000,
            "decay": 225_000,
            "init_scale": 0.0,
            "final_scale": 0.0,
            "freeze_encoder_updates": 0,
        },
        "evaluation": {"every_updates": 5_000, "start_after": 0, "max_utterances": 500},
    }

    output_dir: str = "runs/pretrain"
    model: PretrainingModelConfig = PretrainingModelConfig()
    data: LabelledConfig = LabelledConfig()
    unlabelled: UnlabelledConfig = UnlabelledConfig()
    phonemes: PhonemesConfig = PhonemesConfig()
    objective: ObjectiveConfig = ObjectiveConfig()

    @property
    def micro_batches_per_update(self) -> int:
        """Micro-batches of an update over all processes; their number, not the audio in them, is fixed."""
        return int(self.batch.seconds_per_update / self.batch.seconds_per_micro_batch + 1e-9)

    @property
    def unlabelled_share(self) -> float:
        """Share of the micro-batches that come from unlabelled speech."""
        if self.unlabelled.root is None:
            return 0.0
        return 1.0 if self.data.root is None else self.unlabelled.share

    def checks(self) -> list[Check]:
        data, unlabelled, objective, batch = self.data, self.unlabelled, self.objective, self.batch
        named = bool(data.language or data.languages)
        longest = [data.max_duration_s] * (data.root is not None)
        longest += [unlabelled.max_duration_s] * (unlabelled.root is not None)
        return [
            *super().checks(),
            (
                data.root is None and unlabelled.root is None,
                "data.root and unlabelled.root are missing",
                "name labelled speech (data.root), unlabelled speech (unlabelled.root), or both",
            ),
            (
                data.root is None and objective.alpha > 0,
                f"objective.alpha is {objective.alpha:g}, but there is no labelled speech",
                "name it in data.root, or set objective.alpha 0 for the contrastive task alone",
            ),
            (
                objective.alpha == 1 and unlabelled.root is not None,
                "objective.alpha is 1, so unlabelled speech has no loss",
                "lower objective.alpha, or leave out unlabelled.root",
            ),
            (
                data.language is not None and data.languages is not None,
                "data.language and data.languages are both given",
                "keep one of the two",
            ),
            (
                data.root is not None
                and not named
                and (data.source == "common_voice" or objective.inventory == "separate"),
                "data.language is missing",
                "name the language, for example --data.language en, or several in data.languages",
            ),
            (
                data.languages is not None and (not data.languages or len(set(data.languages)) < len(data.languages)),
                f"data.languages is {data.languages}",
                "name one or more languages, each once",
            ),
            (
                data.root is not None and data.source == "manifest" and data.train is None,
                "data.train is missing",
                "name the manifest to train on, for example --data.train train.tsv",
            ),
            (
                self.phonemes.labels == "published",
                "phonemes.labels published serves the 1-hour lists alone",
                "use espeak, lexicon or column",
            ),
            *(self.phonemes.checks(named=named or bool(self.phonemes.language)) if data.root is not None else []),
            (
                self.schedule.freeze_encoder_updates > 0,
                f"schedule.freeze_encoder_updates is {self.schedule.freeze_encoder_updates}",
                "set it 0: only a fine-tuning freezes the encoder",
            ),
            (
                self.mask.time_prob == 0,
                "mask.time_prob is 0",
                "give a share above 0: the loss is divided by the masked frames",
            ),
            (
                bool(longest) and max(longest) > batch.seconds_per_micro_batch,
                f"a clip may last {max(longest, default=0):g} s, more than batch.seconds_per_micro_batch"
                f" ({batch.seconds_per_micro_batch})",
                "lower data.max_duration_s or unlabelled.max_duration_s, or raise batch.seconds_per_micro_batch",
            ),
            (
                unlabelled.min_duration_s >= unlabelled.max_duration_s,
                f"unlabelled.min_duration_s ({unlabelled.min_duration_s}) is not below unlabelled.max_duration_s"
                f" ({unlabelled.max_duration_s})",
                "lower the first or raise the second",
            ),
            (
                objective.gumbel_end > objective.gumbel_start,
                f"objective.gumbel_end ({objective.gumbel_end}) is above objective.gumbel_start"
                f" ({objective.gumbel_start})",
                "the temperature falls: lower the first or raise the second",
            ),
        ]


def named(value: Any, language: str) -> Any:
    """A value of the configuration with the language in place of `{language}`."""
    return value.replace(LANGUAGE, language) if isinstance(value, str) else value


def labelled_languages(data: LabelledConfig) -> list[tuple[str, DataConfig]]:
    """Each labelled language with the data section of its own; none without `data.root`."""
    if data.root is None:
        return []
    own: dict[str, Any] = data.model_dump(exclude={"languages"})
    if data.languages is None:
        return [(data.language or "", DataConfig(**own))]
    return [
        (language, DataConfig(**{key: named(value, language) for key, value in own.items()} | {"language": language}))
        for language in data.languages
    ]


FILE = ConfigFile(PretrainingConfig, "configs/pretrain/stage_1_en.yaml", "recipes/pretrain.py")
