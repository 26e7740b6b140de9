"""Whether both sides do the same work: equal losses on one batch, and a Trainer that keeps up with a bare loop."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from benchmark.measure import Block, Figure
from benchmark.ours import Ours
from benchmark.theirs import Theirs
from unispeech_ft.data.audio import normalise_waveform
from unispeech_ft.data.collate import Batch
from unispeech_ft.data.row import row_of
from unispeech_ft.errors import UserError

NUM_CLIPS = 4
TOLERANCE = {"no": 1e-4, "bf16": 3e-2, "fp16": 1e-2}
LEAST_SHARE_OF_BARE_LOOP = 0.9


def losses(ours: Ours, theirs: Theirs) -> tuple[float, float]:
    """Σ CTC of the same clips on both sides, without dropout and masks.

    The clips are cut to one length: with a group norm, the stock model's loss on padded clips is another one.
    """
    setting = ours.setting
    length = min(len(clip) for clip in setting.waveforms[:NUM_CLIPS])
    clips = [clip[:length] for clip in setting.waveforms[:NUM_CLIPS]]
    labels = [setting.tokenizer.encode(phones)[: length // 4000] for phones in setting.phones[:NUM_CLIPS]]
    row = row_of([ours.built.front_end(clip).cpu().numpy() for clip in clips])
    flat = torch.tensor([label for line in labels for label in line])
    batch = Batch(0, 0, row, flat, tuple(len(line) for line in labels))
    values = torch.from_numpy(np.stack([normalise_waveform(clip, 1e-7) for clip in clips]))
    ours.model.eval(), theirs.model.eval()
    device = ours.accelerator.device
    with torch.no_grad():
        mine = ours.task(setting.config(overrides=(("model.layerdrop", "0"),))).loss(0, batch.to(device)).loss
        with ours.accelerator.autocast():
            other = theirs.model(input_values=values.to(device), labels=torch.tensor(labels, device=device)).loss
    return float(mine), float(other)


def check_losses(ours: Ours, theirs: Theirs) -> tuple[float, float]:
    """The losses of both sides on one batch.

    Raises:
        UserError: they disagree, so that a ratio of speeds would compare different work.
    """
    mine, other = losses(ours, theirs)
    precision = ours.setting.precision
    if not abs(mine - other) <= TOLERANCE[precision] * abs(other):
        raise UserError(
            f"the two sides disagree on the loss of one batch: {mine:.6g} and {other:.6g}, more than"
            f" {TOLERANCE[precision]:g} apart",
            remedy="no ratio is printed; find what differs before timing anything",
        )
    return mine, other


def trainer_share(trainer: Sequence[Block], bare: Sequence[Block]) -> Figure:
    """The Trainer's speed as a share of a bare loop's over the same batches."""
    return Figure.of([other.audio_rate / plain.audio_rate for other, plain in zip(trainer, bare, strict=True)])


def is_fair(share: Figure) -> bool:
    """Whether the Trainer reaches 90 % of the bare loop's speed."""
    return share.median >= LEAST_SHARE_OF_BARE_LOOP
