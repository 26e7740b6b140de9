"""What stands between the inputs of a separation head and its masks: `[B, K, I]` → `[B, K, O]`.

`B` clips, `K` frames of the spectrogram, `I` values of a frame that go in, `O` that come out.
"""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

# 1, 2, 4 … 64 frames: with a hop of 16 ms, one round of them sees 4 s.
DILATIONS = 7


class Recurrent(nn.Module):
    """LSTM layers both ways."""

    width: int

    def __init__(self, inside: int, hidden: int, layers: int, dropout: float) -> None:
        super().__init__()
        between = dropout if layers > 1 else 0.0
        self.layers = nn.LSTM(inside, hidden, layers, batch_first=True, dropout=between, bidirectional=True)
        self.width = 2 * hidden

    def forward(self, frames: Tensor) -> Tensor:
        return cast(Tensor, self.layers(frames)[0])


class DilatedBlock(nn.Module):
    """1 × 1, depthwise dilated, 1 × 1, beside the way past them; normed over a whole clip."""

    def __init__(self, hidden: int, dilation: int, dropout: float) -> None:
        super().__init__()
        inner = 2 * hidden
        self.layers = nn.Sequential(
            nn.Conv1d(hidden, inner, 1),
            nn.PReLU(),
            nn.GroupNorm(1, inner),
            nn.Conv1d(inner, inner, 3, padding=dilation, dilation=dilation, groups=inner),
            nn.PReLU(),
            nn.GroupNorm(1, inner),
            nn.Dropout(dropout),
            nn.Conv1d(inner, hidden, 1),
        )

    def forward(self, frames: Tensor) -> Tensor:
        return cast(Tensor, frames + self.layers(frames))


class Convolutional(nn.Module):
    """Conv-TasNet's separator (Luo and Mesgarani 2019): dilated convolutions, which learn sooner than an LSTM.

    Args:
        layers: rounds of the seven dilations.
    """

    width: int

    def __init__(self, inside: int, hidden: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.GroupNorm(1, inside), nn.Conv1d(inside, hidden, 1))
        self.blocks = nn.Sequential(
            *(DilatedBlock(hidden, 2**power, dropout) for _ in range(layers) for power in range(DILATIONS)), nn.PReLU()
        )
        self.width = hidden

    def forward(self, frames: Tensor) -> Tensor:
        return cast(Tensor, self.blocks(self.first(frames.transpose(1, 2))).transpose(1, 2))
