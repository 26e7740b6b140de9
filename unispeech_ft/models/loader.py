"""Model folders and Hub ids → Transformers configurations and networks, with faults that say what to do."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unispeech_ft.errors import UserError, first_line

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

PACKAGED = "packaged:"
PACKAGED_FOLDER = Path(__file__).resolve().parents[1] / "testing" / "pretrained"
SMALL_FILES = ["*.json", "*.txt"]


def not_found(name: str, error: Exception) -> UserError:
    return UserError(
        f"model.base: {name} is neither a local model folder nor a Hub model that can be reached ({first_line(error)})",
        remedy="check the name, download the model first, or set model.from_scratch true with model.config",
    )


def packaged(name: str) -> str:
    """The folder of a `packaged:NAME` model, which comes with this package; any other name as it is.

    Raises:
        UserError: no such model is packaged.
    """
    if not name.startswith(PACKAGED):
        return name
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
        UserError: it cannot be found or read, or lacks tensors of the encoder.
    """
    import torch
    from safetensors import SafetensorError
    from transformers.utils import logging

    path = Path(packaged(name)).expanduser()
    source = path if path.is_dir() else name
    loudness = logging.get_verbosity()
    logging.set_verbosity_error()  # what is missing is said below, where it matters
    try:
        network, info = model_class.from_pretrained(
            source, revision=revision, config=config, dtype=torch.float32, output_loading_info=True, **(options or {})
        )
    except (OSError, EOFError, ValueError, RuntimeError, SafetensorError, pickle.UnpicklingError) as error:
        if isinstance(error, OSError) and not path.is_dir():
            raise not_found(name, error) from None
        raise UserError(
            f"{name}: its weights cannot be loaded ({first_line(error)})",
            remedy="download them again, or name another model",
        ) from None
    finally:
        logging.set_verbosity(loudness)
    of_other_shape = {name for name, *_ in info["mismatched_keys"]}
    missing = sorted(key for key in {*info["missing_keys"], *of_other_shape} if "masked_spec_embed" not in key)
    lacking = [key for key in missing if not key.startswith(tuple(heads))]
    if lacking:
        raise UserError(
            f"{name} lacks {len(lacking)} tensors of the encoder ({', '.join(lacking[:3])} …)",
            remedy="it is not a checkpoint of this architecture, or its download is incomplete; name another, or set"
            " model.from_scratch true",
        )
    return network, missing
