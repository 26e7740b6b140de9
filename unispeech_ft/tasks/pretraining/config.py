"""The configuration of a pre-training: the sections of `config` where they exist, and those of its own.

Values are the published stage 1 (UniSpeech, Wang et al. 2021, section 4, and its pre-training script) unless a YAML
says otherwise. Reading is strict (`config_reading`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from unispeech_ft.config.reading import load_as
from unispeech_ft.config.sections import (
    BatchConfig,
    CheckpointingConfig,
    Count,
    DataConfig,
    EvaluationConfig,
    KernelConfig,
    MaskConfig,
    ModelConfig,
    NotNegative,
    OptimizerConfig,
    PhonemesConfig,
    Positive,
    PositiveCount,
    Probability,
    ScheduleConfig,
    Section,
    TrackingConfig,
    model_checks,
)
from unispeech_ft.errors import UserError

LANGUAGE = "{language}"


class PretrainModelConfig(ModelConfig):
    """Which network, and the regularisation it trains with."""

    layerdrop: Probability = 0.0
    quantizer_dropout: Probability = Field(0.0, description="on the latents that the quantiser reads")
    extractor_grad_scale: NotNegative = Field(
        1.0, description="factor of the conv extractor's gradient; 0 freezes it (a filter bank from random weights)"
    )


class LabelledConfig(DataConfig):
    """Speech with sentences or phones, as in a fine-tuning; without `root` there is none."""

    languages: list[str] | None = Field(
        None, description="several languages in place of `language`; {language} in root and file names stands for each"
    )
    normalize: bool | None = Field(False, description="zero mean and unit variance a clip; null: as the base model")


class UnlabelledConfig(Section):
    """Speech without labels, read as a stream; without `root` there is none."""

    source: Literal["folder", "manifest", "parquet", "tar"] = "folder"
    root: str | None = Field(None, description="folder of audio, of parquet files or of tar shards; manifest file")
    audio_column: str = Field("audio", description="of parquet rows; `path` columns of manifests are found anyway")
    share: Probability = Field(0.5, description="of the sub-batches, where there is labelled speech as well")
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


class PretrainBatchConfig(BatchConfig):
    """Sizes in padded seconds of audio, over all processes."""

    seconds_per_update: Positive = 4800.0
    seconds_per_sub_batch: Positive = 75.0


class PretrainMaskConfig(MaskConfig):
    """Which frames are hidden and have to be told."""

    time_prob: Probability = 0.5
    feature_prob: Probability = 0.0


class PretrainOptimizerConfig(OptimizerConfig):
    """AdamW."""

    lr: Positive = 1e-3
    eps: Positive = 1e-6
    weight_decay: NotNegative = 0.01
    max_grad_norm: NotNegative = Field(0.0, description="0 switches clipping off")


class PretrainScheduleConfig(ScheduleConfig):
    """The learning rate over the updates."""

    name: Literal["tri_stage", "linear", "cosine", "constant", "polynomial"] = "polynomial"
    updates: PositiveCount = 200_000
    warmup: Count = 25_000
    decay: Count = Field(225_000, description="of tri_stage and polynomial, which may stop before its end")
    init_scale: NotNegative = 0.0
    final_scale: NotNegative = 0.0
    freeze_encoder_updates: Count = Field(0, le=0, description="only a fine-tuning freezes the encoder")


class PretrainEvaluationConfig(EvaluationConfig):
    """When the CTC branch is scored on the labelled validation splits."""

    every_updates: PositiveCount = 5_000
    start_after: Count = 0
    max_utterances: PositiveCount | None = 500


class PretrainConfig(Section):
    """A whole pre-training run."""

    seed: Count = 1337
    output_dir: str = "runs/pretrain"
    resume: bool | str = Field(False, description="true: the newest checkpoint of output_dir; or a checkpoint folder")
    dry_run: bool = False
    model: PretrainModelConfig = PretrainModelConfig()
    data: LabelledConfig = LabelledConfig()
    unlabelled: UnlabelledConfig = UnlabelledConfig()
    phonemes: PhonemesConfig = PhonemesConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    batch: PretrainBatchConfig = PretrainBatchConfig()
    mask: PretrainMaskConfig = PretrainMaskConfig()
    optimizer: PretrainOptimizerConfig = PretrainOptimizerConfig()
    schedule: PretrainScheduleConfig = PretrainScheduleConfig()
    evaluation: PretrainEvaluationConfig = PretrainEvaluationConfig()
    checkpointing: CheckpointingConfig = CheckpointingConfig()
    training: KernelConfig = KernelConfig()
    tracking: TrackingConfig = TrackingConfig()

    @property
    def sub_batches_per_update(self) -> int:
        """Sub-batches of an update over all processes; their number, not the audio in them, is fixed."""
        return int(self.batch.seconds_per_update / self.batch.seconds_per_sub_batch + 1e-9)

    @property
    def unlabelled_share(self) -> float:
        """Share of the sub-batches that come from unlabelled speech."""
        if self.unlabelled.root is None:
            return 0.0
        return 1.0 if self.data.root is None else self.unlabelled.share


def labelled_languages(data: LabelledConfig) -> list[tuple[str, DataConfig]]:
    """Each labelled language with the data section of its own; none without `data.root`."""
    if data.root is None:
        return []
    own = data.model_dump(exclude={"languages"})
    if data.languages is None:
        return [(data.language or "", DataConfig(**own))]
    return [
        (
            language,
            DataConfig(
                **{k: v.replace(LANGUAGE, language) if isinstance(v, str) else v for k, v in own.items()}
            ).model_copy(update={"language": language}),
        )
        for language in data.languages
    ]


def cross_field_errors(config: PretrainConfig) -> list[UserError]:
    """Faults that only several keys together show; touches no device and reads no data."""
    data, unlabelled, objective, batch = config.data, config.unlabelled, config.objective, config.batch
    named = bool(data.language or data.languages)
    longest = [data.max_duration_s] * (data.root is not None)
    longest += [unlabelled.max_duration_s] * (unlabelled.root is not None)
    checks = [
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
            data.root is not None and config.phonemes.labels == "espeak" and not (named or config.phonemes.language),
            "phonemes.language is missing",
            "labels from espeak-ng need data.language or phonemes.language",
        ),
        (
            config.phonemes.labels == "published",
            "phonemes.labels published serves the 1-hour lists alone",
            "use espeak, lexicon or column",
        ),
        (
            config.phonemes.labels == "lexicon" and config.phonemes.lexicon is None,
            "phonemes.lexicon is missing",
            "phonemes.labels is lexicon: name the file, lines of word<TAB>phones",
        ),
        *model_checks(config.model),
        (
            config.mask.time_prob == 0,
            "mask.time_prob is 0",
            "give a share above 0: the loss is divided by the masked frames",
        ),
        (
            batch.seconds_per_sub_batch > batch.seconds_per_update,
            f"batch.seconds_per_sub_batch ({batch.seconds_per_sub_batch}) is above batch.seconds_per_update"
            f" ({batch.seconds_per_update})",
            "lower the first or raise the second",
        ),
        (
            bool(longest) and max(longest) > batch.seconds_per_sub_batch,
            f"a clip may last {max(longest, default=0):g} s, more than batch.seconds_per_sub_batch"
            f" ({batch.seconds_per_sub_batch})",
            "lower data.max_duration_s or unlabelled.max_duration_s, or raise batch.seconds_per_sub_batch",
        ),
        (
            unlabelled.min_duration_s >= unlabelled.max_duration_s,
            f"unlabelled.min_duration_s ({unlabelled.min_duration_s}) is not below unlabelled.max_duration_s"
            f" ({unlabelled.max_duration_s})",
            "lower the first or raise the second",
        ),
        (
            objective.gumbel_end > objective.gumbel_start,
            f"objective.gumbel_end ({objective.gumbel_end}) is above objective.gumbel_start ({objective.gumbel_start})",
            "the temperature falls: lower the first or raise the second",
        ),
    ]
    return [UserError(what, remedy=remedy) for wrong, what, remedy in checks if wrong]


def load_pretrain_config(arguments: Sequence[str]) -> PretrainConfig:
    """The configuration that command-line arguments ask for; see `config_reading.load_as`."""
    return load_as(arguments, PretrainConfig, cross_field_errors, "configs/pretrain/stage_1_en.yaml")
