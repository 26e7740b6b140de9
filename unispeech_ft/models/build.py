"""A CTC model from a Hub id, a local folder or a configuration, with the regularisation of the YAML and a head for
the inventory at hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from safetensors import safe_open
from torch import nn

from unispeech_ft.config.sections import DataConfig, HeadConfig, MaskConfig, ModelConfig
from unispeech_ft.data.speech import FrameCount
from unispeech_ft.errors import UserError, first_line
from unispeech_ft.models.families import (
    CONDITIONING,
    backbone,
    check_family,
    normalises_input,
    num_frames,
    reads_waveforms,
)
from unispeech_ft.models.filter_bank import start_as_filter_bank
from unispeech_ft.models.front_end import FrontEnd
from unispeech_ft.models.layer_sum import LayerSumHead
from unispeech_ft.models.loader import load_network, packaged, read_config, small_files
from unispeech_ft.models.nearest_phones import nearest_phones
from unispeech_ft.models.saving import waveform_extractor
from unispeech_ft.phonemes.tokenizer import PhoneTokenizer, load_tokenizer

if TYPE_CHECKING:
    from transformers import FeatureExtractionMixin, PreTrainedConfig, PreTrainedModel


class BaseHead(NamedTuple):
    """The CTC head of a base model, and what its rows stand for."""

    linear: nn.Linear
    tokenizer: PhoneTokenizer


@dataclass(frozen=True)
class BuiltModel:
    """A model ready to train.

    Attributes:
        model: `…ForCTC` in float32 with the conv extractor frozen.
        front_end: waveform → features.
        kept_rows: head rows taken over from the base model.
        fresh_rows: head rows that start at random.
        nearest: for each phone that the base model's head lacks, the phone of it whose row it starts from.
        base_head: that head; None where the base model has none that names its rows.
    """

    model: PreTrainedModel
    front_end: FrontEnd
    kept_rows: int
    fresh_rows: int
    nearest: Mapping[str, str] = field(default_factory=dict)
    base_head: BaseHead | None = None

    def head_line(self) -> str:
        """Where its rows come from, for people."""
        if self.base_head is None:
            return f"head: {self.fresh_rows} rows that start at random"
        said = f"head: {self.kept_rows} rows taken over from the base model, {self.fresh_rows} fresh"
        pairs = ", ".join(f"{phone} from {other}" for phone, other in self.nearest.items())
        return f"{said}, {len(self.nearest)} as the nearest phone: {pairs}" if pairs else said

    @property
    def extractor(self) -> FeatureExtractionMixin:
        """The stock feature extractor that goes with the model."""
        if self.front_end.filter_banks is not None:
            banks: FeatureExtractionMixin = self.front_end.filter_banks
            return banks
        return waveform_extractor(self.model.config, self.front_end.normalize, self.front_end.eps)


def base_folder(model: ModelConfig) -> Path | None:
    """The local folder of the base model's small files; fetched from the Hub (or its cache) where it is an id.

    None where an inline configuration takes the base model's place.

    Raises:
        UserError: there is no such model, or the Hub cannot be reached.
    """
    if model.base is None or (model.from_scratch and model.config is not None):
        return None
    return small_files(model.base, model.revision)


def read_model_config(model: ModelConfig) -> PreTrainedConfig:
    """The Transformers configuration of the base model, or the inline one.

    Raises:
        UserError: it cannot be found, or is of no supported family.
    """
    from unispeech_ft.models.self_conditioned import AutoConfig

    folder = base_folder(model)
    if folder is None:
        settings: dict[str, Any] = dict(model.config or {})
        kind = settings.pop("model_type", None)
        if kind is None:
            raise UserError("model.config.model_type is missing", remedy="for example model_type: unispeech")
        try:
            config = AutoConfig.for_model(kind, **settings)
        except Exception as error:
            raise UserError(f"model.config: {str(error).strip().splitlines()[-1]}", remedy="mend that key") from None
        unknown = sorted(set(settings) - set(type(config)().to_dict()))
        if unknown:
            raise UserError(f"model.config has no key {', '.join(unknown)}", remedy=f"see {type(config).__name__}")
    else:
        config = read_config(folder, str(model.base))
    check_family(config, str(model.base or "model.config"))
    _check_shape(config)
    return config


def frame_counter(model: ModelConfig, *, dry_run: bool = False) -> FrameCount | None:
    """Samples at 16 kHz → frames of the base model; None for a dry run where a model of the Hub cannot be reached.

    Raises:
        UserError: as in `read_model_config`.
    """
    try:
        return partial(num_frames, read_model_config(model))
    except UserError:
        may_be_on_the_hub = not model.from_scratch and not Path(packaged(str(model.base))).expanduser().exists()
        if dry_run and may_be_on_the_hub:
            return None
        raise


def _check_shape(config: PreTrainedConfig) -> None:
    """Builds the model without weights, so that an impossible shape is told before any audio is read."""
    from transformers import AutoModelForCTC

    if not config.vocab_size:  # of an encoder without a head: none of its tokens is one
        config.vocab_size, config.bos_token_id, config.eos_token_id = 1, None, None
    try:
        with torch.device("meta"):
            AutoModelForCTC.from_config(config)
    except (ValueError, TypeError, RuntimeError, ZeroDivisionError) as error:
        raise UserError(
            f"model.config: no model can be built so ({first_line(error)})", remedy="mend that key"
        ) from None


def regularise(config: PreTrainedConfig, model: ModelConfig, mask: MaskConfig) -> None:
    """Writes the YAML's dropouts, masks and CTC settings into a Transformers configuration."""
    config.hidden_dropout = model.hidden_dropout
    config.attention_dropout = model.attention_dropout
    config.activation_dropout = model.activation_dropout
    config.feat_proj_dropout = model.feature_projection_dropout
    config.final_dropout = model.final_dropout
    config.layerdrop = model.layerdrop
    config.apply_spec_augment = True
    # Stock classes have a vector for masked frames only where one of the two is above 0; a policy asks for it as well.
    time_prob = mask.time_prob or (0.05 if mask.policy else 0.0)
    config.mask_time_prob, config.mask_time_length = time_prob, mask.time_length
    config.mask_feature_prob, config.mask_feature_length = mask.feature_prob, mask.feature_length
    # WavLMConfig lacks it, and the stock model asks for it once mask_feature_prob is above 0.
    config.mask_feature_min_masks = getattr(config, "mask_feature_min_masks", 0)
    config.ctc_loss_reduction, config.ctc_zero_infinity = "sum", True


def _load_weights(model: ModelConfig, config: PreTrainedConfig) -> tuple[PreTrainedModel, list[str]]:
    """The base model with its own head, and the names of the head's tensors that its files lack."""
    from transformers import AutoModelForCTC

    if model.from_scratch:
        return AutoModelForCTC.from_config(config).float(), ["lm_head.weight", "lm_head.bias"]
    heads = ("lm_head", f"{CONDITIONING}.")
    network, missing = load_network(AutoModelForCTC, str(model.base), config, heads=heads, revision=model.revision)
    return network, [name for name in missing if name.startswith("lm_head")]


def new_head(
    before: nn.Linear,
    tokenizer: PhoneTokenizer,
    old: PhoneTokenizer | None,
    seed: int,
    nearest: Mapping[str, str] = MappingProxyType({}),
) -> tuple[nn.Linear, int, int]:
    """A head for `tokenizer`; rows of tokens that `old`, the tokenizer of the head `before`, has as well are kept.

    Args:
        nearest: for tokens that `old` lacks, that of `old` whose row they start from.

    Returns:
        The head, rows kept, rows that start at random.
    """
    head = nn.Linear(before.in_features, len(tokenizer.tokens))
    generator = torch.Generator().manual_seed(seed)
    nn.init.xavier_uniform_(head.weight, generator=generator)
    nn.init.zeros_(head.bias)
    kept = 0
    with torch.no_grad():
        for row, token in enumerate(tokenizer.tokens):
            name = old.blank_token if old and token == tokenizer.blank_token else token
            # Two rows that start as the blank would share its probability.
            second_blank = old is not None and name == old.blank_token and token != tokenizer.blank_token
            if old is not None and not second_blank and name in old.ids and old.ids[name] < before.out_features:
                head.weight[row] = before.weight[old.ids[name]]
                head.bias[row] = before.bias[old.ids[name]]
                kept += 1
            elif old is not None and token in nearest:
                head.weight[row] = before.weight[old.ids[nearest[token]]]
                head.bias[row] = before.bias[old.ids[nearest[token]]]
    return head, kept, len(tokenizer.tokens) - kept - len(nearest)


def _nearest(tokenizer: PhoneTokenizer, before: nn.Linear | None, old: PhoneTokenizer | None) -> dict[str, str]:
    """See `nearest_phones`.

    Raises:
        UserError: the base model has no head that names its rows, or panphon is not installed.
    """
    if before is None or old is None:
        raise UserError(
            "head.new_phones is nearest, but the base model has no CTC head with a vocabulary",
            remedy="leave it out, or name a base model that recognises phones",
        )
    known = [phone for phone in old.phones if old.ids[phone] < before.out_features]
    return nearest_phones([phone for phone in tokenizer.phones if phone not in known], known)


def pretraining_head(model: ModelConfig, network: PreTrainedModel, old: PhoneTokenizer | None) -> nn.Linear | None:
    """The CTC head of a pre-training, which Transformers calls `ctc_proj`; None where the base model has none, or no
    tokenizer that names its rows."""
    from transformers.utils.hub import cached_file

    if old is None or model.from_scratch:
        return None
    file = cached_file(
        packaged(str(model.base)),
        "model.safetensors",
        revision=model.revision,
        _raise_exceptions_for_missing_entries=False,
    )
    if file is None:
        return None
    with safe_open(file, "pt") as tensors:
        if "ctc_proj.weight" not in tensors.keys():  # noqa: SIM118
            return None
        weight, bias = tensors.get_tensor("ctc_proj.weight").float(), tensors.get_tensor("ctc_proj.bias").float()
    head = nn.Linear(weight.shape[1], weight.shape[0])
    head.load_state_dict({"weight": weight, "bias": bias})
    return head


def make_front_end(network: PreTrainedModel, data: DataConfig, folder: Path | None) -> FrontEnd:
    """The front end that fits the model: waveforms or filter banks, normalised or as they are."""
    normalize = normalises_input(network.config, folder) if data.normalize is None else data.normalize
    if reads_waveforms(network.config):
        return FrontEnd(network, normalize, data.normalize_eps)
    from transformers import SeamlessM4TFeatureExtractor

    bins = network.config.feature_projection_input_dim // 2
    banks = SeamlessM4TFeatureExtractor(feature_size=bins, stride=2, do_normalize_per_mel_bins=normalize)
    return FrontEnd(network, normalize, data.normalize_eps, banks)


def stock_front_end(network: PreTrainedModel, data: DataConfig, folder: Path | None) -> FrontEnd:
    """The front end of a model that plain Transformers hears with as well.

    Raises:
        UserError: filter banks are asked for as they are, which its extractor never gives in a pipeline.
    """
    found = make_front_end(network, data, folder)
    if found.filter_banks is not None and not found.normalize:
        what = "data.normalize is false, but plain Transformers normalises the filter banks of this model"
        raise UserError(what, remedy="leave it out")
    return found


def as_probe(built: BuiltModel, seed: int) -> BuiltModel:
    """The model with SUPERB's head of phones on all its layers in the place of its own, which starts at random."""
    network: Any = built.model
    rows, config = network.lm_head.out_features, network.config
    torch.manual_seed(seed)
    network.lm_head = LayerSumHead(config.num_hidden_layers, config.hidden_size, rows)
    return replace(built, kept_rows=0, fresh_rows=rows)


def build_model(
    model: ModelConfig,
    mask: MaskConfig,
    data: DataConfig,
    tokenizer: PhoneTokenizer,
    seed: int,
    head: HeadConfig = HeadConfig(),  # noqa: B008  # it is frozen
    conditioned_layers: Sequence[int] = (),
) -> BuiltModel:
    """The model that a configuration asks for.

    Args:
        tokenizer: the rows that its head will have.
        seed: of whatever starts at random.
        conditioned_layers: from 1, after which it is conditioned on its own head (`models.self_conditioned`).

    Raises:
        UserError: the base model cannot be found or loaded, is of no supported family, lacks the head that
            `head.new_phones` starts from, or is self-conditioned where no layers are named.
    """
    from unispeech_ft.models.self_conditioned import conditioned_layers as layers_of
    from unispeech_ft.models.self_conditioned import renew_conditioning, self_conditioned_config

    config = read_model_config(model)
    was_conditioned = bool(layers_of(config))
    config = self_conditioned_config(config, conditioned_layers, str(model.base or "model.config"))
    regularise(config, model, mask)
    torch.manual_seed(seed)
    network, missing = _load_weights(model, config)
    folder = base_folder(model)
    if model.from_scratch and reads_waveforms(config):
        start_as_filter_bank(backbone(network).feature_extractor)
    old = load_tokenizer(folder) if folder else None
    before = pretraining_head(model, network, old) if missing else network.lm_head
    if before is None:
        old = None
    base_head = None if before is None or old is None else BaseHead(before, old)
    nearest = _nearest(tokenizer, before, old) if head.new_phones == "nearest" else {}
    network.lm_head, kept, fresh = new_head(before or network.lm_head, tokenizer, old, seed, nearest)
    if conditioned_layers:
        renew_conditioning(network, tokenizer, old if was_conditioned else None)
    network.config.vocab_size = len(tokenizer.tokens)
    network.config.pad_token_id = tokenizer.blank_id
    network.config.bos_token_id, network.config.eos_token_id = tokenizer.ids.get("<s>"), tokenizer.ids.get("</s>")
    # Layers are left out by name (randomness), not by the stock encoder's own draws.
    network.config.layerdrop = 0.0
    if model.gradient_checkpointing:
        network.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    if reads_waveforms(config):
        backbone(network).feature_extractor._freeze_parameters()
    return BuiltModel(network, stock_front_end(network, data, folder), kept, fresh, nearest, base_head)
