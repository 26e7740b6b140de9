"""Learns a model's boundary network on synthetic speech, whose phone times espeak-ng reports."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import nn

from unispeech_ft.errors import UserError
from unispeech_ft.models.families import frame_grid
from unispeech_ft.models.saved import SavedModel
from unispeech_ft.scoring.boundaries import HIDDEN_SIZE, NUM_FEATURES, PHONE_SIZE, BoundaryModel, Places, places_of
from unispeech_ft.scoring.timing import phone_times
from unispeech_ft.testing.known_times import TimedClip, as_files
from unispeech_ft.transcription.alignment import forced_marks

UPDATES, BATCH, LEARNING_RATE, WEIGHT_DECAY, DROPOUT = 1_500, 512, 3e-3, 1e-3, 0.1
LEAST_BOUNDARIES = 1_000


class _Network(nn.Module):
    def __init__(self, num_rows: int) -> None:
        super().__init__()
        self.left, self.right = (nn.Embedding(num_rows + 1, PHONE_SIZE) for _ in range(2))
        self.first = nn.Linear(NUM_FEATURES + 2 * PHONE_SIZE, HIDDEN_SIZE)
        self.second = nn.Linear(HIDDEN_SIZE, HIDDEN_SIZE)
        self.last = nn.Linear(HIDDEN_SIZE, 1)
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, features: torch.Tensor, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        hidden = torch.cat([features, self.left(left), self.right(right)], dim=1)
        hidden = self.dropout(nn.functional.silu(self.first(hidden)))
        found: torch.Tensor = self.last(nn.functional.silu(self.second(hidden)))
        return found[:, 0]


def known_places(saved: SavedModel, clips: Iterable[TimedClip]) -> tuple[Places, np.ndarray]:
    """The boundaries of clips by forced alignment, and what has to be added to each, in frames `[B]`.

    Args:
        clips: see `known_times.timed_clips`; those with a phone that the model lacks are left out.

    Raises:
        UserError: too few could be aligned.
    """
    grid, num_rows = frame_grid(saved.built.model.config), len(saved.tokenizer.tokens)
    found: list[Places] = []
    wanted: list[float] = []
    for clip, path in as_files(clips, saved.tokenizer.phones):
        try:
            marks, frames, duration_s = forced_marks(saved, path, clip.phones)
        except UserError:  # too short for its phones
            continue
        places = places_of(marks, phone_times(marks, frames, grid, duration_s), grid, num_rows)
        true_s = np.array([start for start, _ in clip.times] + [end for _, end in clip.times])
        found.append(places)
        wanted += ((true_s - places.times_s) / grid.step_s).tolist()
    if len(wanted) < LEAST_BOUNDARIES:
        what = f"only {len(wanted)} boundaries of the synthetic speech could be placed"
        raise UserError(what, remedy="use a model whose phones are espeak-ng's for this language, and more sentences")
    return Places(*(np.concatenate(parts) for parts in zip(*found, strict=True))), np.array(wanted, dtype=np.float32)


def learn_boundaries(saved: SavedModel, clips: Iterable[TimedClip], seed: int = 0) -> BoundaryModel:
    """The network that puts the boundaries of synthetic speech where they are, by least absolute error.

    Args:
        saved: the model, without a network of its own.
        clips: as of `known_places`.

    Raises:
        UserError: as `known_places`.
    """
    places, wanted = known_places(saved, clips)
    mean, spread = places.features.mean(axis=0), places.features.std(axis=0) + 1e-6
    features = torch.from_numpy((places.features - mean) / spread)
    left, right, targets = (torch.from_numpy(held) for held in (places.left, places.right, wanted))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = _Network(len(saved.tokenizer.tokens))
        optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, UPDATES)
        for _ in range(UPDATES):
            rows = torch.randint(0, len(targets), (BATCH,))
            loss = (network(features[rows], left[rows], right[rows]) - targets[rows]).abs().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    layers = {"1": network.first, "2": network.second, "3": network.last}
    tensors = {"left": network.left.weight, "right": network.right.weight}
    tensors |= {f"weight_{name}": layer.weight for name, layer in layers.items()}
    tensors |= {f"bias_{name}": layer.bias for name, layer in layers.items()}
    plain = {name: tensor.detach().numpy().copy() for name, tensor in tensors.items()}
    return BoundaryModel({"mean": mean, "spread": spread, **plain})
