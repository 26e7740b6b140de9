"""Model folders and Hub ids → Transformers configurations and networks, with faults that say what to do."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from unispeech_ft.errors import UserError, first_line
from unispeech_ft.files import parse_json
from unispeech_ft.models.omniasr import WITH_HEAD, as_wav2vec2, is_omniasr, network_as_wav2vec2

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

PACKAGED = "packaged:"
PACKAGED_FOLDER = Path(__file__).resolve().parents[1] / "testing" / "pretrained"
SMALL_FILES = ["*.json", "*.txt", "boundaries.safetensors"]
# Keys of a configuration that name code, kernels or a way to load weights, which are not a model's to choose.
NOT_OBEYED = (
    "auto_map",
    "attn_implementation",
    "_attn_implementation",
    "experts_implementation",
    "quantization_config",
    "custom_pipelines",
    "trust_remote_code",
)
# Sizes beyond those of any network of the families.
MOST = {
    "hidden_size": 16_384,
    "num_hidden_layers": 256,
    "num_attention_heads": 1024,
    "intermediate_size": 131_072,
    "vocab_size": 200_000,
    "conv_dim": 16_384,
    "conv_kernel": 65_536,
    "conv_stride": 65_536,
    "num_conv_pos_embeddings": 4096,
    "num_conv_pos_embedding_groups": 4096,
    "num_codevectors_per_group": 65_536,
    "num_codevector_groups": 64,
}
MOST_CONV_LAYERS = 64


def not_found(name: str, error: Exception) -> UserError:
    return UserError(
        f"model.base: {name} is neither a local model folder nor a Hub model that can be reached ({first_line(error)})",
        remedy="check the name, download the model first, or set model.from_scratch true with model.config",
    )


def model_folder(folder_or_hub_id: str | Path) -> str:
    """The model folder that is meant: of a run, its folder `model`."""
    folder = Path(folder_or_hub_id).expanduser()
    inside = folder / "model"
    if folder.is_dir() and not (folder / "config.json").is_file() and (inside / "config.json").is_file():
        return str(inside)
    return str(folder_or_hub_id)


def packaged(name: str) -> str:
    """The folder of a `packaged:NAME` model, which comes with this package, or of a run; any other name as it is.

    Raises:
        UserError: no such model is packaged.
    """
    if not name.startswith(PACKAGED):
        return model_folder(name)
    folder = PACKAGED_FOLDER / name.removeprefix(PACKAGED)
    if not (folder / "config.json").is_file():
        known = sorted(path.parent.name for path in PACKAGED_FOLDER.glob("*/config.json"))
        raise UserError(f"model.base: no packaged model {name}", remedy=f"there are: {', '.join(known) or 'none'}")
    return str(folder)


def small_files(name: str, revision: str | None = None) -> Path:
    """The local folder with a model's configuration and tokenizer; fetched from the Hub, or its cache, where it is an
    id.

    Raises:
        UserError: there is no such model, or the Hub cannot be reached.
    """
    path = Path(packaged(name)).expanduser()
    if path.is_dir():
        return path
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=SMALL_FILES))
    except Exception as error:
        raise not_found(name, error) from None


def check_finite(tensors: Mapping[str, Tensor], what: str) -> None:
    """Raises UserError where a tensor of weights holds what is not a finite number."""
    bad = [name for name, tensor in tensors.items() if tensor.is_floating_point() and not bool(tensor.isfinite().all())]
    if bad:
        raise UserError(
            f"{what}: {len(bad)} tensors hold numbers that are not finite ({bad[0]} …)",
            remedy="use an earlier checkpoint, or train again with a lower optimizer.lr",
        )


def _check_sizes(config: PreTrainedConfig, name: str) -> None:
    """Refuses sizes that no network has, before they ask for gigabytes or divide by 0."""
    for key, most in MOST.items():
        value = getattr(config, key, None)
        sizes = value if isinstance(value, list | tuple) else [] if value is None else [value]
        least = 0 if key in ("vocab_size", "num_hidden_layers") else 1
        if len(sizes) > MOST_CONV_LAYERS or not all(type(size) is int and least <= size <= most for size in sizes):
            shown = str(value)[:80]
            raise UserError(f"{name}: config.json: {key} cannot be {shown}", remedy="download the model again")


def _stored_config(folder: Path, name: str) -> tuple[PreTrainedConfig, list[str]]:
    """The configuration of a model folder, and what it says that is not obeyed."""
    from unispeech_ft.models.self_conditioned import AutoConfig

    file = folder / "config.json"
    try:
        values = parse_json(file.read_text(encoding="utf-8"))
        if not isinstance(values, dict):
            raise TypeError("it is not an object")
        parts = [values, *(part for part in values.values() if isinstance(part, dict))]
        dropped = [key for part in parts for key in NOT_OBEYED if part.pop(key, None) is not None]
        kind = values.pop("model_type", None)
        config: PreTrainedConfig = type(AutoConfig.for_model(str(kind))).from_dict(values)
    except FileNotFoundError as error:
        raise not_found(name, error) from None
    except Exception as error:  # a configuration class may raise anything at values of a wrong type
        raise UserError(
            f"{name}: config.json cannot be used ({first_line(error)})", remedy="download it again"
        ) from None
    return config, dropped


def read_config(folder: Path, name: str) -> PreTrainedConfig:
    """The Transformers configuration of a model folder; of OmniASR that of the same encoder as wav2vec 2.0. What it
    says of code, kernels or other weights is not obeyed, and said in a line.

    Args:
        name: of the model, for people.

    Raises:
        UserError: there is none, or it cannot be used.
    """
    config, dropped = _stored_config(folder, name)
    if dropped:
        print(f"{name}: config.json asks for {', '.join(dropped)}, which is not obeyed", file=sys.stderr)
    config = as_wav2vec2(config) if is_omniasr(config) else config
    _check_sizes(config, name)
    return config


def _pretrained(
    model_class: Any,
    source: Path | str,
    config: PreTrainedConfig,
    revision: str | None,
    options: Mapping[str, Any] = MappingProxyType({}),
) -> tuple[PreTrainedModel, dict[str, Any]]:
    found: tuple[PreTrainedModel, dict[str, Any]] = model_class.from_pretrained(
        source,
        revision=revision,
        config=config,
        dtype=torch.float32,
        output_loading_info=True,
        trust_remote_code=False,
        **options,
    )
    return found


def load_network(
    model_class: Any,
    name: str,
    config: PreTrainedConfig,
    *,
    heads: Sequence[str],
    revision: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> tuple[PreTrainedModel, list[str]]:
    """The network of a model folder or Hub id in float32, and the names of the tensors that its files lack.

    Args:
        model_class: an auto class or a model class of Transformers.
        heads: beginnings of the names that may be missing, or of another shape where `options` allow it; the tensors
            of the encoder must be there.
        options: for `from_pretrained`.

    Raises:
        UserError: it cannot be found or read, lacks tensors of the encoder, or holds what is not a finite number.
    """
    from safetensors import SafetensorError
    from transformers import AutoModel, AutoModelForCTC
    from transformers.utils import logging

    path = Path(packaged(name)).expanduser()
    source = path if path.is_dir() else name
    loudness = logging.get_verbosity()
    logging.set_verbosity_error()  # what is missing is said below, where it matters
    logging.disable_progress_bar()
    try:
        stored, _ = _stored_config(small_files(name, revision), name)
        if is_omniasr(stored):
            auto_class = AutoModelForCTC if stored.model_type == WITH_HEAD else AutoModel
            network, info = network_as_wav2vec2(model_class, config, *_pretrained(auto_class, source, stored, revision))
        else:
            network, info = _pretrained(model_class, source, config, revision, options or {})
    except (OSError, EOFError, ValueError, RuntimeError, SafetensorError, pickle.UnpicklingError) as error:
        if isinstance(error, OSError) and not path.is_dir():
            raise not_found(name, error) from None
        raise UserError(
            f"{name}: its weights cannot be loaded ({first_line(error)})",
            remedy="download them again, or name another model",
        ) from None
    finally:
        logging.set_verbosity(loudness)
        logging.enable_progress_bar()
    of_other_shape = {name for name, *_ in info["mismatched_keys"]}
    missing = sorted(key for key in {*info["missing_keys"], *of_other_shape} if "masked_spec_embed" not in key)
    lacking = [key for key in missing if not key.startswith(tuple(heads))]
    if lacking:
        raise UserError(
            f"{name} lacks {len(lacking)} tensors of the encoder ({', '.join(lacking[:3])} …)",
            remedy="it is not a checkpoint of this architecture, or its download is incomplete; name another, or set"
            " model.from_scratch true",
        )
    # What the files lack may still be memory that nobody has written to: the caller starts it.
    check_finite({key: tensor for key, tensor in network.state_dict().items() if key not in missing}, name)
    return network, missing
