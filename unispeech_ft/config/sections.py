"""The sections of a configuration: frozen models, read from one YAML file and dotted overrides, and from nothing else.

Durations are in seconds, schedules in updates. A recipe's configuration is `RunConfig` with the sections of its task
(`tasks/TASK/config.py`); its values are those of that recipe's source unless a YAML says otherwise. Reading is strict
(`config.reading`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Probability = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(gt=0, le=1)]
Decay = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=0)]
PositiveCount = Annotated[int, Field(ge=1)]
Labels = Literal["espeak", "lexicon", "epitran", "column", "published"]
# Whether something is wrong, what, and the remedy.
Check = tuple[bool, str, str]


class Section(BaseModel):
    """Keys of a YAML that belong together.

    Attributes:
        later: keys that earlier versions had not; at their default they are left out of what identifies a run.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, protected_namespaces=())
    later: ClassVar[frozenset[str]] = frozenset()

    def identified(self) -> dict[str, Any]:
        """What identifies a run, in plain JSON."""
        fields = type(self).model_fields
        silent = {name for name in self.later if getattr(self, name) == fields[name].default}
        return self.model_dump(mode="json", exclude=silent)


class ModelConfig(Section):
    """Which network, and the regularisation it trains with."""

    base: str | None = Field(None, description="Hub id or local folder of the pre-trained or fine-tuned model")
    revision: str | None = Field(None, description="branch, tag or commit of a Hub id")
    from_scratch: bool = Field(False, description="random weights; the shape comes from `config`, or from `base`")
    config: dict[str, Any] | None = Field(None, description="inline Transformers configuration, for from_scratch")
    hidden_dropout: Probability = Field(0.1, description="of what leaves attention and feed-forward in each layer")
    attention_dropout: Probability = Field(0.1, description="of the attention weights")
    activation_dropout: Probability = Field(0.1, description="inside the feed-forward parts")
    feature_projection_dropout: Probability = Field(0.1, description="of the features before the encoder")
    final_dropout: Probability = Field(0.1, description="of the encoder's output before the head")
    layerdrop: Probability = Field(0.1, description="probability that an update leaves a layer out")
    gradient_checkpointing: bool = Field(
        False, description="compute activations again in the backward pass: less memory, more time"
    )

    def checks(self) -> list[Check]:
        """Faults of the keys that say where the model comes from."""
        return [
            (
                self.base is None and not self.from_scratch,
                "model.base is missing",
                "name a Hub id or a local folder, or set model.from_scratch true with model.config",
            ),
            (
                self.from_scratch and self.config is None and self.base is None,
                "model.config is missing",
                "model.from_scratch needs an inline model.config, or model.base to take the shape from",
            ),
            (
                self.config is not None and not self.from_scratch,
                "model.config is given, but model.from_scratch is false",
                "set model.from_scratch true for random weights, or remove model.config",
            ),
        ]


class HeadConfig(Section):
    """How the rows of the head start."""

    new_phones: Literal["random", "nearest"] = Field(
        "random",
        description="phones that the base model's head lacks: at random, or as the nearest one that it has, by"
        " articulatory features (panphon)",
    )


class DataConfig(Section):
    """Where the speech is and which of it is used."""

    source: Literal["common_voice", "manifest", "hub"] = Field(
        "common_voice",
        description="what data.root is: a Common Voice folder or archive, manifests, or a dataset of the Hub",
    )
    root: str | None = Field(
        None, description="release folder, .tar.gz or mdc:LANGUAGE; folder of a manifest; Hub id or parquet folder"
    )
    revision: str | None = Field(None, description="branch, tag or commit of a Hub id in `root`")
    language: str | None = Field(None, description="Common Voice code: ky, fr, es, it, pt …")
    splits: str = Field("release", description="`release`, or a folder of published split lists")
    train: str | None = Field(None, description="split name, manifest file, or folder")
    validation: str | None = Field(None, description="split name, manifest file, or folder")
    test: str | None = Field(None, description="split name, manifest file, or folder")
    audio_column: str | None = Field(None, description="of a manifest or a dataset: where the clip stands")
    text_column: str | None = Field(None, description="of a manifest or a dataset: where the sentence stands")
    phones_column: str | None = Field(
        None,
        description="of a manifest or a dataset: where phones stand, separated by spaces; of a folder of recordings"
        " with texts: the tier whose texts are phones, or `*` for the one that is found",
    )
    speaker_column: str | None = Field(None, description="of a manifest or a dataset: where the speaker stands")
    hold_out: Literal["speaker", "sentence"] | None = Field(
        None, description="how speech without splits is divided; null: by speaker where ten or more are known"
    )
    further: str | None = Field(
        None,
        description="manifest of further training clips with their phones; those of validation's and test's recordings"
        " and speakers are left out",
    )
    share: Share = Field(
        1.0, description="of the training speech that is used: speaker by speaker, a smaller share within a larger one"
    )
    channel: Count | None = Field(None, description="which of several channels, from 0; null: the mean of all")
    min_duration_s: NotNegative = Field(0.4, description="shorter clips are left out")
    max_duration_s: Positive = Field(20.0, description="longer clips are left out")
    max_bad_fraction: Probability = Field(0.05, description="more unusable clips than this share stop the run")
    normalize: bool | None = Field(
        None, description="zero mean and unit variance a clip, or a filter bank of it; null: as the base model does"
    )
    normalize_eps: Positive = Field(1e-5, description="is added to the variance of a clip before it is scaled to 1")
    cache_dir: str = Field("~/.cache/unispeech_ft", description="folder of decoded speech and features")
    num_workers: Count = Field(2, description="processes that decode; 0: this one")

    @property
    def cache_folder(self) -> Path:
        """Where decoded audio, labels and features are kept."""
        return Path(self.cache_dir).expanduser()


class PhonemesConfig(Section):
    """How sentences become phones, and the layout of the head."""

    labels: Labels = Field(
        "espeak", description="where phones come from: espeak-ng, a lexicon, epitran, a column, or published lists"
    )
    normalise: Literal["text", "published"] = Field(
        "text", description="text: only sentence marks and brackets go; published: every mark becomes a space"
    )
    language: str | None = Field(None, description="espeak-ng's or epitran's name; null: found from data.language")
    lexicon: str | None = Field(None, description="file of word<TAB>phones separated by spaces, or of MFA or Kaldi")
    lexicon_fallback: bool = Field(False, description="let espeak-ng pronounce the words that the lexicon lacks")
    language_flags: Literal["remove", "drop"] = Field(
        "remove",
        description="of words that espeak-ng reads in another language: remove its mark, or drop the utterance",
    )
    stress: bool = Field(False, description="keep stress marks")
    punctuation: bool = Field(False, description="keep punctuation marks as tokens")
    tones: Literal["vowel", "token"] = Field("vowel", description="vowel: a5 is one phone; token: a and 5 are two")
    segment: bool = Field(False, description="phones of lexicon or column have no spaces between them: panphon cuts")
    map: str = Field("none", description="`none`, `ipa`, or a file of phone<TAB>phones")
    head_layout: Literal["transformers", "original"] = Field(
        "transformers", description="order of the rows of the head: as Transformers or as the published code has them"
    )

    @property
    def text_rule(self) -> Literal["text", "published"]:
        """The rule of normalisation: published labels, and what is compared with them, have their own."""
        return "published" if self.labels == "published" else self.normalise

    def checks(self, *, named: bool) -> list[Check]:
        """Faults of what labels need.

        Args:
            named: whether a language is.
        """
        return [
            (
                self.labels in ("espeak", "epitran") and not named,
                "phonemes.language is missing",
                "labels from espeak-ng or epitran need data.language or phonemes.language (fr-fr, ky; kaz-Cyrl)",
            ),
            (
                self.labels == "lexicon" and self.lexicon is None,
                "phonemes.lexicon is missing",
                "phonemes.labels is lexicon: name the file, lines of word<TAB>phones",
            ),
        ]


class BatchConfig(Section):
    """Sizes in padded seconds of audio."""

    seconds_per_update: Positive = Field(250.0, description="speech of an update, over all devices, in s")
    seconds_per_micro_batch: Positive = Field(62.5, description="speech of one pass on one device at most, in s")


class MaskConfig(Section):
    """SpecAugment on the features (wav2vec 2.0 style)."""

    time_prob: Probability = Field(0.75, description="share of the frames that spans of masks are drawn for")
    time_length: PositiveCount = Field(10, description="of a span, in frames")
    feature_prob: Probability = Field(0.25, description="share of the channels that spans of masks are drawn for")
    feature_length: PositiveCount = Field(64, description="of a span, in channels")
    sampling: Literal["original", "independent"] = Field(
        "original", description="how spans are drawn: as the published code does, or each on its own"
    )
    policy: Literal["LB", "LD", "SM", "SS"] | None = Field(
        None,
        description="of Park et al. (2019), without warping of time: so many spans of random lengths for each clip; the"
        " other keys of mask then say nothing",
    )
    later: ClassVar[frozenset[str]] = frozenset({"policy"})

    @property
    def hides(self) -> bool:
        """Whether anything is masked."""
        return self.policy is not None or self.time_prob > 0 or self.feature_prob > 0


class OptimizerConfig(Section):
    """AdamW; with weight_decay 0 it is Adam."""

    lr: Positive = Field(2e-5, description="highest learning rate")
    head_lr: Positive | None = Field(None, description="of the head; null: lr")
    betas: tuple[Probability, Probability] = Field((0.9, 0.98), strict=False, description="Adam's decay rates")
    eps: Positive = Field(1e-8, description="Adam's, against division by 0")
    weight_decay: NotNegative = Field(0.0, description="AdamW's, of weights but not of norms and biases")
    max_grad_norm: NotNegative = Field(25.0, description="0 switches clipping off")


class ScheduleConfig(Section):
    """The learning rate over the updates."""

    name: Literal["tri_stage", "linear", "cosine", "constant", "polynomial"] = Field(
        "tri_stage", description="the shape of the learning rate over the updates"
    )
    updates: PositiveCount = Field(20_000, le=10_000_000, description="how many the training has")
    warmup: Count = Field(2_000, description="updates until the highest learning rate")
    hold: Count = Field(8_000, description="of tri_stage: updates at the highest learning rate")
    decay: Count = Field(10_000, description="of tri_stage and polynomial, which may stop before its end")
    init_scale: NotNegative = Field(0.01, description="learning rate at the start ÷ the highest")
    final_scale: NotNegative = Field(0.05, description="learning rate at the end ÷ the highest")
    freeze_encoder_updates: Count = Field(2_000, description="updates at the start in which the head alone trains")


class EvaluationConfig(Section):
    """When the validation split is scored."""

    every_updates: PositiveCount = Field(160, description="how often the validation split is scored")
    start_after: Count = Field(2_000, description="updates before the first scoring")
    patience: Count = Field(0, description="evaluations without a better PER before stopping; 0: never")
    max_utterances: PositiveCount | None = Field(
        None, description="of the validation split that are scored in training; null: all"
    )
    floor: str | None = Field(
        None,
        description="second labelling, scored against the references: espeak, lexicon, column, published or a file",
    )


class CheckpointingConfig(Section):
    """Full training states, for resuming."""

    every_updates: PositiveCount = Field(500, description="how often a checkpoint is saved")
    keep_last: PositiveCount = Field(2, description="so many of the newest checkpoints stay")


class TrainingConfig(Section):
    """How a step is computed, not what: docs/performance.md has what each brings."""

    fused_optimizer: bool = Field(True, description="one kernel for all parameters")
    compile_layers: bool | None = Field(
        None, description="encoder layers in Triton's kernels; null: on a CUDA device in 16 bits, where Triton works"
    )
    cuda_graphs: bool = Field(
        True, description="Triton's layers run as CUDA graphs where an update is one pass; costs nothing elsewhere"
    )
    max_bad_updates: PositiveCount = Field(
        10, description="so many updates in a row whose loss or gradients are not finite stop the run"
    )
    ema_decay: Decay | None = Field(
        None,
        description="keep a running mean of the weights (0.999: of about 1,000 updates), and export it where it scores"
        " better on the validation split; null: none",
    )
    average_best: int | None = Field(
        None,
        ge=2,
        description="the mean of so many of the weights that scored best on the validation split is scored as well, and"
        " exported where it is better; null: none",
    )
    cache_features: bool = Field(True, description="keep the frozen extractor's output of every clip on disk")
    bf16_features: bool = Field(True, description="the extractor computes in bf16 where the encoder does")
    seconds_per_pass: Positive | None = Field(
        None,
        description="micro-batches of an update share a pass up to so many seconds; null: what the memory of a GPU"
        " holds, on a CPU each its own",
    )


class TrackingConfig(Section):
    """Experiment trackers by accelerate's names; metrics.jsonl is always written."""

    trackers: list[str] = Field(
        ["tensorboard"], description="trackers of accelerate beside metrics.jsonl, such as tensorboard; [] for none"
    )


class HubConfig(Section):
    """Where the result is published."""

    push: bool = Field(False, description="publish the model when the run has ended")
    repo: str | None = Field(None, description="Hub id to publish as, such as you/ky-phones")
    private: bool = Field(True, description="whether a new repository is private")
    license: str | None = Field(
        None, description="of the model, as the Hub names it (apache-2.0); null: that of model.base, where it is known"
    )
    base_license: str | None = Field(
        None, description="of model.base, as the Hub names it; null: looked up when the model is published"
    )


def _or_list(schema: dict[str, Any]) -> None:
    """Lets a schema's number also be a list of different ones."""
    number = {key: schema.pop(key) for key in ("type", "minimum")}
    several = {"type": "array", "items": number, "minItems": 1, "uniqueItems": True}
    schema["anyOf"] = [number, several]


def whole_speech(data: DataConfig) -> Check:
    """What a task bears whose training speech is neither divided nor added to."""
    remedy = "leave it out: it is for phone recognisers (ctc_phoneme)"
    if data.further is not None:
        return True, f"data.further is {data.further}", remedy
    return data.share < 1, f"data.share is {data.share:g}", remedy


class RunConfig(Section):
    """What every run has, whatever its task."""

    # By section, the values in which a recipe differs from the sections' own defaults.
    defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    seed: Count = Field(
        1337,
        description="a list makes a run of each, in output_dir/seed-N (config.reading.read_configs)",
        json_schema_extra=_or_list,
    )
    output_dir: str = Field("runs/run", description="folder of the run")
    resume: bool | str = Field(
        False, description="true: the newest checkpoint of output_dir; auto: the same where there is one; or a folder"
    )
    dry_run: bool = Field(False, description="resolve and check everything, print what would run, and train nothing")
    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    batch: BatchConfig = BatchConfig()
    mask: MaskConfig = MaskConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    checkpointing: CheckpointingConfig = CheckpointingConfig()
    training: TrainingConfig = TrainingConfig()
    tracking: TrackingConfig = TrackingConfig()

    @model_validator(mode="before")
    @classmethod
    def _fill_in_defaults(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        filled = dict(values)
        for section, own in cls.defaults.items():
            given = filled.get(section, {})
            filled[section] = {**own, **given} if isinstance(given, Mapping) else given
        return filled

    def keys_of_one_run(self) -> list[str]:
        """The keys that are given and name one run, so that several seeds cannot share them."""
        return ["resume"] if isinstance(self.resume, str) and self.resume != "auto" else []

    def checks(self) -> list[Check]:
        """Faults that only several keys together show; touches no device and reads no data."""
        data, batch = self.data, self.batch
        return [
            *self.model.checks(),
            (
                data.min_duration_s >= data.max_duration_s,
                f"data.min_duration_s ({data.min_duration_s}) is not below data.max_duration_s ({data.max_duration_s})",
                "lower the first or raise the second",
            ),
            (
                batch.seconds_per_micro_batch > batch.seconds_per_update,
                f"batch.seconds_per_micro_batch ({batch.seconds_per_micro_batch}) is above batch.seconds_per_update"
                f" ({batch.seconds_per_update})",
                "lower the first or raise the second",
            ),
        ]
