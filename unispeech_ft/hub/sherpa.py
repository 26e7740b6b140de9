"""A folder that sherpa-onnx reads: a graph from one waveform to logits, the same in 8 bits, and the phones by number.

`S` samples, `T` frames, `V` rows of the head. sherpa-onnx runs such a graph as its kind `omnilingual_asr_ctc`, the one
that takes waveforms: it hands over one clip `[1, S]` with zero mean and unit variance, and decodes logits `[1, T, V]`.
"""

from __future__ import annotations

import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from unispeech_ft.data.audio import SAMPLE_RATE_HZ, Waveform
from unispeech_ft.errors import UserError
from unispeech_ft.hub.onnx import (
    LARGEST_FILE_BYTES,
    OPSET,
    TOLERANCE,
    WaveformToLogits,
    check_installed,
    compared_batches,
    pytorch_logits,
    quiet_export,
    refuse_filter_banks,
)
from unispeech_ft.models.saved import SavedModel, load_saved
from unispeech_ft.phonemes.tokenizer import PhoneTokenizer

if TYPE_CHECKING:
    from onnx import ModelProto, TensorProto

Weight = npt.NDArray[np.float32]
MODEL, MODEL_INT8, TOKENS = "model.onnx", "model.int8.onnx", "tokens.txt"
GRAPHS = (MODEL, MODEL_INT8)
BLANK = "<blk>"
# Written before each phone; sherpa-onnx shows it as a space, so that its text is phones with spaces between them.
SPACE = "▁"
LOWERED = 1e4
# Smaller weights stay as they are: biases and norms.
SMALLEST_QUANTIZED = 4096


@dataclass(frozen=True)
class SherpaFacts:
    """What was written.

    Attributes:
        max_difference: largest difference of a logit of the 32-bit graph from PyTorch's.
        size_ratio: bytes of the graph in 8 bits over those of the one in 32.
    """

    max_difference: float
    size_ratio: float


class ClipToLogits(nn.Module):
    """One clip `[1, S]` → logits `[1, T, V]`, those of rows that stand for nothing lowered, so that none is shown."""

    def __init__(self, saved: SavedModel) -> None:
        super().__init__()
        self.path = WaveformToLogits(saved)
        self.lowered = nn.Parameter(lowered_rows(saved), requires_grad=False)

    def forward(self, waveform: Tensor) -> Tensor:
        num_samples = torch.full((1,), waveform.shape[1], dtype=torch.int64)
        logits: Tensor = self.path(waveform, num_samples)[0]
        return logits + self.lowered


def lowered_rows(saved: SavedModel) -> Tensor:
    """What is added to the logits `[V]`: much below 0 at special rows other than the blank, else 0."""
    tokenizer = saved.tokenizer
    added = torch.zeros(saved.built.model.config.vocab_size)
    barred = [row for row in tokenizer.special_ids if row != tokenizer.blank_id and row < len(added)]
    added[barred] = -LOWERED
    return added


def tokens_text(tokenizer: PhoneTokenizer) -> str:
    """`tokens.txt`: a line `▁phone number` for each row of the head, `<blk>` for the blank."""
    special = tokenizer.special_ids
    shown = [token if row in special else f"{SPACE}{token}" for row, token in enumerate(tokenizer.tokens)]
    shown[tokenizer.blank_id] = BLANK
    return "".join(f"{''.join(token.split())} {row}\n" for row, token in enumerate(shown))


def int8_rows(weight: Weight) -> tuple[npt.NDArray[np.int8], Weight]:
    """A weight `[rows, …]` in 8 bits and the scale of each row: `weight ≈ rounded · scale`."""
    flat = np.abs(weight.reshape(len(weight), -1)).max(axis=1)
    scale = np.where(flat > 0, flat / 127, 1).astype(np.float32)
    rounded = np.rint(weight / scale.reshape(-1, *[1] * (weight.ndim - 1)))
    return rounded.astype(np.int8), scale


def store_in_8_bits(model: ModelProto) -> None:
    """Keeps the large weights that are still in 32 bits in 8; they are computed with in 32 as before."""
    from onnx import TensorProto, helper, numpy_helper

    kept: list[TensorProto] = []
    added = []
    for tensor in model.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims) < SMALLEST_QUANTIZED:
            kept.append(tensor)
            continue
        rounded, scale = int8_rows(numpy_helper.to_array(tensor))
        kept += [
            numpy_helper.from_array(rounded, f"{tensor.name}_int8"),
            numpy_helper.from_array(scale, f"{tensor.name}_scale"),
        ]
        inputs = [f"{tensor.name}_int8", f"{tensor.name}_scale"]
        added.append(helper.make_node("DequantizeLinear", inputs, [tensor.name], axis=0))
    nodes = [*added, *model.graph.node]
    del model.graph.initializer[:], model.graph.node[:]
    model.graph.initializer.extend(kept)
    model.graph.node.extend(nodes)


def write_clip_graph(saved: SavedModel, file: Path) -> None:
    """Writes the graph of one clip of any length, without the exporter's notes on where each operation stood."""
    import onnx

    samples = torch.export.Dim("samples", min=SAMPLE_RATE_HZ // 10)
    with torch.no_grad(), quiet_export():
        torch.onnx.export(
            ClipToLogits(saved).eval(),
            (torch.zeros(1, SAMPLE_RATE_HZ),),
            file,
            input_names=["x"],
            output_names=["logits"],
            opset_version=OPSET,
            dynamo=True,
            dynamic_shapes={"waveform": {1: samples}},
            external_data=False,
            verbose=False,
        )
    model = onnx.load(file)
    for node in model.graph.node:
        del node.metadata_props[:]
    onnx.save(model, file)


def quantize(source: Path, target: Path) -> None:
    """Writes a graph whose products are in 8 bits, with activations scaled as they come, and its other weights too."""
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)  # it recommends a preparation that a graph of the new exporter does not need
    try:
        quantize_dynamic(
            source, target, weight_type=QuantType.QInt8, per_channel=True, op_types_to_quantize=["MatMul", "Gemm"]
        )
    finally:
        root.setLevel(level)
    model = onnx.load(target)
    store_in_8_bits(model)
    onnx.checker.check_model(model)
    onnx.save(model, target)


def normalised(clip: Waveform) -> Waveform:
    """A clip as sherpa-onnx hands it over."""
    result: Waveform = ((clip - clip.mean()) / np.sqrt(clip.var() + 1e-5)).astype(np.float32)
    return result


def largest_difference(saved: SavedModel, file: Path) -> float:
    """Largest difference of a phone's logit from PyTorch on clips of noise; infinite where the frames differ."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    kept = lowered_rows(saved).numpy() == 0
    largest = 0.0
    for clip in (normalised(clip) for batch in compared_batches() for clip in batch):
        wanted, found = pytorch_logits(saved, clip), session.run(None, {"x": clip[None]})[0][0]
        same_shape = wanted.shape == found.shape
        largest = max(largest, float(np.abs(wanted - found)[:, kept].max()) if same_shape else float("inf"))
    return largest


def export_sherpa(model: Path, folder: Path) -> SherpaFacts:
    """Writes `model.onnx`, `model.int8.onnx` and `tokens.txt` of a model folder, all or none.

    Args:
        model: Transformers folder of any family that reads normalised waveforms.
        folder: to make; one that holds something is refused.

    Raises:
        UserError: packages are missing, the model cannot be used or exported, its logits differ by more than 1e-4, or
            the folder is not empty or cannot be written.
    """
    check_installed()
    saved = load_saved(model, stock=True)
    refuse_filter_banks(saved)
    if not saved.built.front_end.normalize:
        raise UserError(
            f"{saved.name} reads waveforms as they are, and sherpa-onnx hands over normalised ones",
            remedy="use --onnx, or train with data.normalize true",
        )
    size_bytes = sum(tensor.numel() * tensor.element_size() for tensor in saved.built.model.state_dict().values())
    if size_bytes > LARGEST_FILE_BYTES:
        raise UserError(f"{saved.name} does not fit into one file of ONNX", remedy="use --onnx, or a smaller model")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} is there already", remedy="name a new folder, or empty this one")
    saved.built.model.set_attn_implementation("eager")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".sherpa-") as place:
            made = Path(place) / "made"
            made.mkdir()
            write_clip_graph(saved, made / MODEL)
            difference = largest_difference(saved, made / MODEL)
            if not difference <= TOLERANCE:
                raise UserError(
                    f"the logits of the graph differ from PyTorch's by {difference:.1e}, more than {TOLERANCE:g}",
                    remedy="nothing was written; report it with the versions of `unispeech-ft doctor`",
                )
            quantize(made / MODEL, made / MODEL_INT8)
            (made / TOKENS).write_text(tokens_text(saved.tokenizer), encoding="utf-8")
            ratio = (made / MODEL_INT8).stat().st_size / (made / MODEL).stat().st_size
            if folder.exists():
                folder.rmdir()
            made.rename(folder)
    except OSError as error:
        raise UserError(
            f"{folder} cannot be written ({error.strerror})", remedy="name one on a disk with room"
        ) from None
    return SherpaFacts(difference, ratio)
