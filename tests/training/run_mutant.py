"""The recipe with one named fault in it: `python run_mutant.py FAULT RECIPE ARGUMENT…`. For test_parity.py."""

from __future__ import annotations

import os
import runpy
import sys

import torch
from torch import nn

from unispeech_ft.data.batch_plan import Update
from unispeech_ft.tasks.ctc_phoneme import task
from unispeech_ft.training import step


def _divide_by(count) -> None:
    Update.num_sentences = property(count)


def _mean_loss(logits, layout, labels, num_labels, blank):
    log_probs = torch.log_softmax(logits, dim=-1).split(layout.num_frames)
    padded = nn.utils.rnn.pad_sequence(log_probs)
    lengths = torch.tensor(layout.num_frames), torch.tensor(num_labels)
    return nn.functional.ctc_loss(padded, labels, *lengths, blank=blank, reduction="mean", zero_infinity=True)


def mean_of_means() -> None:
    """CTC's "mean" in every micro-batch, averaged over the micro-batches."""
    task.ctc_loss_sum = _mean_loss
    _divide_by(lambda update: len(update.micro_batches))


def mean_without_accumulation() -> None:
    """CTC's "mean" in every micro-batch, the division by their number forgotten."""
    task.ctc_loss_sum = _mean_loss
    _divide_by(lambda update: 1)


def no_division() -> None:
    _divide_by(lambda update: 1)


def no_clip() -> None:
    step.nn.utils.clip_grads_with_norm_ = lambda *arguments, **options: None


def own_sentences() -> None:
    """Each process divides by the sentences of its own share."""
    rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    _divide_by(lambda update: sum(len(micro_batch.clips) for micro_batch in update.share(rank, world)))


def averaged_gradients() -> None:
    """The processes' gradients and losses averaged instead of summed, as DistributedDataParallel does."""
    original = step.sum_over_processes

    def averaged(parameters, sums, accelerator):
        sums = original(parameters, sums, accelerator)
        for parameter in parameters:
            parameter.grad /= accelerator.num_processes
        return sums / accelerator.num_processes

    step.sum_over_processes = averaged


def none() -> None:
    """No fault; the runner itself changes nothing."""


if __name__ == "__main__":
    fault, recipe = sys.argv[1:3]
    globals()[fault]()
    sys.argv = [recipe, *sys.argv[3:]]
    runpy.run_path(recipe, run_name="__main__")
