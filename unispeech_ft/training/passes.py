"""How much of an update goes through the network at once, by the memory of the device.

`T` frames of the longest clip, `C` channels, `I` channels inside a feed-forward block, `H` heads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from unispeech_ft.data.collate import Batch
from unispeech_ft.models.families import backbone, frame_s, shares_position_bias
from unispeech_ft.models.fused_layers import can_fuse

if TYPE_CHECKING:
    from accelerate import Accelerator
    from transformers import PreTrainedModel

# Its name in a checkpoint.
SECONDS = "seconds_per_pass"
# Gradient and both moments of AdamW of each weight that trains; a copy in 16 bits of each.
BYTES_A_TRAINED, BYTES_A_COPY = 4 + 8, 2
# Of what is free, and of what a frame is reckoned to take.
SHARE_OF_MEMORY, MARGIN = 0.85, 1.25
# Of what fits, what graphs may hold: they keep it while the validation split is scored.
SHARE_OF_GRAPHS = 0.6
# Measured on an H200: what stock layers keep, as a multiple of what Triton's keep.
STOCK_LAYERS, IN_32_BITS = 1.4, 2.8


def bytes_per_frame(
    config: Any, longest_frames: int, *, fused: bool, in_16_bits: bool, checkpointed: bool = False
) -> float:
    """Memory that a training pass keeps for each frame until its backward pass.

    Args:
        config: of the network.
        longest_frames: `T`, which counts where a gated position bias goes through stock kernels.
        fused: whether layers run in Triton's kernels.
        in_16_bits: whether autocast has them in 16 bits.
        checkpointed: whether layers keep what enters them alone and compute the rest again, one at a time.
    """
    kept = 2 * (7 * config.hidden_size + 2 * config.intermediate_size)
    if not fused:
        kept *= STOCK_LAYERS if in_16_bits else IN_32_BITS
        if shares_position_bias(config):
            kept += (4 if in_16_bits else 8) * config.num_attention_heads * longest_frames
    if checkpointed:  # reckoned, not measured: what one layer keeps, and as much for its gradients
        return float((config.num_hidden_layers * 4 * config.hidden_size + 2 * kept) * MARGIN)
    return float(config.num_hidden_layers * kept * MARGIN)


def bytes_of_weights(network: Any) -> float:
    """Memory that training takes beside the weights themselves and what passes keep."""
    parameters = list(network.parameters())
    trained = sum(parameter.numel() for parameter in parameters if parameter.requires_grad)
    return float(BYTES_A_TRAINED * trained + BYTES_A_COPY * sum(parameter.numel() for parameter in parameters))


def seconds_that_fit(network: PreTrainedModel, longest_s: float, accelerator: Accelerator) -> float | None:
    """Seconds of sound that a training pass can hold in what memory is free; None on a CPU, where no more than one
    micro-batch a pass is faster.

    Args:
        longest_s: of the longest clip.
    """
    device = accelerator.device
    if device.type != "cuda":
        return None
    with accelerator.autocast():
        fused = can_fuse(network, torch.empty(1, network.config.hidden_size, device=device))
    free = torch.cuda.mem_get_info(device)[0]
    free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    step_s = frame_s(network.config)
    size = bytes_per_frame(
        backbone(network).config,
        round(longest_s / step_s),
        fused=fused,
        in_16_bits=accelerator.mixed_precision in ("bf16", "fp16"),
        checkpointed=network.is_gradient_checkpointing,
    )
    return max(longest_s, step_s * (SHARE_OF_MEMORY * free - bytes_of_weights(network)) / size)


class Passes:
    """The passes of a run on this process; in each, every clip passes the network `views` times.

    Attributes:
        seconds: of a pass at most; None for one micro-batch a pass.
        frames: of a row at most, once the device ran out of memory; None before.
    """

    def __init__(
        self,
        seconds: float | None,
        network: PreTrainedModel,
        longest_s: float,
        accelerator: Accelerator,
        views: int = 1,
    ) -> None:
        self.seconds, self._is_set = seconds, seconds is not None
        self.frames: int | None = None
        self._network, self._longest_s, self._accelerator, self.views = network, longest_s, accelerator, views
        self._largest = 0

    def begin(self, state: Mapping[str, Any] | None) -> None:
        """Chooses by the memory that is free where nothing was set; a run that goes on keeps what it had."""
        if not self._is_set:
            remembered = (state or {}).get(SECONDS)
            self.seconds = remembered or self._that_fit()

    def _that_fit(self) -> float | None:
        longest_s = self.views * self._longest_s
        seconds = seconds_that_fit(self._network, longest_s, self._accelerator)
        return None if seconds is None else seconds / self.views

    def leave_room_for_graphs(self, seconds: float) -> bool:
        """Whether a pass of so much sound takes a part of the memory alone, so that it may keep it between updates."""
        fits = self.seconds
        if self._is_set:
            fits = self._that_fit()
        return fits is not None and seconds <= SHARE_OF_GRAPHS * fits

    def state(self) -> dict[str, Any] | None:
        """What a checkpoint must hold."""
        return None if self._is_set or self.seconds is None else {SECONDS: self.seconds}

    def parts(self, batch: Batch) -> Sequence[Batch]:
        """A batch in rows of at most `frames`."""
        self._largest = max(self._largest, len(batch.row.features))
        return [batch] if self.frames is None else batch.parts(self.frames)

    def halve(self) -> bool:
        """Halves the rows, and says so the first time; false where a single frame is left."""
        before = self.frames or self._largest
        if self.frames is None:
            self._accelerator.print("the GPU ran out of memory: a pass now holds half as much, and the run goes on")
        self.frames = before // 2
        return before > 1
