"""A saved CTC model, ours or any other of the supported families, ready to transcribe and to be scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from unispeech_ft.config.sections import DataConfig, ModelConfig, TrainingConfig
from unispeech_ft.data.audio import SAMPLE_RATE_HZ
from unispeech_ft.errors import UserError, first_line
from unispeech_ft.kernels.install import place
from unispeech_ft.models.boundaries import load_boundaries
from unispeech_ft.models.build import BuiltModel, make_front_end
from unispeech_ft.models.confidence import load_confidence
from unispeech_ft.models.families import check_family, extractor_settings, frame_grid, normalises_input, reads_waveforms
from unispeech_ft.models.front_end import FrontEnd
from unispeech_ft.models.loader import load_network, model_folder, read_config, small_files
from unispeech_ft.phonemes.tokenizer import UNUSED, PhoneTokenizer, load_tokenizer
from unispeech_ft.scoring.boundaries import BoundaryModel, refined
from unispeech_ft.scoring.confidence import Confidence
from unispeech_ft.scoring.greedy import Segment
from unispeech_ft.scoring.timing import PhoneTime, phone_times

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

STOCK_EPS = 1e-7
VOCABULARY = "vocab.json"


@dataclass(frozen=True)
class SavedModel:
    """A trained model in evaluation mode.

    Attributes:
        name: the folder or Hub id that it was loaded from.
        built: network and front end.
        tokenizer: what the rows of its head stand for.
        boundaries: places phones more finely than frames do; None where the model has no such network.
        confidence: what its posteriors mean; None where it does not say.
    """

    name: str
    built: BuiltModel
    tokenizer: PhoneTokenizer
    boundaries: BoundaryModel | None = None
    confidence: Confidence | None = None

    def __repr__(self) -> str:
        return f"SavedModel({self.name!r}, {len(self.tokenizer.phones)} phones)"

    def phone_times(
        self, marks: Sequence[Segment], log_posteriors: npt.NDArray[np.floating], duration_s: float
    ) -> list[PhoneTime]:
        """When the phones of a path were said; arguments as of `scoring.timing.phone_times`."""
        grid = frame_grid(self.built.model.config)
        times = phone_times(marks, log_posteriors, grid, duration_s)
        return times if self.boundaries is None else refined(self.boundaries, marks, times, grid, duration_s)


def _small_files(name: str, revision: str | None) -> Path:
    """The local folder with configuration and tokenizer; fetched from the Hub, or its cache, where it is an id."""
    folder = Path(name).expanduser()
    if (folder / "config.json").is_file():
        return folder
    if folder.exists():
        raise UserError(
            f"{name} is not a model folder: it has no config.json", remedy="name a Transformers model folder"
        )
    try:
        return small_files(name, revision)
    except UserError as error:
        raise _without_key(error) from None


def _without_key(error: UserError) -> UserError:
    """A fault of a model that is named on the command line, not in `model.base`."""
    remedy = (
        "check the name, or download the model first and name its folder" if "reached" in error.what else error.remedy
    )
    return UserError(error.what.removeprefix("model.base: "), remedy=remedy)


def _read_config(name: str, folder: Path) -> PreTrainedConfig:
    try:
        config = read_config(folder, name)
        check_family(config, name)
    except UserError as error:
        raise _without_key(error) from None
    heads = config.architectures or []
    if heads and not any(head.endswith("ForCTC") for head in heads):
        raise _no_head(name, f"it is a {heads[0]}")
    return config


def _no_head(name: str, reason: str) -> UserError:
    remedy = "fine-tune it first (recipes/ctc_phoneme.py), or name a model that was"
    return UserError(f"{name} has no CTC head ({reason})", remedy=remedy)


def _read_tokenizer(name: str, folder: Path) -> PhoneTokenizer:
    try:
        tokenizer = load_tokenizer(folder)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        remedy = "export the model again, or mend vocab.json and tokenizer_config.json"
        raise UserError(f"{name}: its tokenizer cannot be used ({first_line(error)})", remedy=remedy) from None
    if tokenizer is None:
        raise UserError(
            f"{name} has no tokenizer, so nothing says which phones the rows of its head are",
            remedy="put the vocab.json and tokenizer_config.json of its phones beside the weights"
            " (`unispeech-ft convert … --dictionary FILE` writes them from an original dictionary)",
        )
    return tokenizer


def for_head(name: str, tokenizer: PhoneTokenizer, num_rows: int) -> PhoneTokenizer:
    """The tokenizer with a name for every row; rows that its vocabulary lacks are never phones."""
    if tokenizer.blank_id >= num_rows:
        what = f"{name}: the head has {num_rows} rows, but the tokenizer's blank is row {tokenizer.blank_id}"
        raise UserError(what, remedy="use the tokenizer that the model was trained with")
    unnamed = range(len(tokenizer.tokens), num_rows)
    return PhoneTokenizer((*tokenizer.tokens, *(f"{UNUSED} {row}>" for row in unnamed)), tokenizer.blank_token)


def saved_front_end(name: str, folder: Path, network: PreTrainedModel, default_eps: float) -> FrontEnd:
    """The front end that a model folder asks for.

    Args:
        default_eps: of the normalisation, where the folder does not say it.

    Raises:
        UserError: what it says cannot be read.
    """
    said, normalize = extractor_settings(folder), normalises_input(network.config, folder)
    try:
        eps = float(said.get("normalize_eps", default_eps))
        data = DataConfig(normalize=normalize, normalize_eps=eps)
    except (ValueError, TypeError) as error:
        what = f"{name}: preprocessor_config.json: normalize_eps cannot be used ({first_line(error)})"
        raise UserError(what, remedy="download or export the model again") from None
    if reads_waveforms(network.config) or not said:
        return make_front_end(network, data, folder)
    return FrontEnd(network, normalize, eps, _filter_banks(name, network.config, said, normalize))


def _filter_banks(name: str, config: PreTrainedConfig, said: Mapping[str, Any], normalize: bool) -> Any:
    """The extractor of filter banks that a folder describes, where it gives what the encoder reads."""
    from transformers import SeamlessM4TFeatureExtractor

    bins, stride = said.get("num_mel_bins", 80), said.get("stride", 2)
    padding, rate_hz = said.get("padding_value", 0.0), said.get("sampling_rate", SAMPLE_RATE_HZ)
    sound = all(type(value) is int and value > 0 for value in (bins, stride)) and isinstance(padding, int | float)
    if not sound or bins * stride != config.feature_projection_input_dim or rate_hz != SAMPLE_RATE_HZ:
        what = f"{name}: preprocessor_config.json does not describe filter banks for this encoder"
        raise UserError(what, remedy="download or export the model again")
    return SeamlessM4TFeatureExtractor(
        feature_size=said.get("feature_size", bins),
        num_mel_bins=bins,
        stride=stride,
        padding_value=float(padding),
        do_normalize_per_mel_bins=normalize,
    )


def load_saved(
    folder_or_hub_id: str | Path,
    device: str | torch.device = "cpu",
    *,
    revision: str | None = None,
    tokenizer: PhoneTokenizer | None = None,
    eps: float = STOCK_EPS,
    stock: bool = False,
) -> SavedModel:
    """A model folder or Hub id with a CTC head → network in evaluation mode, front end and tokenizer.

    Normalisation is as the folder's `preprocessor_config.json` or `processor_config.json` says, with the epsilon that
    our export stores there, else the stock extractor's.

    Args:
        folder_or_hub_id: of any supported family.
        device: where the network computes.
        revision: of a Hub id: branch, tag or commit; None for its main branch.
        tokenizer: for a folder without one, such as the published UniSpeech checkpoints.
        eps: of the normalisation, for a folder that does not say.
        stock: leaves the kernels of Transformers in place, as an export needs them.

    Raises:
        UserError: there is no such model or it cannot be reached, it is of no supported family, or it has no CTC head
            or no tokenizer.
    """
    from transformers import AutoModelForCTC

    name = model_folder(folder_or_hub_id)
    folder = _small_files(name, revision)
    config = _read_config(name, folder)
    found = _read_tokenizer(name, folder) if tokenizer is None or (folder / VOCABULARY).is_file() else tokenizer
    try:
        network, missing = load_network(AutoModelForCTC, name, config, heads=("lm_head",), revision=revision)
    except UserError as error:
        raise _without_key(error) from None
    if missing:
        raise _no_head(name, "lm_head is not among its weights")
    num_rows = network.lm_head.out_features
    network.eval().requires_grad_(False)
    if stock:
        nn.Module.to(network, device)
    else:
        place(network, torch.device(device), ModelConfig(), TrainingConfig())
    built = BuiltModel(network, saved_front_end(name, folder, network, eps), num_rows, 0)
    boundaries, confidence = load_boundaries(folder, num_rows), load_confidence(folder)
    return SavedModel(name, built, for_head(name, found, num_rows), boundaries, confidence)


def weights_digest(network: nn.Module) -> str:
    """Tells a network from others of the same name."""
    import xxhash

    digest = xxhash.xxh3_64()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
