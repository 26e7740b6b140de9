"""CTC (Graves et al. 2006) over a row of frames, in Triton kernels on a CUDA device that never wait for the host.

`N` frames of the row, `B` clips, `V` rows of the head, `U` labels of a clip, `S = 2 · U + 1` states. The recursions run
in 64 bits: in 32 a path's log probability of −1,000 is known to 6e-5, and so is every gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from unispeech_ft.data.row import Layout
from unispeech_ft.kernels.launch import launch

FRAMES, STATES = 16, 64
# Each further power of two is compiled anew.
FEWEST_STATES = 256
IMPOSSIBLE = tl.constexpr(-1e30)


@triton.jit
def _log_sum(first, second, third):
    highest = tl.maximum(first, tl.maximum(second, third))
    return highest + tl.log(tl.exp(first - highest) + tl.exp(second - highest) + tl.exp(third - highest))


@triton.jit
def _label(labels, first, number, states, blank):
    """The row of the head of some states; blank between labels."""
    place = tl.maximum(states - 1, 0) // 2
    label = tl.load(labels + first + place, mask=(states % 2 == 1) & (states < 2 * number + 1), other=blank)
    return tl.where(states % 2 == 1, label, blank)


@triton.jit(do_not_specialize=["blank"])
def _recursions(log_probs, labels, starts, label_starts, paths, likelihoods, rows, blank, WIDTH: tl.constexpr):
    """Forward (program 0 of a clip) and backward (program 1) log probabilities of all states, frame by frame."""
    clip, backward = tl.program_id(0), tl.program_id(1)
    first = tl.load(starts + clip).to(tl.int64)
    frames = tl.load(starts + clip + 1).to(tl.int64) - first
    first_label = tl.load(label_starts + clip)
    number = tl.load(label_starts + clip + 1) - first_label
    last = 2 * number
    step = tl.arange(0, WIDTH)  # states in the order in which this direction walks through them
    state = tl.where(backward == 1, last - step, step)
    there = step <= last
    label = _label(labels, first_label, number, tl.where(there, state, 0), blank)
    before = tl.where(there & (step >= 2), tl.where(backward == 1, state + 2, state - 2), 0)
    skips = there & (step >= 3) & (step % 2 == 1) & (label != _label(labels, first_label, number, before, blank))
    total = tl.load(starts + tl.num_programs(0)).to(tl.int64)
    own = paths + backward * total * WIDTH
    frame = tl.where(backward == 1, first + frames - 1, first)
    move = tl.where(backward == 1, -1, 1)
    said = tl.load(log_probs + frame * rows + label, mask=there, other=0.0)
    value = tl.where(there & (step <= 1), said, IMPOSSIBLE)
    tl.store(own + frame * WIDTH + step, value)
    for _ in range(1, frames):
        tl.debug_barrier()
        previous = own + frame * WIDTH + step
        one = tl.load(previous - 1, mask=step >= 1, other=IMPOSSIBLE)
        two = tl.load(previous - 2, mask=skips, other=IMPOSSIBLE)
        frame += move
        said = tl.load(log_probs + frame * rows + label, mask=there, other=0.0)
        value = tl.where(there, tl.maximum(_log_sum(value, one, two) + said, IMPOSSIBLE), IMPOSSIBLE)
        tl.store(own + frame * WIDTH + step, value)
    if backward == 0:
        ends = tl.where(there & (step >= last - 1), value, IMPOSSIBLE)
        highest = tl.max(ends, axis=0)
        weight = tl.sum(tl.where(there & (step >= last - 1), tl.exp(ends - highest), 0.0), axis=0)
        tl.store(likelihoods + clip, highest + tl.log(weight))


@triton.jit(do_not_specialize=["blank"])
def _gradient(
    log_probs, labels, starts, label_starts, paths, likelihoods, found, rows, blank,
    WIDTH: tl.constexpr, HEAD: tl.constexpr, FRAMES: tl.constexpr, STATES: tl.constexpr,
):  # fmt: skip
    """Softmax minus how probable each row is in each frame, given the labels."""
    clip = tl.program_id(1)
    first = tl.load(starts + clip).to(tl.int64)
    frames = tl.load(starts + clip + 1).to(tl.int64) - first
    begin = tl.program_id(0) * FRAMES
    if begin >= frames:
        return
    first_label = tl.load(label_starts + clip)
    number = tl.load(label_starts + clip + 1) - first_label
    likelihood = tl.load(likelihoods + clip)
    frame = first + begin + tl.arange(0, FRAMES)
    there = (begin + tl.arange(0, FRAMES)) < frames
    head = tl.arange(0, HEAD)
    expected = tl.zeros([FRAMES, HEAD], tl.float32)
    total = tl.load(starts + tl.num_programs(1)).to(tl.int64)
    for start in range(0, 2 * number + 1, STATES):
        state = start + tl.arange(0, STATES)
        inside = there[:, None] & (state <= 2 * number)[None, :]
        label = _label(labels, first_label, number, state, blank)
        forward = tl.load(paths + frame[:, None] * WIDTH + state[None, :], mask=inside, other=IMPOSSIBLE)
        mirrored = paths + total * WIDTH + frame[:, None] * WIDTH + (2 * number - state)[None, :]
        backward = tl.load(mirrored, mask=inside, other=IMPOSSIBLE)
        said = tl.load(log_probs + frame[:, None] * rows + label[None, :], mask=inside, other=0.0)
        share = tl.where(inside, tl.exp(forward + backward - said - likelihood), 0.0).to(tl.float32)
        expected += tl.dot(share, (label[:, None] == head[None, :]).to(tl.float32), input_precision="ieee")
    mask = there[:, None] & (head < rows)[None, :]
    places = frame[:, None] * rows + head[None, :]
    softmax = tl.exp(tl.load(log_probs + places, mask=mask, other=IMPOSSIBLE)).to(tl.float32)
    tl.store(found + places, tl.where(likelihood > IMPOSSIBLE / 2, softmax - expected, 0.0), mask=mask)


class _CTC(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, layout: Layout, labels: Tensor, num_labels: Sequence[int], blank: int
    ) -> Tensor:
        log_probs = torch.log_softmax(logits, dim=-1, dtype=torch.float64)
        clips, (frames, rows) = len(num_labels), logits.shape
        ends = torch.tensor([0, *accumulate(num_labels)], dtype=torch.int32)
        if logits.device.type == "cuda":
            ends = ends.pin_memory().to(logits.device, non_blocking=True)
        width = max(FEWEST_STATES, triton.next_power_of_2(2 * max(num_labels) + 1))
        paths = log_probs.new_empty(2, frames, width)
        likelihoods = log_probs.new_empty(clips)
        given = log_probs, labels, layout.starts, ends, paths, likelihoods
        launch(_recursions, (clips, 2), *given, rows, blank, WIDTH=width)
        found = torch.empty_like(logits)
        grid = (triton.cdiv(layout.longest, FRAMES), clips)
        sizes = {"HEAD": max(16, triton.next_power_of_2(rows)), "FRAMES": FRAMES, "STATES": STATES}
        launch(_gradient, grid, *given, found, rows, blank, WIDTH=width, **sizes)
        ctx.save_for_backward(found)
        return torch.where(likelihoods > IMPOSSIBLE.value / 2, -likelihoods, 0.0).sum().float()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (found,) = ctx.saved_tensors
        return found * gradients[0], None, None, None, None


def ctc_of_a_row(logits: Tensor, layout: Layout, labels: Tensor, num_labels: Sequence[int], blank: int) -> Tensor:
    """Σ over the clips of −log p(labels | logits); an infeasible clip counts 0, gradient included.

    Args:
        logits: `[N, V]` in 32 bits, `V` at most about 1,000.
        layout: of the row, on the same device.
        labels: the clips' labels one after another, `[Σ U]`, on the same device.
        num_labels: `U` of each clip, on the host.
        blank: row of the CTC blank.
    """
    found: Tensor = _CTC.apply(logits.contiguous(), layout, labels, num_labels, blank)
    return found
