"""Whether Triton's kernels run on a device."""

from __future__ import annotations

import warnings
from functools import cache

import torch


@cache
def runs_triton(device: torch.device) -> bool:
    """Whether a kernel can be compiled and run there; tried once, and said where a CUDA device has to do without."""
    if device.type != "cuda":
        return False
    try:
        from unispeech_ft.kernels.fused import gelu

        with torch.no_grad():
            gelu(torch.ones(1, 16, dtype=torch.float16, device=device), torch.zeros(16, device=device), 0.0)
    except Exception as error:  # a missing package or compiler, an old card: whatever it is, the stock kernels do
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        warnings.warn(
            f"encoder layers run in stock kernels, which is slower: Triton does not work here ({reason})", stacklevel=2
        )
        return False
    return True
