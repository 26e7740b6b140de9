"""A trained model as an ONNX graph from waveforms to logits, and its comparison with PyTorch on ragged batches.

`B` clips, `S` samples, `T` frames, `F` feature channels, `V` rows of the head. The graph takes the clips' lengths, so
that padding has no influence: it normalises each clip by its own samples, and so does an extractor with a group norm.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import logging
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from unispeech_ft.data.audio import SAMPLE_RATE_HZ, Waveform
from unispeech_ft.data.row import row_of
from unispeech_ft.errors import UserError
from unispeech_ft.models.families import backbone, reads_waveforms
from unispeech_ft.models.forward import encode, head
from unispeech_ft.models.padded import encode_padded, frame_mask
from unispeech_ft.models.saved import SavedModel, load_saved
from unispeech_ft.runs.evidence import OnnxFacts

OPSET = 18
TOLERANCE = 1e-4
# Protocol buffers end at 2 GiB; larger weights go into a file beside the graph.
LARGEST_FILE_BYTES = 1_900_000_000
PACKAGES = ("torch", "transformers", "onnx", "onnxruntime")
NEEDED = ("onnx", "onnxscript", "onnxruntime")
Logits = npt.NDArray[np.float32]
INPUTS, OUTPUTS = ["waveforms", "num_samples"], ["logits", "num_frames"]
# Lengths in seconds of the batches that are compared: alone, alike, ragged.
COMPARED_S = ((1.0,), (0.7, 0.7), (2.0, 0.5, 1.3), (0.6, 3.1))


def masked_group_norm(norm: nn.GroupNorm, hidden: Tensor, mask: Tensor) -> Tensor:
    """A group norm with a group for each channel over the frames that exist: `[B, C, T]`, mask `[B, 1, T]`."""
    count = mask.sum(dim=-1, keepdim=True)
    mean = (hidden * mask).sum(dim=-1, keepdim=True) / count
    variance = ((hidden - mean).square() * mask).sum(dim=-1, keepdim=True) / count
    return (hidden - mean) / torch.sqrt(variance + norm.eps) * norm.weight[:, None] + norm.bias[:, None]


class WaveformToLogits(nn.Module):
    """The whole path of a clip, lengths included, in operations that ONNX has."""

    def __init__(self, saved: SavedModel) -> None:
        super().__init__()
        self.network = saved.built.model
        self.normalize, self.eps = saved.built.front_end.normalize, saved.built.front_end.eps

    def normalised(self, waveforms: Tensor, mask: Tensor) -> Tensor:
        """Zero mean and unit variance over each clip's own samples, zeros beyond them."""
        if not self.normalize:
            return waveforms * mask
        count = mask.sum(dim=-1, keepdim=True)
        centred = (waveforms - (waveforms * mask).sum(dim=-1, keepdim=True) / count) * mask
        variance = centred.square().sum(dim=-1, keepdim=True) / count
        return centred / torch.sqrt(variance + self.eps)

    def features(self, samples: Tensor, num_samples: Tensor) -> tuple[Tensor, Tensor]:
        """`[B, S]` → `[B, T, F]` and the frames of each clip."""
        hidden, length = samples[:, None], num_samples
        extractor: Any = backbone(self.network).feature_extractor
        for layer in extractor.conv_layers:
            hidden = layer.conv(hidden)
            length = torch.div(length - layer.conv.kernel_size[0], layer.conv.stride[0], rounding_mode="floor") + 1
            norm = getattr(layer, "layer_norm", None)
            if isinstance(norm, nn.GroupNorm):
                mask = frame_mask(length, hidden.shape[-1])[:, None].to(hidden.dtype)
                hidden = masked_group_norm(norm, hidden, mask)
            elif norm is not None:
                hidden = norm(hidden.transpose(1, 2)).transpose(1, 2)
            hidden = layer.activation(hidden)
        return hidden.transpose(1, 2), length.clamp(min=0)

    def forward(self, waveforms: Tensor, num_samples: Tensor) -> tuple[Tensor, Tensor]:
        """`[B, S]` float32 and `[B]` int64 → logits `[B, T, V]` and frames `[B]`; logits beyond a clip mean nothing."""
        mask = frame_mask(num_samples, waveforms.shape[1]).to(waveforms.dtype)
        features, num_frames = self.features(self.normalised(waveforms, mask), num_samples)
        return self.network.lm_head(encode_padded(self.network, features, num_frames)), num_frames


def check_installed() -> None:
    """Raises UserError where a package that export and comparison need is missing."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(
            f"ONNX export needs {', '.join(missing)}, not installed here",
            remedy=f"pip install {' '.join(missing)} (the extra `onnx` of unispeech-ft)",
        )


@contextlib.contextmanager
def quiet_export() -> Iterator[None]:
    """Without the exporter's remarks on packages that it does not need."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def write_graph(path: WaveformToLogits, file: Path) -> None:
    """Writes the graph; batch and samples may have any size. Weights of 2 GiB and more go into `FILE.data`."""
    batch, samples = torch.export.Dim("batch"), torch.export.Dim("samples", min=SAMPLE_RATE_HZ // 10)
    example = torch.zeros(2, SAMPLE_RATE_HZ), torch.tensor([SAMPLE_RATE_HZ, SAMPLE_RATE_HZ // 2])
    size_bytes = sum(tensor.numel() * tensor.element_size() for tensor in path.state_dict().values())
    with torch.no_grad(), quiet_export():
        torch.onnx.export(
            path,
            example,
            file,
            input_names=INPUTS,
            output_names=OUTPUTS,
            opset_version=OPSET,
            dynamo=True,
            dynamic_shapes={"waveforms": {0: batch, 1: samples}, "num_samples": {0: batch}},
            external_data=size_bytes > LARGEST_FILE_BYTES,
            verbose=False,
        )


@torch.no_grad()
def pytorch_logits(saved: SavedModel, waveform: Waveform) -> Logits:
    """Logits `[T, V]` of one clip alone, unpadded, by the path that training and scoring take."""
    row = row_of([saved.built.front_end(waveform).numpy()])
    logits: Logits = head(saved.built.model, encode(saved.built.model, row)).numpy()
    return logits


def onnx_logits(file: Path, batches: Sequence[Sequence[Waveform]]) -> list[list[Logits]]:
    """Logits `[T, V]` of each clip, batch by batch, clips padded to the longest of their batch."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    results = []
    for clips in batches:
        num_samples = np.array([len(clip) for clip in clips], dtype=np.int64)
        # Padding is no silence here, so that any influence of it would show.
        waveforms = np.full((len(clips), num_samples.max()), 0.5, dtype=np.float32)
        for row, clip in zip(waveforms, clips, strict=True):
            row[: len(clip)] = clip
        logits, num_frames = session.run(OUTPUTS, {"waveforms": waveforms, "num_samples": num_samples})
        results.append([clip[:count] for clip, count in zip(logits, num_frames, strict=True)])
    return results


def compared_batches() -> list[list[Waveform]]:
    """Noise of different loudness and offset in batches of one, of equal and of unequal lengths."""
    random = np.random.default_rng(0)
    return [
        [
            random.normal(0.01, random.uniform(0.02, 0.3), round(length_s * SAMPLE_RATE_HZ)).astype(np.float32)
            for length_s in batch
        ]
        for batch in COMPARED_S
    ]


def largest_difference(saved: SavedModel, file: Path, batches: Sequence[Sequence[Waveform]]) -> float:
    """Largest difference of a logit between the graph and PyTorch; infinite where they disagree on the frames."""
    largest = 0.0
    for clips, found in zip(batches, onnx_logits(file, batches), strict=True):
        for clip, logits in zip(clips, found, strict=True):
            wanted = pytorch_logits(saved, clip)
            same_shape = wanted.shape == logits.shape
            largest = max(largest, float(np.abs(wanted - logits).max()) if same_shape else float("inf"))
    return largest


def refuse_filter_banks(saved: SavedModel) -> None:
    """Raises UserError for a model that does not read waveforms."""
    if not reads_waveforms(saved.built.model.config):
        raise UserError(
            f"{saved.name} reads filter banks ({saved.built.model.config.model_type}), which the graph cannot compute",
            remedy="leave ONNX out, or fine-tune a model that reads waveforms",
        )


def export_onnx(model: Path, file: Path) -> OnnxFacts:
    """Writes a model folder as an ONNX graph, whole or not at all, once its logits are those of PyTorch.

    Args:
        model: Transformers folder of any family that reads waveforms.
        file: to write; with weights of 2 GiB and more, `FILE.data` comes beside it.

    Raises:
        UserError: packages are missing, the model cannot be used or exported, the logits differ by more than 1e-4,
            or the file cannot be written.
    """
    check_installed()
    saved = load_saved(model, stock=True)
    refuse_filter_banks(saved)
    saved.built.model.set_attn_implementation("eager")
    batches = compared_batches()
    if not file.parent.is_dir():
        raise UserError(f"there is no folder {file.parent}", remedy="make it, or name another file")
    try:
        with tempfile.TemporaryDirectory(dir=file.parent, prefix=".onnx-") as place:
            written = Path(place) / file.name
            write_graph(WaveformToLogits(saved).eval(), written)
            difference = largest_difference(saved, written, batches)
            if not difference <= TOLERANCE:
                raise UserError(
                    f"the logits of the ONNX graph differ from PyTorch's by {difference:.1e}, more than {TOLERANCE:g}",
                    remedy="nothing was written; report it with the versions of `unispeech-ft doctor`",
                )
            for part in sorted(Path(place).iterdir()):
                shutil.move(part, file.parent / part.name)
    except OSError as error:
        raise UserError(
            f"{file} cannot be written ({error.strerror})", remedy="name a file on a disk with room"
        ) from None
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    return OnnxFacts(difference, [[len(clip) for clip in clips] for clips in batches], OPSET, versions)
