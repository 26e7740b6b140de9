"""Margin losses over training speakers: additive on the angle (AAM) or on its cosine (AM).

`B` clips, `E` values of a vector, `K` speakers.
Sources: Deng et al. 2019 (ArcFace), Wang et al. 2018 (CosFace).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class MarginSoftmax(nn.Module):
    """Vectors `[B, E]` and their speakers `[B]` → Σ of the cross-entropy with a margin."""

    def __init__(self, size: int, num_speakers: int, kind: str, scale: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(nn.init.xavier_normal_(torch.empty(num_speakers, size)))
        self.kind, self.scale = kind, scale

    def cosines(self, vectors: Tensor) -> Tensor:
        """`[B, K]`."""
        return nn.functional.normalize(vectors) @ nn.functional.normalize(self.weight).T

    def forward(self, vectors: Tensor, speakers: Tensor, margin: float) -> Tensor:
        cosine = self.cosines(vectors.float())
        of_speaker = cosine.gather(1, speakers[:, None])
        if self.kind == "am":
            moved = of_speaker - margin
        else:
            sine = (1 - of_speaker.square()).clamp(min=1e-12).sqrt()
            moved = of_speaker * math.cos(margin) - sine * math.sin(margin)
            # Beyond π − margin the angle's cosine would rise again; the original goes on in a straight line.
            straight = of_speaker - margin * math.sin(math.pi - margin)
            moved = torch.where(of_speaker > -math.cos(margin), moved, straight)
        logits = self.scale * cosine.scatter(1, speakers[:, None], moved)
        return nn.functional.cross_entropy(logits, speakers, reduction="sum")


def margin_at(update: int, first: int, last: int, margin: float) -> float:
    """The margin of an update: 0 up to `first`, whole from `last` on, in a straight line between."""
    if update >= last:
        return margin
    return margin * max(0, update - first) / (last - first)
