"""Original tensors → one safetensors file, a tensor at a time, so that memory holds the largest tensor and no more."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from unispeech_ft.convert.recognise import Shapes, Target
from unispeech_ft.convert.renaming import MASK_EMBEDDING, Renamed
from unispeech_ft.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

FLOAT_BYTES = 4
MOST_SHOWN = 8
Array = npt.NDArray[np.float32]


class Reader(Protocol):
    """Reads the float32 tensor of an original name."""

    def __call__(self, name: str) -> Array: ...


def expected_shapes(config: PreTrainedConfig, class_name: str) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a network's tensors as files hold them; nothing is allocated.

    Args:
        class_name: of Transformers, or of `models.ils`.
    """
    import torch
    import transformers

    from unispeech_ft.models import ils

    network_class = getattr(ils, class_name) if class_name.startswith("Ils") else getattr(transformers, class_name)
    with torch.device("meta"):
        network = network_class(config)
    old_names = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    found = {}
    for name, tensor in network.state_dict().items():
        for new, old in old_names.items():
            name = name.replace(new, old)
        found[name] = tuple(tensor.shape)
    return found


def filled_in(target: Target, missing: Iterable[str], expected: Shapes, shapes: Shapes) -> dict[str, Array]:
    """Tensors that the class has and the original needs not, with the values at which they change nothing.

    Args:
        missing: Transformers' names that no original tensor fills.
        expected: shapes of the class.
        shapes: of the original tensors by bare name.
    """
    filled: dict[str, Array] = {}
    for name in missing:
        shape = expected[name]
        if not target.gated and "gru_rel_pos" in name:
            # The gate a·(b·const − 1) + 2 with a = b = sigmoid(0) = 1/2 is 1 at const = −2.
            filled[name] = np.full(shape, -2.0 if name.endswith("const") else 0.0, dtype=np.float32)
        elif name.startswith("layer_norm_for_extract."):
            filled[name] = np.full(shape, 1.0 if name.endswith("weight") else 0.0, dtype=np.float32)
        elif "feature_projection.projection." in name and "post_extract_proj.weight" not in shapes:
            # fairseq projects nothing where extractor and encoder have the same size.
            square = len(shape) == 2 and shape[0] == shape[1]
            if square or (len(shape) == 1 and shape[0] == shapes["layer_norm.weight"][0]):
                filled[name] = np.eye(*shape, dtype=np.float32) if square else np.zeros(shape, dtype=np.float32)
    return filled


def check(target: Target, renamed: Renamed, filled: Mapping[str, Array], expected: Shapes, shapes: Shapes) -> list[str]:
    """Compares what a checkpoint holds with what the class needs.

    Args:
        shapes: of the original tensors, by original name.

    Returns:
        Names that the class will start at random: the CTC projection of a UniSpeech pre-trained without one.

    Raises:
        UserError: tensors are missing, unknown, or of another shape.
    """
    given = {new: shapes[old] for new, old in renamed.names.items()}
    lacking = [name for name in expected if name not in given and name not in filled]
    random = [name for name in lacking if name.startswith("ctc_proj.")]
    mask = [name for name in given if name not in expected and name.endswith(MASK_EMBEDDING)]
    surplus = [renamed.names[name] for name in given if name not in expected and name not in mask]
    misshaped = [
        f"{renamed.names[name]} is {list(shape)} instead of {list(expected[name])}"
        for name, shape in given.items()
        if name in expected and shape != expected[name]
    ]
    faults = {
        "are unknown": [*renamed.unknown, *surplus],
        "are missing": [name for name in lacking if name not in random],
        "have the wrong shape": misshaped,
    }
    found = [f"these tensors {what}: {_shown(names)}" for what, names in faults.items() if names]
    if found:
        raise UserError(
            f"as a {target.class_name}, {'; '.join(found)}",
            remedy="use the original file as its authors published it",
        )
    return random


def _shown(names: Sequence[str]) -> str:
    shown = [name if name.isprintable() else ascii(name) for name in names[:MOST_SHOWN]]
    more = f" and {len(names) - MOST_SHOWN} more" if len(names) > MOST_SHOWN else ""
    return ", ".join(name[:120] for name in shown) + more


def write_safetensors(path: Path, shapes: Shapes, read: Reader) -> None:
    """Writes float32 tensors, each read when its turn comes.

    Args:
        shapes: of the tensors, in the order in which they are written.
        read: gives each by its name.

    Format: 8 bytes with the length of a JSON header, the header, the numbers (safetensors' README).
    """
    position, header = 0, {"__metadata__": {"format": "pt"}}
    for name, shape in shapes.items():
        end = position + prod(shape) * FLOAT_BYTES
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [position, end]}  # type: ignore[dict-item]
        position = end
    text = json.dumps(header, ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as stream:
        stream.write(struct.pack("<Q", len(text)) + text)
        for name in shapes:
            stream.write(np.ascontiguousarray(read(name), dtype="<f4").reshape(-1).data)
