"""The configuration of a pre-training: the sections of `config` where they exist, and those of its own.

Values are the published stage 1 (UniSpeech, Wang et al. 2021, section 4, and its pre-training script) unless a YAML
says otherwise; those of the other objectives are HuBERT's, WavLM's and UniSpeech-SAT's. Reading is strict
(`config.reading`).
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
    whole_speech,
)

LANGUAGE = "{language}"
Kind = Literal["unispeech", "masked_prediction", "sat"]


class PretrainingModelConfig(ModelConfig):
    """Which network, and the regularisation it trains with."""

    quantizer_dropout: Probability = Field(0.0, description="on the latents that the quantiser reads")
    extractor_grad_scale: NotNegative = Field(
        1.0, description="factor of the conv extractor's gradient; 0 freezes it (a filter bank from random weights)"
    )
    position_gate: bool = Field(True, description="wavlm: false holds the position bias's gate at 1, as ILS-SSL has it")


class LabelledConfig(DataConfig):
    """Speech with sentences or phones, as in a fine-tuning; without `root` there is none."""

    languages: list[str] | None = Field(
        None, description="several languages in place of `language`; {language} in root and file names stands for each"
    )


class UnlabelledConfig(Section):
    """Speech without labels, read as a stream; without `root` there is none."""

    source: Literal["folder", "manifest", "parquet", "tar"] = Field("folder", description="what `root` is")
    root: str | None = Field(None, description="folder of audio, of parquet files or of tar shards; manifest file")
    audio_column: str = Field("audio", description="of parquet rows; `path` columns of manifests are found anyway")
    share: Probability = Field(0.5, description="of the micro-batches, where there is labelled speech as well")
    min_duration_s: float = Field(1.0, ge=0.1, description="shorter recordings and ends of recordings are left out")
    max_duration_s: Positive = Field(15.6, description="longer recordings are cut into pieces of this length")
    window_s: Positive = Field(300.0, description="seconds that a stream reads ahead and sorts by length")
    targets: str | None = Field(
        None, description="folder of `unispeech-ft targets` with the classes of these recordings, to be predicted"
    )


class MixingConfig(Section):
    """Pieces of other speech or noise within unlabelled clips, whose classes stay their own (WavLM, UniSpeech-SAT)."""

    prob: Probability = Field(0.0, description="share of the clips that are mixed; 0 for none")
    noise_prob: Probability = Field(0.0, description="share of the mixed clips that get noise and not speech")
    noise_root: str | None = Field(None, description="folder of recordings of noise")
    most_pieces: PositiveCount = Field(1, description="pieces in a mixed clip")
    longest_share: Probability = Field(0.5, description="of the clip that a piece covers at most")
    snr_db: list[float] = Field(
        [-5.0, 5.0], min_length=2, max_length=2, description="the clip above the other speech, uniform"
    )
    noise_snr_db: list[float] = Field(
        [-5.0, 20.0], min_length=2, max_length=2, description="the clip above the noise, uniform"
    )
    in_place: bool = Field(False, description="the original's way: mix in clips that are mixtures already")
    with_itself: bool = Field(False, description="the original's way: a clip may be mixed with itself")
    over_padding: bool = Field(
        False, description="the original's way: clips are padded before they are mixed, padding counts as their silence"
    )

    def checks(self) -> list[Check]:
        ordered = all(low <= high for low, high in (self.snr_db, self.noise_snr_db))
        return [
            (
                self.noise_prob > 0 and self.noise_root is None,
                f"mixing.noise_prob is {self.noise_prob:g}, but mixing.noise_root is missing",
                "name a folder of noise, or set mixing.noise_prob 0",
            ),
            (
                not ordered,
                f"mixing.snr_db is {list(self.snr_db)}, mixing.noise_snr_db {list(self.noise_snr_db)}",
                "give the lower bound first",
            ),
        ]


class ObjectiveConfig(Section):
    """The loss: `unispeech` is α·CTC + (1 − α)·(contrastive + weight · diversity), α 1 is CTC alone, 0 contrastive
    alone; `masked_prediction` is a cross-entropy over classes + a penalty; `sat` is that + utterance-wise contrastive +
    weight · diversity."""

    kind: Kind = Field("unispeech", description="which loss; masked_prediction and sat ask for classes (targets)")
    layers: list[PositiveCount] | None = Field(
        None, description="masked_prediction: encoder layers, from 1, that predict, each with a head; null: the last"
    )
    masked_weight: NotNegative = Field(1.0, description="of predicting the classes of masked frames")
    unmasked_weight: NotNegative = Field(0.0, description="of predicting those of the other frames")
    penalty_weight: NotNegative = Field(10.0, description="of the mean square of the conv extractor's output")
    utterance_weight: NotNegative = Field(1.0, description="sat: of the utterance-wise contrastive task")
    utterance_layer: PositiveCount | None = Field(
        None, description="sat: encoder layer, from 1, of that task; null: half of them"
    )
    projection_dim: PositiveCount = Field(256, description="channels in which frames and classes are compared")
    special_classes: bool = Field(
        False, description="the original's way: four more classes, fairseq's <s> <pad> </s> <unk>, which no frame has"
    )
    samples_itself: bool = Field(
        False, description="sat, the original's way: a frame may be drawn as an instance to compare it with"
    )
    extractor_sees_padding: bool = Field(
        False, description="the original's way: padding counts in group norms and in the penalty"
    )
    alpha: Probability = Field(0.5, description="unispeech: share of CTC in the loss; 1 is CTC alone, 0 none")
    replacement: Probability = Field(0.5, description="share of frames whose quantised latent the CTC branch sees (r)")
    negatives: PositiveCount = Field(100, description="frames that each masked frame is compared with")
    contrastive_temperature: Positive = Field(0.1, description="divides cosine similarities, of classes as well")
    diversity_weight: NotNegative = Field(0.1, description="of using all entries of the codebook")
    gumbel_start: Positive = Field(2.0, description="Gumbel temperature at the first update")
    gumbel_end: Positive = Field(0.1, description="below which it does not fall")
    gumbel_decay: Probability = Field(0.999995, description="factor of the Gumbel temperature at every update")
    inventory: Literal["shared", "separate"] = Field(
        "shared", description="one row a phone for all languages, or rows of its own for each language (`fr:a`)"
    )

    @property
    def first_class(self) -> int:
        """What the first class of the targets is called by the network."""
        return 4 if self.special_classes else 0


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

    output_dir: str = Field("runs/pretrain", description="folder of the run")
    model: PretrainingModelConfig = PretrainingModelConfig()
    data: LabelledConfig = LabelledConfig()
    unlabelled: UnlabelledConfig = UnlabelledConfig()
    phonemes: PhonemesConfig = PhonemesConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    mixing: MixingConfig = MixingConfig()

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

    def _checks_of_kind(self) -> list[Check]:
        objective, unlabelled, predicts = self.objective, self.unlabelled, self.objective.kind != "unispeech"
        kind = f"objective.kind is {objective.kind}"
        return [
            (
                predicts and self.data.root is not None,
                f"{kind}, which reads unlabelled speech alone, but data.root is given",
                "name the recordings in unlabelled.root",
            ),
            (
                predicts and unlabelled.root is not None and unlabelled.targets is None,
                f"{kind}, but unlabelled.targets is missing",
                "make them with `unispeech-ft targets`, and name their folder",
            ),
            (
                not predicts and unlabelled.targets is not None,
                f"{kind}, which predicts no classes, but unlabelled.targets is given",
                "leave it out, or set objective.kind masked_prediction",
            ),
            (
                not predicts and self.mixing.prob > 0,
                f"{kind}, but mixing.prob is {self.mixing.prob:g}",
                "set it 0: mixing goes with masked_prediction and sat",
            ),
            (
                objective.layers is not None and objective.kind != "masked_prediction",
                f"{kind}, but objective.layers is given",
                "leave it out: only masked_prediction predicts at several layers",
            ),
            (
                objective.layers is not None and sorted(set(objective.layers)) != objective.layers,
                f"objective.layers is {objective.layers}",
                "name one or more layers from the lowest to the highest, each once",
            ),
            (
                predicts and objective.masked_weight == 0,
                "objective.masked_weight is 0",
                "give a weight above 0: the loss is divided by the masked frames",
            ),
        ]

    def checks(self) -> list[Check]:
        data, unlabelled, objective, batch = self.data, self.unlabelled, self.objective, self.batch
        named = bool(data.language or data.languages)
        longest = [data.max_duration_s] * (data.root is not None)
        longest += [unlabelled.max_duration_s] * (unlabelled.root is not None)
        return [
            *super().checks(),
            *self._checks_of_kind(),
            *self.mixing.checks(),
            whole_speech(data),
            (
                self.training.ema_decay is not None,
                f"training.ema_decay is {self.training.ema_decay}",
                "leave it out: a pre-training keeps its last weights",
            ),
            (
                self.training.average_best is not None,
                f"training.average_best is {self.training.average_best}",
                "leave it out: a pre-training keeps its last weights",
            ),
            (
                data.root is None and unlabelled.root is None,
                "data.root and unlabelled.root are missing",
                "name labelled speech (data.root), unlabelled speech (unlabelled.root), or both",
            ),
            (
                objective.kind == "unispeech" and data.root is None and objective.alpha > 0,
                f"objective.alpha is {objective.alpha:g}, but there is no labelled speech",
                "name it in data.root, or set objective.alpha 0 for the contrastive task alone",
            ),
            (
                objective.kind == "unispeech" and objective.alpha == 1 and unlabelled.root is not None,
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
                self.mask.policy is not None,
                f"mask.policy is {self.mask.policy}",
                "leave it out: what is masked is predicted, by mask.time_prob",
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
