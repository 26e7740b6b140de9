"""The boundary network of a model folder, in a file of its own beside the weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from unispeech_ft.errors import UserError, first_line
from unispeech_ft.files import write_bytes
from unispeech_ft.scoring.boundaries import BoundaryModel, shapes_of

BOUNDARIES = "boundaries.safetensors"


def save_boundaries(folder: Path, model: BoundaryModel) -> None:
    """Writes the network into a model folder.

    Raises:
        OSError: it cannot be written.
    """
    from safetensors.numpy import save

    write_bytes(folder / BOUNDARIES, save(dict(model.tensors)))


def load_boundaries(folder: Path, num_rows: int) -> BoundaryModel | None:
    """The network of a model folder; None where it has none.

    Args:
        num_rows: of the model's head.

    Raises:
        UserError: it is damaged, or of another model.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    file = folder / BOUNDARIES
    if not file.is_file():
        return None
    remedy = "remove it, or learn it again (`unispeech-ft boundaries`)"
    try:
        tensors = load_file(file)
    except (OSError, SafetensorError, ValueError) as error:
        raise UserError(f"{file} cannot be read ({first_line(error)})", remedy=remedy) from None
    if {name: tensor.shape for name, tensor in tensors.items()} != shapes_of(num_rows):
        raise UserError(f"{file} is of another model, whose head has other rows", remedy=remedy)
    if not all(tensor.dtype == np.float32 and np.isfinite(tensor).all() for tensor in tensors.values()):
        raise UserError(f"{file} holds what are no finite numbers in 32 bits", remedy=remedy)
    return BoundaryModel(tensors)
